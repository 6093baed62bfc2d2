-- Every statement the SQLite storage runs. Times are microseconds since 1970-01-01T00:00:00Z.

-- name: schema_table_exists
SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'schema_version'

-- name: other_tables
SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\_%' ESCAPE '\'

-- name: schema_version
SELECT version FROM schema_version

-- name: schema_state
-- An older schema has no column functions.
SELECT * FROM schema_version

-- name: forget_state
DELETE FROM schema_version

-- name: put_state
INSERT INTO schema_version (version, functions) VALUES (?, ?)
-- name: pragma_auto_vacuum
-- A file that is created shrinks when archived rows have been dropped. An existing file stays as it is.
PRAGMA auto_vacuum = INCREMENTAL

-- name: pragma_journal_mode
PRAGMA journal_mode = WAL

-- name: pragma_synchronous
PRAGMA synchronous = FULL

-- name: pragma_synchronous_normal
-- For deletions that can be made again. Their caller syncs the write-ahead log, without the write lock.
PRAGMA synchronous = NORMAL

-- name: pragma_secure_delete
PRAGMA secure_delete = ON

-- name: pragma_busy_timeout
-- Milliseconds to wait for another process that writes.
PRAGMA busy_timeout = 5000

-- name: pragma_trusted_schema
PRAGMA trusted_schema = OFF

-- name: pragma_large_cache
-- KiB of pages that a connection keeps: with the usual number, a sweep reads the logs' indexes again for every batch.
PRAGMA cache_size = -16384

-- name: pragma_usual_cache
PRAGMA cache_size = -2000

-- name: pragma_query_only
PRAGMA query_only = ON

-- name: pragma_temp_store
-- A statement's own journal holds pages as they were, of entries that are being purged, too: it is not to lie in /var/tmp.
PRAGMA temp_store = MEMORY

-- name: pragma_wal_autocheckpoint
-- Off: SQLite ignores the errors of a checkpoint that it runs after a commit, and a failed fsync must not go unnoticed.
PRAGMA wal_autocheckpoint = 0

-- name: read_synchronous
PRAGMA synchronous

-- name: read_secure_delete
PRAGMA secure_delete

-- name: begin_read
BEGIN DEFERRED

-- name: data_version
-- Differs from the last answer to this connection if another connection has committed since.
PRAGMA data_version

-- name: begin_write
BEGIN IMMEDIATE

-- name: begin_migration
BEGIN EXCLUSIVE

-- name: commit
COMMIT

-- name: rollback
ROLLBACK

-- name: checkpoint_log
PRAGMA wal_checkpoint(PASSIVE)

-- name: truncate_log
-- Its first column says whether a reader was in the way.
PRAGMA wal_checkpoint(TRUNCATE)

-- name: revision
SELECT revision FROM rulebook

-- name: revision_and_mark
SELECT revision, mark FROM rulebook CROSS JOIN clock

-- name: mark
SELECT mark FROM clock

-- name: raise_mark
UPDATE clock SET mark = :at WHERE mark IS NULL OR mark < :at

-- name: next_revision
UPDATE rulebook SET revision = revision + 1

-- name: entry
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM entries WHERE purpose = ? AND external_id = ?

-- name: entry_with_value
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method,
       CAST(encrypted_value AS BLOB)
FROM entries WHERE purpose = ? AND external_id = ?

-- name: entry_guard
-- What expectations about an entry are checked against.
SELECT entry_id, version, retrievals, purged_at FROM entries WHERE purpose = ? AND external_id = ?

-- name: entry_as_seen
-- What tells whether an entry is as it was read: the columns of entry_guard, and the expiry.
SELECT entry_id, version, retrievals, purged_at, expires_at FROM entries WHERE purpose = ? AND external_id = ?

-- name: entry_as_seen_with_value
SELECT entry_id, version, retrievals, purged_at, expires_at, CAST(encrypted_value AS BLOB)
FROM entries WHERE purpose = ? AND external_id = ?

-- name: put_entry
-- REPLACE would take off what is there without the trigger that counts it.
INSERT INTO entries (
    purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
    owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method,
    encrypted_value
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (purpose, external_id) DO UPDATE SET
    entry_id = excluded.entry_id, version = excluded.version, encoding = excluded.encoding,
    value_sha256 = excluded.value_sha256, value_size = excluded.value_size, algorithm_hint = excluded.algorithm_hint,
    key_ref = excluded.key_ref, metadata = excluded.metadata, owner_app = excluded.owner_app,
    owner_identity = excluded.owner_identity, access_policy = excluded.access_policy, created_at = excluded.created_at,
    updated_at = excluded.updated_at, expires_at = excluded.expires_at, retrievals = excluded.retrievals,
    purged_at = excluded.purged_at, purge_method = excluded.purge_method, encrypted_value = excluded.encrypted_value

-- name: count_unchanged
-- How many of the expected entries are there, each in its version, with its value.
WITH expected (purpose, external_id, entry_id, version) AS (VALUES (?, ?, ?, ?))
SELECT count(*) FROM expected AS x CROSS JOIN entries AS e
WHERE e.purpose = x.purpose AND e.external_id = x.external_id AND e.entry_id = x.entry_id AND e.version = x.version
  AND e.purged_at IS NULL

-- name: count_present
-- How many of the ids have an entry, or a mark of a purge.
WITH expected (purpose, external_id) AS (VALUES (?, ?))
SELECT count(*) FROM expected AS x CROSS JOIN entries AS e WHERE e.purpose = x.purpose AND e.external_id = x.external_id

-- name: remove_entry
DELETE FROM entries WHERE purpose = ? AND external_id = ?

-- name: remove_entries
-- The rowids stand between, because SQLite looks at every entry where a pair is IN a list.
WITH removed (purpose, external_id) AS (VALUES (?, ?))
DELETE FROM entries WHERE rowid IN (
    SELECT e.rowid FROM removed AS r CROSS JOIN entries AS e WHERE e.purpose = r.purpose AND e.external_id = r.external_id
)

-- name: overwrite_entry
UPDATE entries SET encrypted_value = ?, purged_at = ?, purge_method = ? WHERE purpose = ? AND external_id = ?

-- name: count_retrieval
UPDATE entries SET retrievals = retrievals + 1 WHERE purpose = ? AND external_id = ?

-- name: policy_in_use
SELECT 1 FROM entries WHERE access_policy = ? AND purged_at IS NULL LIMIT 1

-- name: put_access_policy
INSERT INTO access_policies (
    name, version, evaluator, rules, parameters, description, created_by, created_at, dropped
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_retention_policy
INSERT INTO retention_policies (
    purpose, version, max_retention_days, default_ttl_days, purge_method, description, justification, legal_basis,
    data_class, created_by, created_at, allowed_access_policies, max_value_bytes, required_metadata, inactivity_days
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_api_key
INSERT INTO api_keys (
    key_id, version, digest, app, identity, purposes, roles, description, expires_at, created_by, created_at, revoked_by,
    revoked_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_legal_hold
INSERT INTO legal_holds (
    name, version, case_reference, reason, purpose, external_id, owner_app, metadata, held_since, created_by, created_at,
    released_by, released_at
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_sweep
INSERT INTO sweeps (
    sweep_id, started_at, finished_at, started_by, purged, failed, completed, held
) VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_access_row
INSERT INTO access_log (
    at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity, method,
    credential_id, client_address, untrusted_forwarding, reason, policy, policy_version, count, detail, old_value, new_value,
    leaf_hash, role
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_purge_row
INSERT INTO purge_log (
    purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash, value_size,
    key_ref, owner_app, purged_at, expired_at, app, identity, request_id, leaf_hash
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: expired_by_time
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method,
       CAST(encrypted_value AS BLOB)
FROM entries
WHERE purpose = :purpose AND purged_at IS NULL AND expires_at <= :now
  AND (expires_at, external_id) > (:after_at, :after_id)
ORDER BY expires_at, external_id LIMIT :limit

-- name: expired_by_retention_limit
-- What the retention policy's maximum ends, though its own time has not come.
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method,
       CAST(encrypted_value AS BLOB)
FROM entries
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :created_before AND expires_at > :now
  AND (created_at, external_id) > (:after_at, :after_id)
ORDER BY created_at, external_id LIMIT :limit

-- name: put_scrub
INSERT INTO scrubs (scrub_id, started_at, finished_at, started_by, through, rewritten, completed, undone)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: scrub_reach
-- The newest row of the purge log, and the newest that a scrub has reached.
SELECT coalesce((SELECT max(position) FROM purge_log), 0), coalesce((SELECT max(through) FROM scrubs), 0)

-- name: acquire_lease
INSERT INTO leases (name, holder, expires_at) VALUES (:name, :holder, :expires_at)
ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, expires_at = excluded.expires_at
WHERE leases.holder = excluded.holder OR leases.expires_at <= :now

-- name: knows_lease
SELECT 1 FROM leases WHERE name = :name

-- name: drop_expired_leases
-- Nobody can tell an expired lease from none.
DELETE FROM leases WHERE name IN (SELECT name FROM leases WHERE expires_at <= :now AND name <> :name LIMIT 1000)

-- name: release_lease
DELETE FROM leases WHERE name = :name AND holder = :holder

-- name: record_usage
INSERT INTO credential_uses (method, credential_id, first_used_at, last_used_at) VALUES (:method, :credential_id, :at, :at)
ON CONFLICT (method, credential_id) DO UPDATE SET
    first_used_at = min(first_used_at, excluded.first_used_at), last_used_at = max(last_used_at, excluded.last_used_at)

-- name: save_cursor
INSERT INTO cursors (name, position) VALUES (:name, :position)
ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)

-- name: make_secret
INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING

-- name: secret
SELECT value FROM secrets WHERE name = ?

-- name: unsequenced
-- The log is one of two names, never a caller's word. One row for all of them: an array of the positions, and the hashes in hex, one
-- after the other. Both are in the same order, which cannot be relied on. A row without a hash makes the second one shorter.
SELECT json_group_array(position), group_concat(hex(leaf_hash), '')
FROM (SELECT position, leaf_hash FROM {log}_log WHERE position > :after ORDER BY position LIMIT :limit)

-- name: unsequenced_singly
SELECT position, leaf_hash FROM {log}_log WHERE position > :after ORDER BY position LIMIT :limit

-- name: put_leaves
-- An array of positions, of which the first gets this index.
INSERT INTO leaves (leaf_index, log, position) SELECT ?1 + key, ?2, value FROM json_each(?3)

-- name: put_tile
INSERT INTO tiles (level, tile_index, hashes) VALUES (?, ?, ?)
ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes

-- name: put_checkpoint
INSERT INTO checkpoints (size, origin, root_hash, note, signed_at) VALUES (?, ?, ?, ?, ?)

-- name: tile
SELECT hashes FROM tiles WHERE level = ? AND tile_index = ?

-- name: thin_checkpoints
DELETE FROM checkpoints WHERE size = ?

-- name: pragma_journal_delete
-- A backup is one file, without a write-ahead log. The vault sets the mode that it needs when it opens the file.
PRAGMA journal_mode = DELETE

-- name: integrity_check
PRAGMA integrity_check

-- name: backup_counts
SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM access_log), (SELECT count(*) FROM purge_log)

-- name: newest_note
SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1
