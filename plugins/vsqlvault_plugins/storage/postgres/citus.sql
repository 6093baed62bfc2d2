-- Run after functions.sql in a database with the extension citus, whenever that file is run. It distributes the tables of a commit by
-- shard, and replaces what Citus does not run on a distributed table (docs/decisions/0041-citus.md).

-- Triggers with transition tables.
DROP TRIGGER IF EXISTS entries_added ON vault.entries;
DROP TRIGGER IF EXISTS entries_removed ON vault.entries;
DROP TRIGGER IF EXISTS entries_changed ON vault.entries;
DROP TRIGGER IF EXISTS access_log_drop ON vault.access_log;
DROP TRIGGER IF EXISTS purge_log_drop ON vault.purge_log;
-- Triggers that read the name of the table. No row is deleted here.
DROP TRIGGER IF EXISTS access_log_keeps_unarchived ON vault.access_log;
DROP TRIGGER IF EXISTS purge_log_keeps_unarchived ON vault.purge_log;
-- Triggers for a statement are not called where rows of a shard are changed.
DROP TRIGGER IF EXISTS access_log_append_only ON vault.access_log;
DROP TRIGGER IF EXISTS purge_log_append_only ON vault.purge_log;
DROP TRIGGER IF EXISTS log_archives_append_only ON vault.log_archives;
DROP TRIGGER IF EXISTS log_archives_in_order ON vault.log_archives;

CREATE TABLE IF NOT EXISTS vault.two_phase (only_row integer PRIMARY KEY);

DO $$
DECLARE
    shards int := (SELECT s.shards FROM vault.sharding AS s);
BEGIN
    IF NOT EXISTS (SELECT 1 FROM pg_dist_partition WHERE logicalrelid = 'vault.entries'::regclass) THEN
        PERFORM create_reference_table('vault.scrubs');
        PERFORM create_reference_table('vault.lag_steps');
        PERFORM create_reference_table('vault.log_archives');
        PERFORM citus_add_local_table_to_metadata('vault.two_phase');
        PERFORM create_distributed_table('vault.access_log', 'shard', colocate_with => 'none', shard_count => shards);
        PERFORM create_distributed_table('vault.purge_log', 'shard', colocate_with => 'vault.access_log');
        PERFORM create_distributed_table('vault.entry_deltas', 'shard', colocate_with => 'vault.access_log');
        PERFORM create_distributed_table('vault.entries', 'shard', colocate_with => 'vault.access_log');
    END IF;
END
$$;

-- Rows of the logs are never deleted. Citus makes the triggers for each row on the shards too, but none for TRUNCATE: migrate makes
-- those (guard_shards).
CREATE OR REPLACE TRIGGER access_log_keeps_rows BEFORE UPDATE OR DELETE ON vault.access_log
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER purge_log_keeps_rows BEFORE UPDATE OR DELETE ON vault.purge_log
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER access_log_not_truncated BEFORE TRUNCATE ON vault.access_log
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER purge_log_not_truncated BEFORE TRUNCATE ON vault.purge_log
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER log_archives_not_truncated BEFORE TRUNCATE ON vault.log_archives
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER log_archives_keeps_rows BEFORE UPDATE OR DELETE ON vault.log_archives
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_change();
CREATE OR REPLACE TRIGGER log_archives_in_order BEFORE INSERT ON vault.log_archives
    FOR EACH ROW EXECUTE FUNCTION vault.check_archive();

-- Changes of entries, as deltas of the counts for the report, in the same shard.
CREATE OR REPLACE FUNCTION vault.count_entry() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' THEN
        IF (OLD.purged_at IS NULL, OLD.key_ref, OLD.algorithm_hint, OLD.access_policy, OLD.owner_app, OLD.created_at, OLD.expires_at)
            IS NOT DISTINCT FROM
           (NEW.purged_at IS NULL, NEW.key_ref, NEW.algorithm_hint, NEW.access_policy, NEW.owner_app, NEW.created_at, NEW.expires_at)
        THEN
            RETURN NULL;
        END IF;
    END IF;
    IF TG_OP <> 'INSERT' THEN
        IF OLD.purged_at IS NULL THEN
            INSERT INTO vault.entry_deltas VALUES (
                OLD.purpose, OLD.key_ref, OLD.algorithm_hint, OLD.access_policy, OLD.owner_app,
                (OLD.created_at AT TIME ZONE 'UTC')::date, (OLD.expires_at AT TIME ZONE 'UTC')::date, -1, OLD.shard
            );
        END IF;
    END IF;
    IF TG_OP <> 'DELETE' THEN
        IF NEW.purged_at IS NULL THEN
            INSERT INTO vault.entry_deltas VALUES (
                NEW.purpose, NEW.key_ref, NEW.algorithm_hint, NEW.access_policy, NEW.owner_app,
                (NEW.created_at AT TIME ZONE 'UTC')::date, (NEW.expires_at AT TIME ZONE 'UTC')::date, 1, NEW.shard
            );
        END IF;
    END IF;
    RETURN NULL;
END
$$;
CREATE OR REPLACE TRIGGER entries_counted AFTER INSERT OR UPDATE OR DELETE ON vault.entries
    FOR EACH ROW EXECUTE FUNCTION vault.count_entry();

-- A commit on the coordinator, as in functions.sql, by two calls for each shard that it concerns: one locks and checks entries, and
-- after all of them one writes. Each call runs on the worker of its shard (force_delegation), in the transaction of the commit. The
-- coordinator takes the positions between them, and holds the advisory lock from before that until the commit. An entry is locked
-- before its row has a position: an expected one by its row, and a new one by an advisory lock of its id. A commit that creates more
-- than 256 entries excludes all others that create some, because the table of locks is small.
--
-- The arguments of the calls are literals of their statements, which a server logs after an error. So no call has a value or metadata
-- of an entry. The coordinator copies new entries to their shards.

-- Other arguments and results than they once had.
DROP FUNCTION IF EXISTS vault.check_part;
DROP FUNCTION IF EXISTS vault.write_part;

-- Locks the expected entries of one shard. Returns the ordinals of the expectations that are met, and of those of no row that are
-- not.
CREATE OR REPLACE FUNCTION vault.check_part(
    part         int,
    is_changing  boolean,
    expectations vault.expectation[],
    ordinals     bigint[],
    OUT met      bigint[],
    OUT unmet    bigint[]
) LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    found bigint;
BEGIN
    met := '{}';
    unmet := '{}';
    IF EXISTS (SELECT 1 FROM unnest(expectations) AS x WHERE x.kind <> 'entry-absent') THEN
        IF is_changing THEN
            FOR found IN
                SELECT x.ordinal
                FROM unnest(expectations, ordinals)
                AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
                JOIN vault.entries AS e ON e.purpose = x.purpose AND e.external_id = x.external_id AND e.shard = x.shard
                WHERE e.shard = part AND CASE WHEN e.purged_at IS NULL THEN true END AND CASE x.kind
                    WHEN 'entry-is' THEN e.entry_id = x.subject AND e.version = x.number
                    WHEN 'retrievals-below' THEN e.retrievals < x.number
                END
                ORDER BY e.purpose, e.external_id
                FOR UPDATE OF e
            LOOP
                met := met || found;
            END LOOP;
        ELSE
            FOR found IN
                SELECT x.ordinal
                FROM unnest(expectations, ordinals)
                AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
                JOIN vault.entries AS e ON e.purpose = x.purpose AND e.external_id = x.external_id AND e.shard = x.shard
                WHERE e.shard = part AND CASE WHEN e.purged_at IS NULL THEN true END AND CASE x.kind
                    WHEN 'entry-is' THEN e.entry_id = x.subject AND e.version = x.number
                    WHEN 'retrievals-below' THEN e.retrievals < x.number
                END
                ORDER BY e.purpose, e.external_id
                FOR KEY SHARE OF e
            LOOP
                met := met || found;
            END LOOP;
        END IF;
    END IF;
    IF EXISTS (SELECT 1 FROM unnest(expectations) AS x WHERE x.kind = 'entry-absent') THEN
        FOR found IN
            SELECT x.ordinal
            FROM unnest(expectations, ordinals)
                AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
            JOIN vault.entries AS e ON e.purpose = x.purpose AND e.external_id = x.external_id AND e.shard = x.shard
            WHERE e.shard = part AND x.kind = 'entry-absent'
        LOOP
            unmet := unmet || found;
        END LOOP;
    END IF;
END
$$;

-- Writes what a commit changes in one shard, without the entries that it stores. Each row of a log has its position.
CREATE OR REPLACE FUNCTION vault.write_part(
    part             int,
    removals         vault.entry_key[],
    overwrites       vault.entry_overwrite[],
    counts           vault.entry_key[],
    access_rows      vault.access_row[],
    access_positions bigint[],
    purge_rows       vault.purge_row[],
    purge_positions  bigint[]
) RETURNS boolean LANGUAGE plpgsql SET plan_cache_mode = force_custom_plan AS $$
BEGIN
    IF cardinality(removals) > 0 THEN
        DELETE FROM vault.entries AS e USING unnest(removals) AS r
        WHERE e.purpose = r.purpose AND e.external_id = r.external_id AND e.shard = r.shard AND e.shard = part;
    END IF;
    IF cardinality(overwrites) > 0 THEN
        UPDATE vault.entries AS e
        SET encrypted_value = o.filler, purged_at = o.purged_at, purge_method = o.method
        FROM unnest(overwrites) AS o
        WHERE e.purpose = o.purpose AND e.external_id = o.external_id AND e.shard = o.shard AND e.shard = part;
    END IF;
    IF cardinality(counts) > 0 THEN
        UPDATE vault.entries AS e SET retrievals = e.retrievals + 1
        FROM unnest(counts) AS c
        WHERE e.purpose = c.purpose AND e.external_id = c.external_id AND e.shard = c.shard AND e.shard = part;
    END IF;
    INSERT INTO vault.access_log (
        position, at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity,
        method, credential_id, client_address, untrusted_forwarding, reason, policy, policy_version, count, detail, old_value,
        new_value, leaf_hash, role, shard
    ) OVERRIDING SYSTEM VALUE
    SELECT
        access_positions[a.ordinal], a.at, a.request_id, a.operation, a.outcome, a.status, a.purpose, a.external_id, a.entry_id,
        a.entry_version, a.app, a.identity, a.method, a.credential_id, a.client_address, a.untrusted_forwarding, a.reason,
        a.policy, a.policy_version, a.count, a.detail, a.old_value, a.new_value, a.leaf_hash, a.role, a.shard
    FROM unnest(access_rows) WITH ORDINALITY AS a (
        write, at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity, method,
        credential_id, client_address, untrusted_forwarding, reason, policy, policy_version, count, detail, old_value,
        new_value, leaf_hash, role, shard, ordinal
    );

    IF cardinality(purge_rows) > 0 THEN
        INSERT INTO vault.purge_log (
            position, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
            value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id, leaf_hash, shard
        ) OVERRIDING SYSTEM VALUE
        SELECT
            purge_positions[p.ordinal], p.purge_id, p.purpose, p.external_id, p.entry_id, p.entry_version, p.method, p.reason,
            p.policy_reference, p.proof_hash, p.value_size, p.key_ref, p.owner_app, p.purged_at, p.expired_at, p.app,
            p.identity, p.request_id, p.leaf_hash, p.shard
        FROM unnest(purge_rows) WITH ORDINALITY AS p (
            write, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
            value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id, leaf_hash, shard, ordinal
        );
    END IF;
    RETURN true;
END
$$;

SELECT create_distributed_function(p.oid, 'part', colocate_with => 'vault.access_log', force_delegation => true)
FROM pg_proc AS p WHERE p.oid IN ('vault.check_part'::regproc, 'vault.write_part'::regproc);

-- The calls are texts without parameters, because Citus sends a worker all variables of the function as parameters, and refuses those
-- of its types.
-- The last statement deletes nothing. It makes Citus commit on every server in two phases: without it, a commit that changes rows of
-- one server is acknowledged even if that server did not commit. An expectation in place -1 is one of commit_as_usual: if it is
-- not met, nothing is changed and the result is null.
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
    broken      int[] := array_fill(0, ARRAY[writes]);
    met         bigint[] := '{}';
    unmet       bigint[] := '{}';
    current     bigint;
    is_changing boolean := cardinality(puts) + cardinality(removals) + cardinality(overwrites) + cardinality(counts) > 0;
    positions   bigint[];
    destroyed   bigint[];
    found       bigint;
    part        int;
    of_part     record;
    wanted      record;
    failed      record;
    created     bigint := (SELECT count(*) FROM unnest(puts) AS p WHERE p.fresh);
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1987277164, 1);
    IF created > 256 THEN
        PERFORM pg_advisory_xact_lock(1987277164, 6);
    ELSIF created > 0 THEN
        PERFORM pg_advisory_xact_lock_shared(1987277164, 6);
        PERFORM pg_advisory_xact_lock(k.number)
        FROM (
            SELECT DISTINCT hashtextextended(p.purpose || ' ' || p.external_id, 1987277164) AS number
            FROM unnest(puts) AS p WHERE p.fresh ORDER BY number
        ) AS k;
    END IF;
    current := (SELECT revision FROM vault.rulebook);
    FOR wanted IN
        SELECT x.shard AS part, array_agg(expectations[x.ordinal] ORDER BY x.ordinal) AS expectations,
               array_agg(x.ordinal ORDER BY x.ordinal) AS ordinals
        FROM unnest(expectations) WITH ORDINALITY
            AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
        WHERE x.kind IN ('entry-is', 'retrievals-below', 'entry-absent')
        GROUP BY x.shard ORDER BY x.shard
    LOOP
        EXECUTE format(
            'SELECT p.met, p.unmet FROM vault.check_part(%L, %L, %L, %L) AS p', wanted.part, is_changing, wanted.expectations,
            wanted.ordinals
        ) INTO of_part;
        met := met || of_part.met;
        unmet := unmet || of_part.unmet;
    END LOOP;
    IF EXISTS (SELECT 1 FROM unnest(expectations) AS x WHERE x.kind = 'policy-unused') THEN
        FOR found IN
            SELECT DISTINCT x.ordinal
            FROM unnest(expectations) WITH ORDINALITY
                AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
            JOIN vault.entries AS e ON e.access_policy = x.subject AND e.purged_at IS NULL
            WHERE x.kind = 'policy-unused'
        LOOP
            unmet := unmet || found;
        END LOOP;
    END IF;
    FOR failed IN
        SELECT x.write, min(x.place) AS place
        FROM unnest(expectations) WITH ORDINALITY
            AS x (write, place, kind, purpose, external_id, subject, number, shard, ordinal)
        WHERE NOT CASE
            WHEN x.kind = 'revision-is' THEN x.number = current
            WHEN x.kind IN ('entry-absent', 'policy-unused') THEN x.ordinal <> ALL (unmet)
            ELSE x.ordinal = ANY (met)
        END
        GROUP BY x.write
    LOOP
        broken[failed.write] := failed.place;
    END LOOP;
    IF -1 = ANY (broken) THEN
        RETURN NULL;
    END IF;

    positions := ARRAY(SELECT nextval('vault.access_log_position_seq') FROM unnest(access_rows));
    destroyed := ARRAY(SELECT nextval('vault.purge_log_position_seq') FROM unnest(purge_rows));
    FOR part IN
        SELECT DISTINCT w.shard
        FROM (
            SELECT a.write, a.shard FROM unnest(access_rows) AS a
            UNION ALL SELECT p.write, p.shard FROM unnest(purge_rows) AS p
            UNION ALL SELECT p.write, p.shard FROM unnest(puts) AS p
            UNION ALL SELECT k.write, k.shard FROM unnest(removals || counts) AS k
            UNION ALL SELECT o.write, o.shard FROM unnest(overwrites) AS o
        ) AS w
        WHERE broken[w.write] = 0 ORDER BY 1
    LOOP
        SELECT
            ARRAY(SELECT r FROM unnest(removals) AS r WHERE r.shard = part AND broken[r.write] = 0) AS removals,
            ARRAY(SELECT o FROM unnest(overwrites) AS o WHERE o.shard = part AND broken[o.write] = 0) AS overwrites,
            ARRAY(SELECT c FROM unnest(counts) AS c WHERE c.shard = part AND broken[c.write] = 0) AS counts,
            ARRAY(
                SELECT n FROM generate_subscripts(access_rows, 1) AS n
                WHERE (access_rows[n]).shard = part AND broken[(access_rows[n]).write] = 0 ORDER BY n
            ) AS logged,
            ARRAY(
                SELECT n FROM generate_subscripts(purge_rows, 1) AS n
                WHERE (purge_rows[n]).shard = part AND broken[(purge_rows[n]).write] = 0 ORDER BY n
            ) AS purged
        INTO wanted;
        SELECT
            ARRAY(SELECT access_rows[n] FROM unnest(wanted.logged) AS n) AS access_rows,
            ARRAY(SELECT positions[n] FROM unnest(wanted.logged) AS n) AS access_positions,
            ARRAY(SELECT purge_rows[n] FROM unnest(wanted.purged) AS n) AS purge_rows,
            ARRAY(SELECT destroyed[n] FROM unnest(wanted.purged) AS n) AS purge_positions
        INTO of_part;
        EXECUTE format(
            'SELECT FROM vault.write_part(%L, %L, %L, %L, %L, %L, %L, %L)', part, wanted.removals, wanted.overwrites,
            wanted.counts, of_part.access_rows, of_part.access_positions, of_part.purge_rows, of_part.purge_positions
        );
    END LOOP;
    IF created > 0 THEN
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
    END IF;
    IF cardinality(puts) > created THEN
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
    DELETE FROM vault.two_phase WHERE only_row = 0;
    RETURN broken;
END
$$;

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
    IF NOT EXISTS (SELECT 1 FROM vault.rulebook AS r WHERE r.revision = commit_as_usual.revision) THEN
        RETURN NULL;
    END IF;
    RETURN vault.commit_batch(
        writes,
        expectations || ARRAY(
            SELECT (p.write, -1, 'entry-absent', p.purpose, p.external_id, NULL, NULL, p.shard)::vault.expectation
            FROM unnest(puts) AS p WHERE p.fresh
        ),
        puts, removals, overwrites, counts, access_rows, purge_rows
    );
END
$$;
