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

-- name: sum_of_sweeps
SELECT count(*), coalesce(sum(purged), 0), coalesce(sum(failed), 0), coalesce(sum(NOT completed), 0)
FROM sweeps WHERE finished_at >= :since AND finished_at < :until

-- name: sweeps_between
SELECT sweep_id, started_at, finished_at, started_by, purged, failed, completed, held
FROM sweeps WHERE finished_at >= :since AND finished_at < :until ORDER BY finished_at DESC LIMIT :limit

-- name: scrubs_between
SELECT scrub_id, started_at, finished_at, started_by, through, rewritten, completed, undone
FROM scrubs WHERE finished_at >= :since AND finished_at < :until ORDER BY finished_at DESC LIMIT :limit

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

-- name: access_policies
-- The newest version of each name, dropped ones too.
SELECT name, version, evaluator, rules, parameters, description, created_by, created_at, dropped
FROM access_policies AS newest
WHERE version = (SELECT max(version) FROM access_policies WHERE name = newest.name)

-- name: retention_policies
SELECT purpose, version, max_retention_days, default_ttl_days, purge_method, description, justification, legal_basis,
       data_class, created_by, created_at,
       allowed_access_policies, max_value_bytes, required_metadata, inactivity_days
FROM retention_policies AS newest
WHERE version = (SELECT max(version) FROM retention_policies WHERE purpose = newest.purpose)

-- name: api_keys
-- The newest version of each, revoked ones too.
SELECT key_id, version, digest, app, identity, purposes, roles, description, expires_at, created_by, created_at, revoked_by,
       revoked_at
FROM api_keys AS newest
WHERE version = (SELECT max(version) FROM api_keys WHERE key_id = newest.key_id)

-- name: legal_holds
-- The newest version of each name, released ones too.
SELECT name, version, case_reference, reason, purpose, external_id, owner_app, metadata, held_since, created_by,
       created_at, released_by, released_at
FROM legal_holds AS newest
WHERE version = (SELECT max(version) FROM legal_holds WHERE name = newest.name)

-- name: access_policy_versions
SELECT name, version, evaluator, rules, parameters, description, created_by, created_at, dropped
FROM access_policies WHERE name = :name AND version < :before ORDER BY version DESC LIMIT :limit

-- name: retention_policy_versions
SELECT purpose, version, max_retention_days, default_ttl_days, purge_method, description, justification, legal_basis,
       data_class, created_by, created_at,
       allowed_access_policies, max_value_bytes, required_metadata, inactivity_days
FROM retention_policies WHERE purpose = :name AND version < :before ORDER BY version DESC LIMIT :limit

-- name: legal_hold_versions
SELECT name, version, case_reference, reason, purpose, external_id, owner_app, metadata, held_since, created_by,
       created_at, released_by, released_at
FROM legal_holds WHERE name = :name AND version < :before ORDER BY version DESC LIMIT :limit

-- name: entries_page
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM entries
WHERE purpose = :purpose AND external_id > :after {filters}
ORDER BY external_id LIMIT :limit

-- name: entries_where_active
AND purged_at IS NULL AND expires_at > :now AND created_at > :created_before

-- name: entries_where_expired
AND purged_at IS NULL AND (expires_at <= :now OR created_at <= :created_before)

-- name: entries_where_purged
AND purged_at IS NOT NULL

-- name: entries_where_any
AND 1

-- name: entries_where_key_ref
AND key_ref = :key_ref

-- name: entries_where_owner_app
AND owner_app = :owner_app

-- name: entries_where_access_policy
AND access_policy = :access_policy

-- name: entries_where_expires_before
AND (expires_at < :expires_before OR created_at < :expires_before_creation)

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

-- name: expired_entries_by_time
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM entries
WHERE purpose = :purpose AND purged_at IS NULL AND expires_at <= :now
  AND (expires_at, external_id) > (:after_at, :after_id)
ORDER BY expires_at, external_id LIMIT :limit

-- name: expired_entries_by_retention_limit
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM entries
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :created_before AND expires_at > :now
  AND (created_at, external_id) > (:after_at, :after_id)
ORDER BY created_at, external_id LIMIT :limit

-- name: access_log_page
SELECT position, at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity,
       method, credential_id, client_address, untrusted_forwarding, reason, policy, policy_version, count, detail,
       old_value, new_value, role
FROM access_log WHERE 1 {filters} ORDER BY {order} LIMIT :limit

-- name: purge_log_page
SELECT position, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
       value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id,
       (SELECT finished_at FROM scrubs WHERE through >= position ORDER BY through, finished_at LIMIT 1)
FROM purge_log WHERE 1 {filters} ORDER BY {order} LIMIT :limit

-- name: log_where_since
AND {time} >= :since

-- name: log_where_until
AND {time} < :until

-- name: log_where_equal
-- The column is one of a fixed list, never a caller's word.
AND {column} = :{column}

-- name: log_after_newest_first
AND position < :after

-- name: log_after_oldest_first
AND position > :after

-- name: log_order_newest_first
position DESC

-- name: log_order_oldest_first
position

-- name: census_of_purpose
-- By key_ref: how many live, how many past their end, how many to end within thirty days. An index alone answers it.
SELECT key_ref,
       sum(expires_at > :as_of AND created_at > :retention_limit),
       sum(expires_at <= :as_of OR created_at <= :retention_limit),
       sum(expires_at > :as_of AND created_at > :retention_limit
           AND (expires_at <= :soon OR created_at <= :retention_limit_soon))
FROM entries
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :as_of
GROUP BY key_ref

-- name: retention_limit_effect
-- The conditions stand in the sums, so that an index that has all of it is gone through, and no row.
SELECT sum(lives AND NOT will_live), sum(NOT lives AND will_live), sum((lives OR will_live) AND life > :shorter),
       min(CASE WHEN lives AND NOT will_live THEN created_at END)
FROM (
    SELECT created_at, expires_at - created_at AS life, expires_at > :now AND created_at > :retention_limit AS lives,
           expires_at > :now AND created_at > :next_retention_limit AS will_live
    FROM entries WHERE purpose = :purpose AND purged_at IS NULL
)

-- name: census_purged
SELECT count(*) FROM purge_log WHERE purged_at > :since AND purged_at <= :as_of AND reason <> 'replaced'

-- name: census_without_proof
SELECT count(*) FROM purge_log WHERE length(proof_hash) <> 64

-- name: census_undefined_policies
-- The names are found one after another in their index; entries are counted of those alone that are not known.
WITH RECURSIVE used (name) AS (
    SELECT min(access_policy) FROM entries WHERE purged_at IS NULL
    UNION ALL
    SELECT (SELECT min(e.access_policy) FROM entries AS e WHERE e.access_policy > used.name AND e.purged_at IS NULL)
    FROM used WHERE used.name IS NOT NULL
)
SELECT name, (SELECT count(*) FROM entries AS e WHERE e.access_policy = used.name AND e.purged_at IS NULL)
FROM used WHERE name IS NOT NULL AND name NOT IN (SELECT value FROM json_each(:known))

-- name: key_refs
-- An index alone answers it: the plus keeps SQLite from the index by creation.
SELECT key_ref,
       sum(expires_at > :now AND created_at > :created_before),
       sum(expires_at <= :now OR created_at <= :created_before),
       min(updated_at), max(updated_at)
FROM entries
WHERE purpose = :purpose AND purged_at IS NULL AND +created_at <= :now {filter}
GROUP BY key_ref ORDER BY key_ref LIMIT :limit

-- name: key_refs_where_none
AND key_ref IS NULL

-- name: key_refs_where_any
AND key_ref IS NOT NULL

-- name: key_refs_where_after
AND key_ref > :after

-- name: key_refs_where_equal
AND key_ref = :key_ref

-- name: evidence_holdings
-- An index alone answers it.
SELECT purpose, algorithm_hint, access_policy, owner_app,
       sum(expires_at > :as_of AND created_at > :retention_limit),
       sum(expires_at <= :as_of OR created_at <= :retention_limit),
       sum(expires_at <= :due OR created_at <= :limit_due),
       sum(expires_at > :as_of AND created_at > :retention_limit AND (expires_at <= :end_1 OR created_at <= :retention_limit_1)),
       sum(expires_at > :as_of AND created_at > :retention_limit AND (expires_at <= :end_2 OR created_at <= :retention_limit_2)),
       sum(expires_at > :as_of AND created_at > :retention_limit AND (expires_at <= :end_3 OR created_at <= :retention_limit_3))
FROM entries INDEXED BY entries_by_key_ref
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :as_of
GROUP BY algorithm_hint, access_policy, owner_app

-- name: evidence_oldest_expiry
SELECT expires_at FROM entries
WHERE purpose = :purpose AND purged_at IS NULL AND expires_at <= :as_of AND created_at <= :as_of
ORDER BY expires_at LIMIT 1

-- name: evidence_oldest_creation
SELECT created_at FROM entries
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :retention_limit
ORDER BY created_at LIMIT 1

-- name: evidence_policy_changes
SELECT 'access' AS kind, name, version, dropped, created_by, created_at FROM access_policies
WHERE created_at >= :since AND created_at < :until
UNION ALL
SELECT 'retention', purpose, version, 0, created_by, created_at FROM retention_policies
WHERE created_at >= :since AND created_at < :until
ORDER BY created_at, kind, name, version

-- name: evidence_oldest_access
SELECT at FROM access_log ORDER BY position LIMIT 1

-- name: evidence_oldest_purge
SELECT purged_at FROM purge_log ORDER BY position LIMIT 1

-- name: count_expired
SELECT (SELECT count(*) FROM entries WHERE purpose = :purpose AND purged_at IS NULL AND expires_at <= :at)
     + (SELECT count(*) FROM entries
        WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :retention_limit AND expires_at > :at)

-- name: put_scrub
INSERT INTO scrubs (scrub_id, started_at, finished_at, started_by, through, rewritten, completed, undone)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)

-- name: last_scrub
SELECT scrub_id, started_at, finished_at, started_by, through, rewritten, completed, undone
FROM scrubs ORDER BY finished_at DESC, through DESC LIMIT 1

-- name: scrub_reach
-- The newest row of the purge log, and the newest that a scrub has reached.
SELECT coalesce((SELECT max(position) FROM purge_log), 0), coalesce((SELECT max(through) FROM scrubs), 0)

-- name: last_sweep
SELECT sweep_id, started_at, finished_at, started_by, purged, failed, completed, held
FROM sweeps ORDER BY finished_at DESC LIMIT 1

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

-- name: revoked_keys
-- The terms are those of the partial index.
SELECT DISTINCT detail FROM access_log
WHERE operation = 'revoke-api-key' AND outcome = 'granted' AND detail IS NOT NULL

-- name: cursors
SELECT name, position FROM cursors

-- name: save_cursor
INSERT INTO cursors (name, position) VALUES (:name, :position)
ON CONFLICT (name) DO UPDATE SET position = max(position, excluded.position)

-- name: credential_uses
SELECT method, credential_id, first_used_at, last_used_at FROM credential_uses

-- name: make_secret
INSERT INTO secrets (name, value) VALUES (?, ?) ON CONFLICT (name) DO NOTHING

-- name: secret
SELECT value FROM secrets WHERE name = ?

-- name: tree_size
SELECT coalesce(max(leaf_index) + 1, 0) FROM leaves

-- name: sequenced_access
-- The last leaf has the highest position.
SELECT coalesce((SELECT position FROM leaves WHERE log = 'access' ORDER BY leaf_index DESC LIMIT 1), 0)

-- name: sequenced_purge
SELECT coalesce(max(position), 0) FROM leaves WHERE log = 'purge'

-- name: unsequenced
-- The log is one of two names, never a caller's word. One row for all of them: pairs of a position and a hash in hex, "" where
-- there is none, in no order that could be relied on.
SELECT json_group_array(json_array(position, hex(leaf_hash)))
FROM (SELECT position, leaf_hash FROM {log}_log WHERE position > :after ORDER BY position LIMIT :limit)

-- name: put_leaf
INSERT INTO leaves (leaf_index, log, position) VALUES (?, ?, ?)

-- name: put_tile
INSERT INTO tiles (level, tile_index, hashes) VALUES (?, ?, ?)
ON CONFLICT (level, tile_index) DO UPDATE SET hashes = excluded.hashes

-- name: put_checkpoint
INSERT INTO checkpoints (size, origin, root_hash, note, signed_at) VALUES (?, ?, ?, ?, ?)

-- name: tile
SELECT hashes FROM tiles WHERE level = ? AND tile_index = ?

-- name: newest_checkpoint
SELECT origin, size, root_hash, note, signed_at FROM checkpoints ORDER BY size DESC LIMIT 1

-- name: checkpoints
SELECT origin, size, root_hash, note, signed_at FROM checkpoints WHERE size > ? ORDER BY size LIMIT ?

-- name: thin_checkpoints
DELETE FROM checkpoints WHERE size = ?

-- name: access_leaves
SELECT l.leaf_index, l.position, r.leaf_hash, r.position, r.at, r.request_id, r.operation, r.outcome, r.status, r.purpose,
       r.external_id, r.entry_id, r.entry_version, r.app, r.identity, r.method, r.credential_id, r.client_address,
       r.untrusted_forwarding, r.reason, r.policy, r.policy_version, r.count, r.detail, r.old_value, r.new_value, r.role
FROM leaves AS l LEFT JOIN access_log AS r ON r.position = l.position
WHERE l.log = 'access' AND l.leaf_index >= :first AND l.leaf_index < :end

-- name: purge_leaves
SELECT l.leaf_index, l.position, r.leaf_hash, r.position, r.purge_id, r.purpose, r.external_id, r.entry_id, r.entry_version,
       r.method, r.reason, r.policy_reference, r.proof_hash, r.value_size, r.key_ref, r.owner_app, r.purged_at,
       r.expired_at, r.app, r.identity, r.request_id
FROM leaves AS l LEFT JOIN purge_log AS r ON r.position = l.position
WHERE l.log = 'purge' AND l.leaf_index >= :first AND l.leaf_index < :end

-- name: purge_index
SELECT l.leaf_index FROM purge_log AS r JOIN leaves AS l ON l.log = 'purge' AND l.position = r.position
WHERE r.purge_id = ?

-- name: row_positions
SELECT position FROM {log}_log
WHERE position > coalesce(:after, -9223372036854775808) AND position <= coalesce(:until, 9223372036854775807)
ORDER BY position LIMIT :limit

-- name: pragma_journal_delete
-- A backup is one file, without a write-ahead log. The vault sets the mode that it needs when it opens the file.
PRAGMA journal_mode = DELETE

-- name: integrity_check
PRAGMA integrity_check

-- name: backup_counts
SELECT (SELECT count(*) FROM entries), (SELECT count(*) FROM access_log), (SELECT count(*) FROM purge_log)

-- name: newest_note
SELECT note FROM checkpoints ORDER BY size DESC LIMIT 1
