-- Every statement the PostgreSQL storage runs, beside the function vault.commit_batch of the schema.

-- name: schema_exists
SELECT to_regclass('vault.schema_version') IS NOT NULL

-- name: schema_version
SELECT version FROM vault.schema_version

-- name: schema_state
-- An older schema has no column functions.
SELECT version, to_jsonb(v) ->> 'functions' FROM vault.schema_version AS v

-- name: forget_state
DELETE FROM vault.schema_version

-- name: put_state
INSERT INTO vault.schema_version (version, functions) VALUES ($1, $2)

-- name: lock_migration
-- The first number stands for this program, the second for what is locked.
SELECT pg_advisory_xact_lock(1987277164, 2)

-- name: lock_rules
SELECT pg_advisory_xact_lock(1987277164, 1)

-- name: read
SELECT e.purpose, e.external_id, e.entry_id, e.version, e.encoding, e.value_sha256, e.value_size, e.algorithm_hint,
       e.key_ref, e.metadata, e.owner_app, e.owner_identity, e.access_policy, e.created_at, e.updated_at, e.expires_at,
       e.retrievals, e.purged_at, e.purge_method,
       CASE WHEN k.with_value AND e.purged_at IS NULL THEN e.encrypted_value END AS encrypted_value,
       greatest(now(), (SELECT mark FROM vault.clock)) AS now, (SELECT revision FROM vault.rulebook) AS revision,
       (SELECT mark FROM vault.clock) AS mark
FROM unnest($1::text[], $2::text[], $3::boolean[], $4::int[]) WITH ORDINALITY
    AS k (purpose, external_id, with_value, shard, ordinal)
LEFT JOIN vault.entries AS e ON e.purpose = k.purpose AND e.external_id = k.external_id AND e.shard = k.shard
ORDER BY k.ordinal

-- name: read_one
-- As read, of one entry: only its partition is opened, which takes a third of the time.
SELECT e.purpose, e.external_id, e.entry_id, e.version, e.encoding, e.value_sha256, e.value_size, e.algorithm_hint,
       e.key_ref, e.metadata, e.owner_app, e.owner_identity, e.access_policy, e.created_at, e.updated_at, e.expires_at,
       e.retrievals, e.purged_at, e.purge_method,
       CASE WHEN $3::boolean AND e.purged_at IS NULL THEN e.encrypted_value END AS encrypted_value,
       greatest(now(), (SELECT mark FROM vault.clock)) AS now, (SELECT revision FROM vault.rulebook) AS revision,
       (SELECT mark FROM vault.clock) AS mark
FROM (SELECT) AS always
LEFT JOIN vault.entries AS e ON e.purpose = $1::text AND e.external_id = $2::text AND e.shard = $4::int

-- name: commit_batch
SELECT vault.commit_batch($1, $2, $3, $4, $5, $6, $7, $8)

-- name: commit_as_usual
SELECT vault.commit_as_usual($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: commit_seen_one
-- Commits a write about one entry that was read before, and returns the value, in one round trip. The function runs only if the
-- entry is as it was read, and checks that once more, under its lock. A value belongs to a version, so the value of this row is
-- the one then.
SELECT f.*, CASE WHEN cardinality(f.ordinals) = 1 THEN
           vault.commit_as_usual(1, $1::bigint, $2, $3, $4, $5, $6, $7, $8)
       END AS broken
FROM (
    SELECT array_agg(1) AS ordinals, array_agg(CASE WHEN $16::boolean THEN e.encrypted_value END) AS vals,
           greatest(now(), (SELECT mark FROM vault.clock)) AS now, (SELECT mark FROM vault.clock) AS mark
    FROM vault.entries AS e
    WHERE e.purpose = $9::text AND e.external_id = $10::text AND e.entry_id = $11 AND e.version = $12 AND e.retrievals = $13
      AND e.expires_at = $14 AND CASE WHEN e.purged_at IS NULL THEN true END
      AND greatest(now(), (SELECT mark FROM vault.clock)) < $15
      AND e.shard = $18::int AND (NOT $17::boolean OR encode(sha256(e.encrypted_value), 'hex') = e.value_sha256)
) AS f

-- name: commit_seen
-- As commit_seen_one, for several entries. The function runs only if each of them is as it was read.
SELECT f.*, CASE WHEN cardinality(f.ordinals) = cardinality($9::text[]) THEN
           vault.commit_as_usual(cardinality($9), $1::bigint, $2, $3, $4, $5, $6, $7, $8)
       END AS broken
FROM (
    SELECT array_agg(k.ordinal) AS ordinals, array_agg(CASE WHEN k.with_value THEN e.encrypted_value END) AS vals,
           greatest(now(), (SELECT mark FROM vault.clock)) AS now, (SELECT mark FROM vault.clock) AS mark
    FROM unnest(
        $9::text[], $10::text[], $11::text[], $12::bigint[], $13::bigint[], $14::timestamptz[], $15::timestamptz[],
        $16::boolean[], $17::boolean[], $18::int[]
    ) WITH ORDINALITY AS k (
        purpose, external_id, entry_id, version, retrievals, expires_at, until, with_value, is_intact, shard, ordinal
    )
    JOIN vault.entries AS e ON e.purpose = k.purpose AND e.external_id = k.external_id AND e.shard = k.shard
    WHERE e.entry_id = k.entry_id AND e.version = k.version AND e.retrievals = k.retrievals
      AND e.expires_at = k.expires_at AND CASE WHEN e.purged_at IS NULL THEN true END
      AND greatest(now(), (SELECT mark FROM vault.clock)) < k.until
      AND (NOT k.is_intact OR encode(sha256(e.encrypted_value), 'hex') = e.value_sha256)
) AS f

-- name: shards
SELECT shards FROM vault.sharding

-- name: set_shards
-- Of a new database, before it has rows.
UPDATE vault.sharding SET shards = $1

-- name: next_revision
UPDATE vault.rulebook SET revision = revision + 1

-- name: put_access_policy
INSERT INTO vault.access_policies (
    name, version, evaluator, rules, parameters, description, created_by, created_at, dropped
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)

-- name: put_retention_policy
INSERT INTO vault.retention_policies (
    purpose, version, max_retention_days, default_ttl_days, purge_method, description, justification, legal_basis,
    data_class, created_by, created_at, allowed_access_policies, max_value_bytes, required_metadata, inactivity_days
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)

-- name: put_api_key
INSERT INTO vault.api_keys (
    key_id, version, digest, app, identity, purposes, roles, description, expires_at, created_by, created_at, revoked_by,
    revoked_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: put_legal_hold
INSERT INTO vault.legal_holds (
    name, version, case_reference, reason, purpose, external_id, owner_app, metadata, held_since, created_by, created_at,
    released_by, released_at
) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)

-- name: put_sweep
INSERT INTO vault.sweeps (sweep_id, started_at, finished_at, started_by, purged, failed, completed, held)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: expired_by_time
-- "before" is the size of the values that stand before in
-- the page. The values are fetched last, and in no order, so that none is written to a sort's file.
WITH candidates AS (
    SELECT purpose, external_id, value_size, expires_at AS rank
    FROM vault.entries
    WHERE purpose = :purpose AND purged_at IS NULL AND expires_at <= :now
      AND (expires_at, external_id) > (:after_at, :after_id)
    ORDER BY expires_at, external_id LIMIT :limit
), page AS (
    SELECT purpose, external_id, sum(value_size) OVER (ORDER BY rank, external_id) - value_size AS before
    FROM candidates
)
SELECT e.purpose, e.external_id, e.entry_id, e.version, e.encoding, e.value_sha256, e.value_size, e.algorithm_hint,
       e.key_ref, e.metadata, e.owner_app, e.owner_identity, e.access_policy, e.created_at, e.updated_at, e.expires_at,
       e.retrievals, e.purged_at, e.purge_method, e.encrypted_value
FROM page JOIN vault.entries AS e ON e.purpose = page.purpose AND e.external_id = page.external_id
WHERE page.before < :byte_limit

-- name: expired_by_retention_limit
-- What the retention policy's maximum ends, though its own time has not come; "before" is the size of the values that stand before in
-- the page. The values are fetched last, and in no order, so that none is written to a sort's file.
WITH candidates AS (
    SELECT purpose, external_id, value_size, created_at AS rank
    FROM vault.entries
    WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :created_before AND expires_at > :now
      AND (created_at, external_id) > (:after_at, :after_id)
    ORDER BY created_at, external_id LIMIT :limit
), page AS (
    SELECT purpose, external_id, sum(value_size) OVER (ORDER BY rank, external_id) - value_size AS before
    FROM candidates
)
SELECT e.purpose, e.external_id, e.entry_id, e.version, e.encoding, e.value_sha256, e.value_size, e.algorithm_hint,
       e.key_ref, e.metadata, e.owner_app, e.owner_identity, e.access_policy, e.created_at, e.updated_at, e.expires_at,
       e.retrievals, e.purged_at, e.purge_method, e.encrypted_value
FROM page JOIN vault.entries AS e ON e.purpose = page.purpose AND e.external_id = page.external_id
WHERE page.before < :byte_limit

-- name: newest_position
SELECT coalesce(max(position), 0) FROM vault.{log}

-- name: put_scrub
INSERT INTO vault.scrubs (scrub_id, started_at, finished_at, started_by, through, rewritten, completed, undone)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: try_lock_scrub
SELECT pg_try_advisory_lock(1987277164, 3)

-- name: unlock_scrub
SELECT pg_advisory_unlock(1987277164, 3)

-- name: horizon_now
-- The first transaction id that nobody has yet. What was committed before this was asked has a lower one.
SELECT pg_snapshot_xmax(pg_current_snapshot())::text

-- name: scrub_parts
-- Each part of entries, up to which row of the purge log it was scrubbed, whether rows up to $1 tell of others purged from it,
-- and whether this role may rewrite it. A part without such rows is as good as scrubbed.
SELECT s.part, c.oid::regclass::text AS name, s.through,
       EXISTS (
           SELECT FROM vault.purge_log AS p
           WHERE p.position > s.through AND p.position <= $1
             AND satisfies_hash_partition('vault.entries'::regclass, 16, s.part, p.external_id)
       ) AS is_due,
       pg_has_role(c.relowner, 'USAGE') OR {maintains} AS is_permitted
FROM vault.scrubbed AS s
JOIN pg_class AS c ON c.oid = to_regclass('vault.entries_' || lpad(s.part::text, 2, '0'))
ORDER BY s.part

-- name: is_off_record
-- Whether rows of the purge log up to $1 are not reached by any scrub that is on record.
SELECT EXISTS (
    SELECT FROM vault.purge_log
    WHERE position <= $1 AND position > (SELECT coalesce(max(through), 0) FROM vault.scrubs)
)

-- name: maintains
-- The right to rewrite a table without owning it, from PostgreSQL 17 on.
has_table_privilege(c.oid, 'MAINTAIN')

-- name: open_transactions
-- Whether a transaction from before $1 is still open, that has written or will.
SELECT pg_snapshot_xmin(pg_current_snapshot()) < $1::text::xid8

-- name: horizon_holders
-- What is seen to keep rows that were purged before $1: nobody else's sessions are seen by a role that may not read statistics.
SELECT 'the snapshot of session ' || pid || coalesce(' of ' || nullif(application_name, ''), '') AS holder
FROM pg_stat_activity
WHERE pid <> pg_backend_pid() AND backend_xmin IS NOT NULL
  AND (datname = current_database() OR datname IS NULL)
  AND age(backend_xmin) > age($1::text::xid8::xid)
UNION ALL
SELECT 'the replication slot ' || slot_name FROM pg_replication_slots
WHERE xmin IS NOT NULL AND age(xmin) > age($1::text::xid8::xid)
UNION ALL
SELECT 'the prepared transaction ' || gid FROM pg_prepared_xacts
WHERE database = current_database() AND age(transaction) > age($1::text::xid8::xid)
LIMIT 5

-- name: role
SELECT current_user

-- name: limit_waiting
-- Milliseconds to wait for a lock, and for a whole statement.
SELECT set_config('lock_timeout', $1, false), set_config('statement_timeout', $2, false)

-- name: usual_waiting
-- Read before they are changed: RESET would return to the server's values, not to those that the session was given.
SELECT current_setting('lock_timeout'), current_setting('statement_timeout')

-- name: rewrite_part
VACUUM (FULL) {name}

-- name: is_rewritten
-- Rewriting freezes what it keeps, and moves relfrozenxid up to the oldest transaction that may still see a row. If that is
-- not before $2, no row that was dead then was kept.
SELECT age(relfrozenxid) <= age($2::text::xid8::xid) FROM pg_class WHERE oid = to_regclass($1)

-- name: scrubbed_part
UPDATE vault.scrubbed SET through = $2 WHERE part = ANY ($1) AND through < $2

-- name: scrubbed_through
SELECT min(through) FROM vault.scrubbed

-- name: acquire_lease
-- A new lease removes those that have expired: nobody can tell an expired lease from none.
WITH dropped AS (
    DELETE FROM vault.leases WHERE name IN (
        SELECT name FROM vault.leases
        WHERE expires_at <= clock_timestamp() AND name <> $1 AND NOT EXISTS (SELECT FROM vault.leases WHERE name = $1)
        LIMIT 1000 FOR UPDATE SKIP LOCKED))
INSERT INTO vault.leases AS held (name, holder, expires_at)
VALUES ($1, $2, clock_timestamp() + make_interval(secs => $3))
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE held.holder = excluded.holder OR held.expires_at <= clock_timestamp()
RETURNING true

-- name: release_lease
DELETE FROM vault.leases WHERE name = $1 AND holder = $2

-- name: record_usages
-- In the order of their names, so that two processes that do this at once wait for each other in one order.
INSERT INTO vault.credential_uses AS known (method, credential_id, first_used_at, last_used_at)
SELECT method, credential_id, at, at FROM unnest($1::text[], $2::text[], $3::timestamptz[]) AS u (method, credential_id, at)
ORDER BY method COLLATE "C", credential_id COLLATE "C"
ON CONFLICT (method, credential_id) DO UPDATE SET
    first_used_at = least(known.first_used_at, excluded.first_used_at),
    last_used_at = greatest(known.last_used_at, excluded.last_used_at)

-- name: save_cursor
INSERT INTO vault.cursors AS known (name, position) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET position = greatest(known.position, excluded.position)

-- name: clock
SELECT clock_timestamp(), mark FROM vault.clock

-- name: raise_mark
UPDATE vault.clock SET mark = $1 WHERE mark IS NULL OR mark < $1

-- name: make_secret
INSERT INTO vault.secrets (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING

-- name: secret
SELECT value FROM vault.secrets WHERE name = $1

-- name: horizon
-- The state of the tables is taken first, the locks are read after it. So a transaction that is not in the one is in the other.
SELECT (SELECT coalesce(max(position), 0) FROM vault.access_log) AS access,
       (SELECT coalesce(max(position), 0) FROM vault.purge_log) AS purge,
       ({committing}) AS committing

-- name: committing
-- The transactions that hold the lock that every commit of rows takes before it takes positions.
SELECT coalesce(array_agg(virtualtransaction), '{}') FROM pg_locks
WHERE locktype = 'advisory' AND classid = 1987277164 AND objid = 1 AND objsubid = 2 AND granted
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())

-- name: unsequenced
-- For each log one row of two arrays, because a row of its own for each leaf costs the driver more than the rest of its work. The
-- log is one of two names, never a caller's word.
SELECT '{log}' AS log, array_agg(position ORDER BY position) AS positions, array_agg(leaf_hash ORDER BY position) AS hashes
FROM (
    SELECT position, leaf_hash FROM vault.{log}_log
    WHERE position > ({sequenced}) AND position <= ${until} ORDER BY position LIMIT $3
) AS next

-- name: grow_tree
SELECT vault.grow_tree($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)

-- name: tiles
SELECT t.level, t.tile_index, t.hashes
FROM unnest($1::integer[], $2::bigint[]) AS k (level, tile_index)
JOIN vault.tiles AS t ON t.level = k.level AND t.tile_index = k.tile_index

-- name: thin_checkpoints
DELETE FROM vault.checkpoints WHERE size = ANY ($1::bigint[])

-- name: server
-- What durability rests on, who this is, and which history of which database it continues. The timeline is that of the write-ahead
-- log: pg_control_checkpoint() names the old one until the first checkpoint after a promotion.
SELECT current_setting('server_version') AS version, current_setting('server_encoding') AS encoding,
       current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
       current_setting('synchronous_commit') AS synchronous_commit,
       current_setting('synchronous_standby_names') AS synchronous_standby_names,
       pg_is_in_recovery() AS is_standby, current_setting('default_transaction_read_only') AS read_only,
       current_database() AS database, current_user AS role,
       EXISTS (SELECT FROM pg_extension WHERE extname = 'citus') AS has_citus,
       (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser,
       (SELECT oid::text FROM pg_database WHERE datname = current_database()) AS database_oid,
       (SELECT system_identifier::text FROM pg_control_system()) AS system_identifier,
       CASE WHEN NOT pg_is_in_recovery() THEN
           ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::int
       END AS timeline,
       extract(epoch FROM pg_postmaster_start_time())::text AS started, pg_backend_pid() AS backend_pid

-- name: set_settings
-- Sets what this session, or with $3 this transaction, is to run with; returns each as the server writes it.
SELECT name, set_config(name, value, $3) AS value FROM unnest($1::text[], $2::text[]) AS wanted (name, value)

-- name: settings_in_force
SELECT name, current_setting(name, true) AS value FROM unnest($1::text[]) AS wanted (name)

-- name: barrier
-- Writes to the write-ahead log: its commit returns once that, and all before it, is where an acknowledged commit must be.
SELECT pg_logical_emit_message(true, 'vsqlvault', '')

-- name: owner
-- Whether this role could take the triggers off the logs.
SELECT pg_has_role(current_user, relowner, 'MEMBER') FROM pg_class WHERE oid = to_regclass('vault.access_log')

-- name: become
SET LOCAL ROLE {role}

-- name: grant
-- The runtime role stores and purges entries and adds to the logs; it owns nothing, so no trigger is its to take off.
GRANT USAGE ON SCHEMA vault TO {role};
GRANT SELECT ON ALL TABLES IN SCHEMA vault TO {role};
GRANT INSERT, UPDATE, DELETE ON vault.entries, vault.leases, vault.entry_deltas, vault.holding_tallies,
    vault.key_tallies TO {role};
GRANT INSERT, UPDATE ON vault.credential_uses, vault.tiles, vault.cursors TO {role};
GRANT DELETE ON vault.checkpoints TO {role};
GRANT INSERT ON vault.access_log, vault.purge_log, vault.access_policies, vault.retention_policies, vault.api_keys,
    vault.legal_holds, vault.sweeps, vault.scrubs, vault.secrets, vault.leaves, vault.checkpoints, vault.log_blocks,
    vault.access_tallies, vault.purge_tallies, vault.purged_key_tallies, vault.lag_tallies, vault.control_changes,
    vault.attestations, vault.log_archives, vault.access_reviews, vault.access_day_tallies, vault.purge_day_tallies TO {role};
GRANT UPDATE ON vault.rulebook, vault.clock, vault.scrubbed TO {role};
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA vault TO {role};
REVOKE EXECUTE ON FUNCTION vault.drop_archived FROM {role}

-- name: grant_spread
GRANT DELETE ON vault.two_phase TO {role};
GRANT USAGE ON SEQUENCE vault.access_log_position_seq, vault.purge_log_position_seq TO {role}

-- name: grant_maintain
-- From PostgreSQL 17 on the runtime role may rewrite the parts of entries, so that it can scrub.
GRANT MAINTAIN ON vault.entries_00, vault.entries_01, vault.entries_02, vault.entries_03, vault.entries_04, vault.entries_05,
    vault.entries_06, vault.entries_07, vault.entries_08, vault.entries_09, vault.entries_10, vault.entries_11,
    vault.entries_12, vault.entries_13, vault.entries_14, vault.entries_15 TO {role}

-- name: export_snapshot
SELECT pg_export_snapshot()

-- name: backup_counts
SELECT (SELECT count(*) FROM vault.entries), (SELECT count(*) FROM vault.access_log), (SELECT count(*) FROM vault.purge_log)

-- name: newest_note
SELECT note FROM vault.checkpoints ORDER BY size DESC LIMIT 1

-- name: server_version
SHOW server_version

-- name: has_citus
SELECT EXISTS (SELECT FROM pg_extension WHERE extname = 'citus')

-- name: allow_spreading
-- For this transaction. Citus calls triggers on distributed tables unsafe, because they may change other shards. Those of the vault
-- change rows of the same shard only.
SET LOCAL citus.enable_unsafe_triggers = on;
SET LOCAL citus.multi_shard_modify_mode = 'sequential';
SET LOCAL client_min_messages = warning

-- name: guarded_shards
-- Citus makes no triggers for TRUNCATE on the shards of a table.
SELECT success, result FROM run_command_on_placements(
    'vault.{log}', $$SELECT count(*) FROM pg_trigger WHERE tgrelid = '%s'::regclass AND tgname = '{log}_not_truncated'$$
)

-- name: guard_shards
SELECT success, result FROM run_command_on_placements(
    'vault.{log}',
    $$CREATE OR REPLACE TRIGGER {log}_not_truncated BEFORE TRUNCATE ON %s
      FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change()$$
)

-- name: spread_read
-- As read. A join with the keys is done on each shard, and only what it finds is sent. An outer join would send all entries.
-- What is found is joined by the ordinal of its key: a batch may contain a key several times.
SELECT e.purpose, e.external_id, e.entry_id, e.version, e.encoding, e.value_sha256, e.value_size, e.algorithm_hint,
       e.key_ref, e.metadata, e.owner_app, e.owner_identity, e.access_policy, e.created_at, e.updated_at, e.expires_at,
       e.retrievals, e.purged_at, e.purge_method, e.encrypted_value, greatest(now(), c.mark) AS now, r.revision, c.mark
FROM unnest($1::text[], $2::text[]) WITH ORDINALITY AS k (purpose, external_id, ordinal)
CROSS JOIN vault.clock AS c
CROSS JOIN vault.rulebook AS r
LEFT JOIN (
    SELECT w.ordinal, f.purpose, f.external_id, f.entry_id, f.version, f.encoding, f.value_sha256, f.value_size,
           f.algorithm_hint, f.key_ref, f.metadata, f.owner_app, f.owner_identity, f.access_policy, f.created_at, f.updated_at,
           f.expires_at, f.retrievals, f.purged_at, f.purge_method,
           CASE WHEN w.with_value AND f.purged_at IS NULL THEN f.encrypted_value END AS encrypted_value
    FROM unnest($1::text[], $2::text[], $3::boolean[], $4::int[]) WITH ORDINALITY
        AS w (purpose, external_id, with_value, shard, ordinal)
    JOIN vault.entries AS f ON f.purpose = w.purpose AND f.external_id = w.external_id AND f.shard = w.shard
    WHERE f.shard = ANY ($4::int[])
    OFFSET 0
) AS e ON e.ordinal = k.ordinal
ORDER BY k.ordinal

-- name: unresolved
-- Transactions that a server has prepared, and whose end it has not heard of. Their rows are in no result yet.
SELECT success, result FROM run_command_on_workers(
    $$SELECT coalesce(json_agg(gid), '[]') FROM pg_prepared_xacts WHERE database = current_database() AND gid LIKE 'citus%'$$
)
