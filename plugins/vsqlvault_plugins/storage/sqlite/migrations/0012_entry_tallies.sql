-- What the report counts of the entries that are not purged, kept up by triggers in the transaction of whoever changes entries.
-- All of this can be told from the entries again. The day of a time is that of its UTC date, counted from 0001-01-01. A text that
-- may be missing is empty where it is, and else begins with an equals sign. REPLACE would take entries off without a trigger:
-- nobody may store entries by it.

CREATE TABLE holding_tallies (
    purpose        TEXT    NOT NULL,
    access_policy  TEXT    NOT NULL,
    owner_app      TEXT    NOT NULL,
    algorithm_hint TEXT    NOT NULL,
    created_day    INTEGER NOT NULL,
    expires_day    INTEGER NOT NULL,
    entry_count    INTEGER NOT NULL,
    PRIMARY KEY (purpose, access_policy, owner_app, algorithm_hint, created_day, expires_day)
) WITHOUT ROWID;

CREATE TABLE key_tallies (
    purpose       TEXT    NOT NULL,
    key_ref       TEXT    NOT NULL,
    access_policy TEXT    NOT NULL,
    created_day   INTEGER NOT NULL,
    expires_day   INTEGER NOT NULL,
    entry_count   INTEGER NOT NULL,
    PRIMARY KEY (purpose, key_ref, access_policy, created_day, expires_day)
) WITHOUT ROWID;

INSERT INTO holding_tallies (
    purpose, access_policy, owner_app, algorithm_hint, created_day, expires_day, entry_count
)
SELECT purpose, access_policy, owner_app, coalesce('=' || algorithm_hint, ''),
       (created_at + 62135596800000000) / 86400000000, (expires_at + 62135596800000000) / 86400000000, count(*)
FROM entries WHERE purged_at IS NULL GROUP BY 1, 2, 3, 4, 5, 6;

INSERT INTO key_tallies (purpose, key_ref, access_policy, created_day, expires_day, entry_count)
SELECT purpose, coalesce('=' || key_ref, ''), access_policy, (created_at + 62135596800000000) / 86400000000,
       (expires_at + 62135596800000000) / 86400000000, count(*)
FROM entries WHERE purged_at IS NULL GROUP BY 1, 2, 3, 4, 5;

-- What becomes of the tallies when so many entries of a kind come in or, below zero, go.
CREATE VIEW entry_changes AS
SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, created_at, expires_at, 0 AS entry_count FROM entries;

CREATE TRIGGER entry_changes_tallied INSTEAD OF INSERT ON entry_changes BEGIN
    INSERT INTO holding_tallies (
        purpose, access_policy, owner_app, algorithm_hint, created_day, expires_day, entry_count
    )
    VALUES (
        NEW.purpose, NEW.access_policy, NEW.owner_app, coalesce('=' || NEW.algorithm_hint, ''),
        (NEW.created_at + 62135596800000000) / 86400000000, (NEW.expires_at + 62135596800000000) / 86400000000,
        NEW.entry_count
    )
    ON CONFLICT (purpose, access_policy, owner_app, algorithm_hint, created_day, expires_day)
    DO UPDATE SET entry_count = entry_count + excluded.entry_count;

    INSERT INTO key_tallies (purpose, key_ref, access_policy, created_day, expires_day, entry_count)
    VALUES (
        NEW.purpose, coalesce('=' || NEW.key_ref, ''), NEW.access_policy,
        (NEW.created_at + 62135596800000000) / 86400000000, (NEW.expires_at + 62135596800000000) / 86400000000,
        NEW.entry_count
    )
    ON CONFLICT (purpose, key_ref, access_policy, created_day, expires_day)
    DO UPDATE SET entry_count = entry_count + excluded.entry_count;

    DELETE FROM holding_tallies
    WHERE NEW.entry_count < 0 AND entry_count = 0 AND purpose = NEW.purpose AND access_policy = NEW.access_policy
      AND owner_app = NEW.owner_app AND algorithm_hint = coalesce('=' || NEW.algorithm_hint, '')
      AND created_day = (NEW.created_at + 62135596800000000) / 86400000000
      AND expires_day = (NEW.expires_at + 62135596800000000) / 86400000000;

    DELETE FROM key_tallies
    WHERE NEW.entry_count < 0 AND entry_count = 0 AND purpose = NEW.purpose
      AND key_ref = coalesce('=' || NEW.key_ref, '') AND access_policy = NEW.access_policy
      AND created_day = (NEW.created_at + 62135596800000000) / 86400000000
      AND expires_day = (NEW.expires_at + 62135596800000000) / 86400000000;
END;

CREATE TRIGGER entries_added AFTER INSERT ON entries WHEN NEW.purged_at IS NULL BEGIN
    INSERT INTO entry_changes VALUES (
        NEW.purpose, NEW.key_ref, NEW.algorithm_hint, NEW.access_policy, NEW.owner_app, NEW.created_at, NEW.expires_at, 1
    );
END;

CREATE TRIGGER entries_removed AFTER DELETE ON entries WHEN OLD.purged_at IS NULL BEGIN
    INSERT INTO entry_changes VALUES (
        OLD.purpose, OLD.key_ref, OLD.algorithm_hint, OLD.access_policy, OLD.owner_app, OLD.created_at, OLD.expires_at, -1
    );
END;

-- An entry that is changed goes as it was, if it counted, and comes in as it is, if it counts.
CREATE TRIGGER entries_changed AFTER UPDATE OF
    purpose, key_ref, algorithm_hint, access_policy, owner_app, created_at, expires_at, purged_at
ON entries WHEN (
    OLD.purged_at IS NULL, OLD.purpose, OLD.key_ref, OLD.algorithm_hint, OLD.access_policy, OLD.owner_app,
    (OLD.created_at + 62135596800000000) / 86400000000, (OLD.expires_at + 62135596800000000) / 86400000000
) IS NOT (
    NEW.purged_at IS NULL, NEW.purpose, NEW.key_ref, NEW.algorithm_hint, NEW.access_policy, NEW.owner_app,
    (NEW.created_at + 62135596800000000) / 86400000000, (NEW.expires_at + 62135596800000000) / 86400000000
) BEGIN
    INSERT INTO entry_changes
    SELECT OLD.purpose, OLD.key_ref, OLD.algorithm_hint, OLD.access_policy, OLD.owner_app, OLD.created_at, OLD.expires_at, -1
    WHERE OLD.purged_at IS NULL;
    INSERT INTO entry_changes
    SELECT NEW.purpose, NEW.key_ref, NEW.algorithm_hint, NEW.access_policy, NEW.owner_app, NEW.created_at, NEW.expires_at, 1
    WHERE NEW.purged_at IS NULL;
END;

-- Of each key, when the oldest and the newest value under it were stored. purged_at stands in it because SQLite looks at it again.
DROP INDEX entries_by_access_policy;
CREATE INDEX entries_by_access_policy ON entries (access_policy, purpose, key_ref, updated_at, created_at, purged_at)
WHERE purged_at IS NULL;

UPDATE schema_version SET version = 12;
