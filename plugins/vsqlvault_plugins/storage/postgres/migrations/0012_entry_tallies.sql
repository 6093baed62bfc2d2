-- What the report counts of the entries that are not purged. Whoever changes entries leaves in entry_deltas what that changes, by
-- triggers and so in the same transaction; nobody waits there for anybody. From time to time the deltas are folded into the
-- tallies. All of this can be told from the entries again. Days are UTC dates. A text that may be missing is empty in a tally
-- where it is, and else begins with an equals sign.

CREATE TABLE vault.entry_deltas (
    purpose        text   COLLATE "C" NOT NULL,
    key_ref        text   COLLATE "C",
    algorithm_hint text,
    access_policy  text   COLLATE "C" NOT NULL,
    owner_app      text   NOT NULL,
    created_on     date   NOT NULL,
    expires_on     date   NOT NULL,
    entry_count    integer NOT NULL
);

CREATE TABLE vault.holding_tallies (
    purpose        text   COLLATE "C" NOT NULL,
    access_policy  text   COLLATE "C" NOT NULL,
    owner_app      text   COLLATE "C" NOT NULL,
    algorithm_hint text   COLLATE "C" NOT NULL,
    created_on     date   NOT NULL,
    expires_on     date   NOT NULL,
    entry_count    integer NOT NULL,
    PRIMARY KEY (purpose, access_policy, owner_app, algorithm_hint, created_on, expires_on)
);
CREATE INDEX holding_tallies_empty ON vault.holding_tallies (purpose) WHERE entry_count = 0;

CREATE TABLE vault.key_tallies (
    purpose       text   COLLATE "C" NOT NULL,
    key_ref       text   COLLATE "C" NOT NULL,
    access_policy text   COLLATE "C" NOT NULL,
    created_on    date   NOT NULL,
    expires_on    date   NOT NULL,
    entry_count   integer NOT NULL,
    PRIMARY KEY (purpose, key_ref, access_policy, created_on, expires_on)
);
CREATE INDEX key_tallies_empty ON vault.key_tallies (purpose) WHERE entry_count = 0;

-- Nobody else may change entries between their count and the triggers that keep it up.
LOCK TABLE vault.entries IN SHARE ROW EXCLUSIVE MODE;

INSERT INTO vault.holding_tallies (
    purpose, access_policy, owner_app, algorithm_hint, created_on, expires_on, entry_count
)
SELECT purpose, access_policy, owner_app, coalesce('=' || algorithm_hint, ''), (created_at AT TIME ZONE 'UTC')::date,
       (expires_at AT TIME ZONE 'UTC')::date, count(*)
FROM vault.entries WHERE purged_at IS NULL GROUP BY 1, 2, 3, 4, 5, 6;

INSERT INTO vault.key_tallies (purpose, key_ref, access_policy, created_on, expires_on, entry_count)
SELECT purpose, coalesce('=' || key_ref, ''), access_policy, (created_at AT TIME ZONE 'UTC')::date,
       (expires_at AT TIME ZONE 'UTC')::date, count(*)
FROM vault.entries WHERE purged_at IS NULL GROUP BY 1, 2, 3, 4, 5;

CREATE FUNCTION vault.count_entries_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vault.entry_deltas
    SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, (created_at AT TIME ZONE 'UTC')::date,
           (expires_at AT TIME ZONE 'UTC')::date, count(*)
    FROM added WHERE purged_at IS NULL GROUP BY 1, 2, 3, 4, 5, 6, 7;
    RETURN NULL;
END
$$;

CREATE FUNCTION vault.count_entries_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vault.entry_deltas
    SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, (created_at AT TIME ZONE 'UTC')::date,
           (expires_at AT TIME ZONE 'UTC')::date, -count(*)
    FROM removed WHERE purged_at IS NULL GROUP BY 1, 2, 3, 4, 5, 6, 7;
    RETURN NULL;
END
$$;

CREATE FUNCTION vault.count_entries_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vault.entry_deltas
    SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, (created_at AT TIME ZONE 'UTC')::date,
           (expires_at AT TIME ZONE 'UTC')::date, sum(number)
    FROM (
        SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, created_at, expires_at, 1 AS number
        FROM added WHERE purged_at IS NULL
        UNION ALL
        SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, created_at, expires_at, -1
        FROM removed WHERE purged_at IS NULL
    ) AS changed
    GROUP BY 1, 2, 3, 4, 5, 6, 7 HAVING sum(number) <> 0;
    RETURN NULL;
END
$$;

CREATE TRIGGER entries_added AFTER INSERT ON vault.entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION vault.count_entries_added();
CREATE TRIGGER entries_removed AFTER DELETE ON vault.entries
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION vault.count_entries_removed();
CREATE TRIGGER entries_changed AFTER UPDATE ON vault.entries
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION vault.count_entries_changed();

-- Of each key, when the oldest and the newest value under it were stored. That a policy is not null, which it never is, keeps
-- this index from statements that do not ask for a policy: they would go through all of it.
DROP INDEX vault.entries_by_access_policy;
CREATE INDEX entries_by_access_policy ON vault.entries (access_policy, purpose, key_ref, updated_at) INCLUDE (created_at)
WHERE purged_at IS NULL AND access_policy IS NOT NULL;

UPDATE vault.schema_version SET version = 12;
