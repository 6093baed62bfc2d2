-- Functions, triggers and views. migrate runs this file after the schema and its steps, and whenever its text has changed.
-- Each statement replaces what there was. A step in migrations/ drops what cannot be replaced.

-- Logs only grow.

CREATE OR REPLACE FUNCTION vault.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;

-- Checkpoints are thinned: of those that are older than a day the last of each hour stays, of those that are older than 90 days
-- the last of each day (UTC).
CREATE OR REPLACE FUNCTION vault.refuse_thinner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    signed    timestamp := OLD.signed_at AT TIME ZONE 'UTC';
    following timestamp;
    present   timestamp := clock_timestamp() AT TIME ZONE 'UTC';
BEGIN
    SELECT c.signed_at AT TIME ZONE 'UTC' INTO following
    FROM vault.checkpoints AS c WHERE c.size > OLD.size ORDER BY c.size LIMIT 1;
    IF signed < present - interval '1 day' AND date_trunc('hour', signed) = date_trunc('hour', following)
        OR signed < present - interval '90 days' AND date_trunc('day', signed) = date_trunc('day', following)
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;

-- A statement is refused even if it finds no row. Each row has a trigger as well: if the owner makes the log a child of another table, a
-- statement about that table calls only these.
CREATE OR REPLACE TRIGGER access_log_append_only BEFORE UPDATE OR TRUNCATE ON vault.access_log
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER purge_log_append_only BEFORE UPDATE OR TRUNCATE ON vault.purge_log
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER leaves_append_only BEFORE UPDATE OR TRUNCATE ON vault.leaves
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER control_changes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.control_changes
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER attestations_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.attestations
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER access_reviews_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.access_reviews
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER checkpoints_append_only BEFORE UPDATE OR TRUNCATE ON vault.checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER checkpoints_thinned_by_rule BEFORE DELETE ON vault.checkpoints
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_thinner();

CREATE OR REPLACE TRIGGER access_log_keeps_rows BEFORE UPDATE ON vault.access_log
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER purge_log_keeps_rows BEFORE UPDATE ON vault.purge_log
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER leaves_keeps_rows BEFORE UPDATE ON vault.leaves
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER control_changes_keeps_rows BEFORE UPDATE OR DELETE ON vault.control_changes
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER attestations_keeps_rows BEFORE UPDATE OR DELETE ON vault.attestations
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER access_reviews_keeps_rows BEFORE UPDATE OR DELETE ON vault.access_reviews
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER log_archives_keeps_rows BEFORE UPDATE OR DELETE ON vault.log_archives
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER checkpoints_keeps_rows BEFORE UPDATE ON vault.checkpoints
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();

-- Archives of the log.

CREATE OR REPLACE TRIGGER log_archives_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.log_archives
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();

CREATE OR REPLACE FUNCTION vault.check_archive() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM vault.log_archives)
        OR NEW.first_index <> (SELECT coalesce(max(end_index), 0) FROM vault.log_archives)
        OR NEW.access_through < (SELECT coalesce(max(access_through), 0) FROM vault.log_archives)
        OR NEW.purge_through < (SELECT coalesce(max(purge_through), 0) FROM vault.log_archives)
    THEN
        RAISE EXCEPTION 'log_archives is append-only';
    END IF;
    RETURN NEW;
END
$$;
CREATE OR REPLACE TRIGGER log_archives_in_order BEFORE INSERT ON vault.log_archives
    FOR EACH ROW EXECUTE FUNCTION vault.check_archive();

-- Whether an archived row is needed. proof.archive_record has the same list of operations. The rows that stored an entry that
-- exists stay, in its first and in its present version, and so do retrievals that moved its expiry, and the purge of an entry with
-- a row.
CREATE OR REPLACE FUNCTION vault.needs_access(
    operation text, outcome text, purpose text, external_id text, entry_id text, entry_version bigint, detail text
) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT CASE
        WHEN $2 = 'granted' AND ($1 IN ('store', 'update', 'import') OR $1 = 'retrieve' AND $7 LIKE '%, entry sha256:%') THEN EXISTS (
            SELECT FROM vault.entries AS e
            WHERE e.purpose = $3 COLLATE "C" AND e.external_id = $4 COLLATE "C" AND e.entry_id = $5
              AND e.purged_at IS NULL AND ($6 = 1 OR $6 = e.version)
        )
        ELSE ($2 = 'granted' OR $1 = 'sweep') AND $1 NOT IN (
            'store', 'update', 'import', 'retrieve', 'inspect', 'list', 'purge', 'authenticate', 'read-access-policy',
            'read-retention-policy', 'preview-retention-policy', 'read-api-key', 'explain-access', 'replay-access-policy',
            'read-legal-hold', 'read-access-log', 'read-purge-log', 'read-key-refs', 'read-report',
            'read-transparency-log', 'read-receipt', 'read-controls', 'read-attestation', 'sign-in', 'sign-out',
            'read-sessions', 'end-session', 'read-page', 'submit-page', 'unknown'
        )
    END
$$;

CREATE OR REPLACE FUNCTION vault.needs_purge(method text, purpose text, external_id text, entry_id text)
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT $1 <> 'replace' AND EXISTS (
        SELECT FROM vault.entries AS e
        WHERE e.purpose = $2 COLLATE "C" AND e.external_id = $3 COLLATE "C" AND e.entry_id = $4
    )
$$;

-- One check for all rows of a statement.
CREATE OR REPLACE FUNCTION vault.refuse_drop() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_refused boolean;
BEGIN
    IF TG_TABLE_NAME = 'access_log' THEN
        SELECT EXISTS (
            SELECT FROM gone AS g
            WHERE g.position > (SELECT coalesce(max(access_through), 0) FROM vault.log_archives)
               OR vault.needs_access(g.operation, g.outcome, g.purpose, g.external_id, g.entry_id, g.entry_version, g.detail)
        ) INTO is_refused;
    ELSIF TG_TABLE_NAME = 'purge_log' THEN
        SELECT EXISTS (
            SELECT FROM gone AS g
            WHERE g.position > (SELECT coalesce(max(purge_through), 0) FROM vault.log_archives)
               OR vault.needs_purge(g.method, g.purpose, g.external_id, g.entry_id)
        ) INTO is_refused;
    ELSE
        SELECT EXISTS (
            SELECT FROM gone AS g
            WHERE g.leaf_index >= (SELECT coalesce(max(end_index), 0) FROM vault.log_archives)
               OR CASE g.log
                   WHEN 'access' THEN EXISTS (SELECT FROM vault.access_log AS r WHERE r.position = g.position)
                   ELSE EXISTS (SELECT FROM vault.purge_log AS r WHERE r.position = g.position)
               END
        ) INTO is_refused;
    END IF;
    IF is_refused THEN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
    END IF;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER access_log_drop AFTER DELETE ON vault.access_log REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_drop();
CREATE OR REPLACE TRIGGER purge_log_drop AFTER DELETE ON vault.purge_log REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_drop();
CREATE OR REPLACE TRIGGER leaves_drop AFTER DELETE ON vault.leaves REFERENCING OLD TABLE AS gone
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_drop();

-- No row that is not archived is deleted, also by a statement about a table above the log. What needs an archived row is checked once
-- for a statement, because a check of each row takes 40 times as long.
CREATE OR REPLACE FUNCTION vault.refuse_unarchived() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    is_archived boolean;
BEGIN
    IF TG_TABLE_NAME = 'access_log' THEN
        is_archived := EXISTS (SELECT FROM vault.log_archives AS a WHERE a.access_through >= OLD.position);
    ELSIF TG_TABLE_NAME = 'purge_log' THEN
        is_archived := EXISTS (SELECT FROM vault.log_archives AS a WHERE a.purge_through >= OLD.position);
    ELSE
        is_archived := EXISTS (SELECT FROM vault.log_archives AS a WHERE a.end_index > OLD.leaf_index);
    END IF;
    IF NOT is_archived THEN
        RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
    END IF;
    RETURN OLD;
END
$$;

CREATE OR REPLACE TRIGGER access_log_keeps_unarchived BEFORE DELETE ON vault.access_log
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_unarchived();
CREATE OR REPLACE TRIGGER purge_log_keeps_unarchived BEFORE DELETE ON vault.purge_log
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_unarchived();
CREATE OR REPLACE TRIGGER leaves_keep_unarchived BEFORE DELETE ON vault.leaves
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_unarchived();

-- Drops archived rows of a log that nothing needs, of the next "most" leaves from "first" on, and the leaves without a row.
-- Returns the leaf to go on with, or null. Only the owner of the schema may call it: the runtime role may delete no row.
-- The newest row of a log stays: it says how far the log has come.
CREATE OR REPLACE FUNCTION vault.drop_archived(of_log text, first bigint, most int)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    archived bigint;
    until    bigint;
    low      bigint;
    high     bigint;
    newest   bigint;
BEGIN
    SELECT coalesce(max(end_index), 0) INTO archived FROM vault.log_archives;
    IF first >= archived THEN
        RETURN NULL;
    END IF;
    until := least(first + most, archived);
    SELECT min(l.position), max(l.position) INTO low, high
    FROM vault.leaves AS l
    WHERE l.log = of_log AND l.leaf_index >= first AND l.leaf_index < until;
    IF of_log = 'access' THEN
        SELECT max(position) INTO newest FROM vault.access_log;
        DELETE FROM vault.access_log AS a
        WHERE a.position >= low AND a.position <= high AND a.position < newest
          AND a.position <= (SELECT coalesce(max(access_through), 0) FROM vault.log_archives)
          AND NOT vault.needs_access(
              a.operation, a.outcome, a.purpose, a.external_id, a.entry_id, a.entry_version, a.detail
          );
        DELETE FROM vault.leaves AS l
        WHERE l.log = 'access' AND l.leaf_index >= first AND l.leaf_index < until
          AND NOT EXISTS (SELECT FROM vault.access_log AS r WHERE r.position = l.position);
    ELSE
        SELECT max(position) INTO newest FROM vault.purge_log;
        DELETE FROM vault.purge_log AS p
        WHERE p.position >= low AND p.position <= high AND p.position < newest
          AND p.position <= (SELECT coalesce(max(purge_through), 0) FROM vault.log_archives)
          AND NOT vault.needs_purge(p.method, p.purpose, p.external_id, p.entry_id);
        DELETE FROM vault.leaves AS l
        WHERE l.log = 'purge' AND l.leaf_index >= first AND l.leaf_index < until
          AND NOT EXISTS (SELECT FROM vault.purge_log AS r WHERE r.position = l.position);
    END IF;
    RETURN CASE WHEN until < archived THEN until END;
END
$$;
REVOKE EXECUTE ON FUNCTION vault.drop_archived FROM PUBLIC;

-- Changes of entries, as deltas of the counts for the report.

CREATE OR REPLACE FUNCTION vault.count_entries_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vault.entry_deltas
    SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, (created_at AT TIME ZONE 'UTC')::date,
           (expires_at AT TIME ZONE 'UTC')::date, count(*), shard
    FROM added WHERE purged_at IS NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, shard;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION vault.count_entries_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vault.entry_deltas
    SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, (created_at AT TIME ZONE 'UTC')::date,
           (expires_at AT TIME ZONE 'UTC')::date, -count(*), shard
    FROM removed WHERE purged_at IS NULL GROUP BY 1, 2, 3, 4, 5, 6, 7, shard;
    RETURN NULL;
END
$$;

CREATE OR REPLACE FUNCTION vault.count_entries_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO vault.entry_deltas
    SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, (created_at AT TIME ZONE 'UTC')::date,
           (expires_at AT TIME ZONE 'UTC')::date, sum(number), shard
    FROM (
        SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, created_at, expires_at, 1 AS number, shard
        FROM added WHERE purged_at IS NULL
        UNION ALL
        SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, created_at, expires_at, -1, shard
        FROM removed WHERE purged_at IS NULL
    ) AS changed
    GROUP BY 1, 2, 3, 4, 5, 6, 7, shard HAVING sum(number) <> 0;
    RETURN NULL;
END
$$;

CREATE OR REPLACE TRIGGER entries_added AFTER INSERT ON vault.entries
    REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION vault.count_entries_added();
CREATE OR REPLACE TRIGGER entries_removed AFTER DELETE ON vault.entries
    REFERENCING OLD TABLE AS removed FOR EACH STATEMENT EXECUTE FUNCTION vault.count_entries_removed();
CREATE OR REPLACE TRIGGER entries_changed AFTER UPDATE ON vault.entries
    REFERENCING OLD TABLE AS removed NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION vault.count_entries_changed();

-- Rows of the logs as they are counted. A lag is null if the purge was before the expiry.

CREATE OR REPLACE VIEW vault.access_units AS
SELECT position, at, operation, outcome, reason, purpose, app, role, 1::bigint AS row_count, count AS event_count,
       (app IS NULL)::int AS without_app,
       (client_address IS NULL AND method IS DISTINCT FROM 'system')::int AS without_origin,
       (operation IN ('store', 'retrieve', 'inspect', 'purge') AND external_id IS NULL AND detail IS NULL)::int
           AS without_subject,
       (app IS NOT NULL AND identity IS NULL AND method IS DISTINCT FROM 'system')::int AS without_identity
FROM vault.access_log;

CREATE OR REPLACE VIEW vault.purge_units AS
SELECT position, purged_at AS at, purpose, reason, method, key_ref,
       CASE WHEN purged_at >= expired_at THEN purged_at - expired_at END AS lag,
       CASE WHEN purged_at >= expired_at THEN (
           SELECT min(s.up_to) FROM vault.lag_steps AS s WHERE s.up_to >= purged_at - expired_at
       ) END AS up_to
FROM vault.purge_log;

-- Rows of the logs as they are counted by day, in UTC.

CREATE OR REPLACE VIEW vault.access_days AS
SELECT position, at, (at AT TIME ZONE 'UTC')::date AS day, (outcome = 'granted' AND operation = 'store')::int AS stored,
       (outcome = 'granted' AND operation = 'retrieve')::int AS retrieved,
       CASE outcome WHEN 'denied' THEN count ELSE 0 END AS denied
FROM vault.access_log;

CREATE OR REPLACE VIEW vault.purge_days AS
SELECT position, purged_at AS at, (purged_at AT TIME ZONE 'UTC')::date AS day, 1 AS purged FROM vault.purge_log;

-- Commits a growth of the tree: leaves, tiles, and a checkpoint unless its size is null. Returns false, without any change, if the
-- tree has another number of leaves than "size". One growth at a time: the lock is not that of the commits.
CREATE OR REPLACE FUNCTION vault.grow_tree(
    size         bigint,
    logs         text[],
    positions    bigint[],
    levels       integer[],
    tile_indexes bigint[],
    tiles        bytea[],
    signed_size  bigint,
    origin       text,
    root_hash    bytea,
    note         text,
    signed_at    timestamptz
) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(1987277164, 5);
    IF (SELECT coalesce(max(l.leaf_index) + 1, 0) FROM vault.leaves AS l) <> grow_tree.size THEN
        RETURN false;
    END IF;
    INSERT INTO vault.leaves (leaf_index, log, position)
    SELECT grow_tree.size + place.ordinal - 1, place.log, place.position
    FROM unnest(logs, positions) WITH ORDINALITY AS place (log, position, ordinal);
    INSERT INTO vault.tiles AS t (level, tile_index, hashes)
    SELECT * FROM unnest(levels, tile_indexes, grow_tree.tiles)
    ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes;
    IF signed_size IS NOT NULL THEN
        INSERT INTO vault.checkpoints (size, origin, root_hash, note, signed_at)
        VALUES (signed_size, grow_tree.origin, grow_tree.root_hash, grow_tree.note, grow_tree.signed_at);
    END IF;
    RETURN true;
END
$$;

-- Commits a batch, and returns for each write the place of the first expectation that is not met, or 0. One call is one
-- transaction and one round trip. Each statement in it sees what was committed before that statement.
--
-- Entries that must exist are checked in one statement, entries that must not in another. Which expectation of which write is
-- broken is determined only if one is. Each of these statements costs about as much as several rows.
--
-- Changes of policies hold this advisory lock exclusively, so the revision cannot change before this batch is committed. Expected
-- entries are locked in the order of their keys and cannot change before that either. So their rows are in the logs in the order
-- of the events. A transaction holds the advisory lock from before it takes positions until it has committed, so the sequencer
-- knows which transactions it has to wait for.
--
-- Whether an entry is purged is tested inside CASE: otherwise the planner could use the partial indexes. Without statistics it
-- estimates them as nearly empty, and reads the whole of one for every batch.
CREATE OR REPLACE FUNCTION vault.commit_batch(
    writes       int,
    expectations vault.expectation[],
    puts         vault.entry_put[],
    removals     vault.entry_key[],
    overwrites   vault.entry_overwrite[],
    counts       vault.entry_key[],
    access_rows  vault.access_row[],
    purge_rows   vault.purge_row[]
) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    broken  int[] := array_fill(0, ARRAY[writes]);
    held    bigint[] := '{}';
    current bigint;
    asked   int;
    absence boolean;
    doubt   boolean;
    failed  record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1987277164, 1);
    SELECT
        min(r.revision),
        count(*) FILTER (WHERE x.kind NOT IN ('entry-absent', 'policy-unused', 'revision-is')),
        coalesce(bool_or(x.kind = 'entry-absent'), false),
        coalesce(bool_or(x.kind = 'policy-unused' OR x.kind = 'revision-is' AND x.number IS DISTINCT FROM r.revision), false)
    INTO current, asked, absence, doubt
    FROM (SELECT (SELECT revision FROM vault.rulebook) AS revision) AS r LEFT JOIN unnest(expectations) AS x ON true;

    IF asked > 0 THEN
        IF cardinality(puts) + cardinality(removals) + cardinality(overwrites) + cardinality(counts) > 0 THEN
            held := ARRAY(
                SELECT x.ordinal
                FROM unnest(expectations) WITH ORDINALITY
                    AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
                JOIN vault.entries AS e ON e.purpose = x.purpose AND e.external_id = x.external_id AND e.shard = x.shard
                WHERE CASE WHEN e.purged_at IS NULL THEN true END AND CASE x.kind
                    WHEN 'entry-is' THEN e.entry_id = x.subject AND e.version = x.number
                    WHEN 'retrievals-below' THEN e.retrievals < x.number
                END
                ORDER BY e.purpose, e.external_id
                FOR UPDATE OF e
            );
        ELSE
            held := ARRAY(
                SELECT x.ordinal
                FROM unnest(expectations) WITH ORDINALITY
                    AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
                JOIN vault.entries AS e ON e.purpose = x.purpose AND e.external_id = x.external_id AND e.shard = x.shard
                WHERE CASE WHEN e.purged_at IS NULL THEN true END AND CASE x.kind
                    WHEN 'entry-is' THEN e.entry_id = x.subject AND e.version = x.number
                    WHEN 'retrievals-below' THEN e.retrievals < x.number
                END
                ORDER BY e.purpose, e.external_id
                FOR KEY SHARE OF e
            );
        END IF;
    END IF;
    IF absence AND NOT doubt THEN
        doubt := EXISTS (
            SELECT FROM unnest(expectations) AS x
            JOIN vault.entries AS e ON e.purpose = x.purpose AND e.external_id = x.external_id AND e.shard = x.shard
            WHERE x.kind = 'entry-absent'
        );
    END IF;
    IF doubt OR cardinality(held) < asked THEN
        FOR failed IN
            SELECT x.write, min(x.place) AS place
            FROM unnest(expectations) WITH ORDINALITY
                AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
            WHERE NOT CASE x.kind
                WHEN 'revision-is' THEN x.number = current
                WHEN 'entry-absent' THEN NOT EXISTS (
                    SELECT FROM vault.entries AS e
                    WHERE e.purpose = x.purpose AND e.external_id = x.external_id AND e.shard = x.shard
                )
                WHEN 'policy-unused' THEN NOT EXISTS (
                    SELECT FROM vault.entries AS e WHERE e.access_policy = x.subject AND e.purged_at IS NULL
                )
                ELSE x.ordinal = ANY (held)
            END
            GROUP BY x.write
        LOOP
            broken[failed.write] := failed.place;
        END LOOP;
    END IF;

    IF cardinality(removals) > 0 THEN
        DELETE FROM vault.entries AS e USING unnest(removals) AS r
        WHERE e.purpose = r.purpose AND e.external_id = r.external_id AND e.shard = r.shard AND broken[r.write] = 0;
    END IF;
    IF cardinality(overwrites) > 0 THEN
        UPDATE vault.entries AS e
        SET encrypted_value = o.filler, purged_at = o.purged_at, purge_method = o.method
        FROM unnest(overwrites) AS o
        WHERE e.purpose = o.purpose AND e.external_id = o.external_id AND e.shard = o.shard AND broken[o.write] = 0;
    END IF;
    IF cardinality(counts) > 0 THEN
        UPDATE vault.entries AS e SET retrievals = e.retrievals + 1
        FROM unnest(counts) AS c
        WHERE e.purpose = c.purpose AND e.external_id = c.external_id AND e.shard = c.shard AND broken[c.write] = 0;
    END IF;
    IF cardinality(puts) > 0 THEN
        INSERT INTO vault.entries (
            purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref,
            metadata, owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals,
            purged_at, purge_method, encrypted_value, shard
        )
        SELECT
            p.purpose, p.external_id, p.entry_id, p.version, p.encoding, p.value_sha256, p.value_size, p.algorithm_hint,
            p.key_ref, p.metadata, p.owner_app, p.owner_identity, p.access_policy, p.created_at, p.updated_at,
            p.expires_at, p.retrievals, p.purged_at, p.purge_method, p.encrypted_value, p.shard
        FROM unnest(puts) AS p
        WHERE p.fresh AND broken[p.write] = 0
        ORDER BY p.purpose COLLATE "C", p.external_id COLLATE "C";

        IF EXISTS (SELECT FROM unnest(puts) AS p WHERE NOT p.fresh) THEN
            INSERT INTO vault.entries AS e (
                purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref,
                metadata, owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals,
                purged_at, purge_method, encrypted_value, shard
            )
            SELECT
                p.purpose, p.external_id, p.entry_id, p.version, p.encoding, p.value_sha256, p.value_size, p.algorithm_hint,
                p.key_ref, p.metadata, p.owner_app, p.owner_identity, p.access_policy, p.created_at, p.updated_at,
                p.expires_at, p.retrievals, p.purged_at, p.purge_method, p.encrypted_value, p.shard
            FROM unnest(puts) AS p
            WHERE NOT p.fresh AND broken[p.write] = 0
            ORDER BY p.purpose COLLATE "C", p.external_id COLLATE "C"
            ON CONFLICT (purpose, external_id, shard) DO UPDATE SET
                entry_id = excluded.entry_id, version = excluded.version, encoding = excluded.encoding,
                value_sha256 = excluded.value_sha256, value_size = excluded.value_size,
                algorithm_hint = excluded.algorithm_hint, key_ref = excluded.key_ref, metadata = excluded.metadata,
                owner_app = excluded.owner_app, owner_identity = excluded.owner_identity,
                access_policy = excluded.access_policy, created_at = excluded.created_at, updated_at = excluded.updated_at,
                expires_at = excluded.expires_at, purged_at = excluded.purged_at, purge_method = excluded.purge_method,
                encrypted_value = excluded.encrypted_value,
                retrievals = CASE WHEN e.entry_id = excluded.entry_id
                    THEN greatest(e.retrievals, excluded.retrievals) ELSE excluded.retrievals END;
        END IF;
    END IF;

    INSERT INTO vault.access_log (
        at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity, method,
        credential_id, client_address, untrusted_forwarding, reason, policy, policy_version, count, detail, old_value,
        new_value, leaf_hash, role, shard
    )
    SELECT
        a.at, a.request_id, a.operation, a.outcome, a.status, a.purpose, a.external_id, a.entry_id, a.entry_version,
        a.app, a.identity, a.method, a.credential_id, a.client_address, a.untrusted_forwarding, a.reason, a.policy,
        a.policy_version, a.count, a.detail, a.old_value, a.new_value, a.leaf_hash, a.role, a.shard
    FROM unnest(access_rows) AS a
    WHERE broken[a.write] = 0;

    IF cardinality(purge_rows) > 0 THEN
        INSERT INTO vault.purge_log (
            purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
            value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id, leaf_hash, shard
        )
        SELECT
            p.purge_id, p.purpose, p.external_id, p.entry_id, p.entry_version, p.method, p.reason, p.policy_reference,
            p.proof_hash, p.value_size, p.key_ref, p.owner_app, p.purged_at, p.expired_at, p.app, p.identity,
            p.request_id, p.leaf_hash, p.shard
        FROM unnest(purge_rows) AS p
        WHERE broken[p.write] = 0;
    END IF;
    RETURN broken;
END
$$;

-- Commits a batch in which every write expects this revision of the rules, and every fresh put expects that there is no row. Such
-- expectations are not passed one by one, because each costs as much as a row of the log. Returns the result of commit_batch, or
-- null without any change if one of these expectations is not met. commit_batch then determines which.
CREATE OR REPLACE FUNCTION vault.commit_as_usual(
    writes       int,
    revision     bigint,
    expectations vault.expectation[],
    puts         vault.entry_put[],
    removals     vault.entry_key[],
    overwrites   vault.entry_overwrite[],
    counts       vault.entry_key[],
    access_rows  vault.access_row[],
    purge_rows   vault.purge_row[]
) RETURNS int[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1987277164, 1);
    IF NOT EXISTS (SELECT FROM vault.rulebook AS r WHERE r.revision = commit_as_usual.revision) THEN
        RETURN NULL;
    END IF;
    IF cardinality(puts) > 0 AND EXISTS (
        SELECT FROM unnest(puts) AS p
        JOIN vault.entries AS e ON e.purpose = p.purpose AND e.external_id = p.external_id AND e.shard = p.shard
        WHERE p.fresh
    ) THEN
        RETURN NULL;
    END IF;
    RETURN vault.commit_batch(writes, expectations, puts, removals, overwrites, counts, access_rows, purge_rows);
END
$$;
