-- Every statement that only reads, for SQLite and PostgreSQL. {vault} and other names in braces are fragments of dialect.py,
-- or parts that a page puts in. Times are those of the driver: SQLite's are microseconds since 1970-01-01T00:00:00Z.

-- name: revision
SELECT revision FROM {vault}rulebook

-- name: access_policies
-- The newest version of each name, dropped ones too.
SELECT {each:name} name, version, evaluator, rules, parameters, description, created_by, created_at, dropped
FROM {vault}access_policies AS newest {newest:access_policies,name,version}

-- name: retention_policies
SELECT {each:purpose} purpose, version, max_retention_days, default_ttl_days, purge_method, description,
       justification, legal_basis, data_class, created_by, created_at, allowed_access_policies, max_value_bytes,
       required_metadata, inactivity_days
FROM {vault}retention_policies AS newest {newest:retention_policies,purpose,version}

-- name: api_keys
-- The newest version of each, revoked ones too.
SELECT {each:key_id} key_id, version, digest, app, identity, purposes, roles, description, expires_at, created_by,
       created_at, revoked_by, revoked_at
FROM {vault}api_keys AS newest {newest:api_keys,key_id,version}

-- name: legal_holds
-- The newest version of each name, released ones too.
SELECT {each:name} name, version, case_reference, reason, purpose, external_id, owner_app, metadata, held_since, created_by,
       created_at, released_by, released_at
FROM {vault}legal_holds AS newest {newest:legal_holds,name,version}

-- name: access_policy_versions
SELECT name, version, evaluator, rules, parameters, description, created_by, created_at, dropped
FROM {vault}access_policies WHERE name = :key AND version < :before ORDER BY version DESC LIMIT :limit

-- name: retention_policy_versions
SELECT purpose, version, max_retention_days, default_ttl_days, purge_method, description, justification, legal_basis,
       data_class, created_by, created_at, allowed_access_policies, max_value_bytes, required_metadata, inactivity_days
FROM {vault}retention_policies WHERE purpose = :key AND version < :before ORDER BY version DESC LIMIT :limit

-- name: legal_hold_versions
SELECT name, version, case_reference, reason, purpose, external_id, owner_app, metadata, held_since, created_by,
       created_at, released_by, released_at
FROM {vault}legal_holds WHERE name = :key AND version < :before ORDER BY version DESC LIMIT :limit

-- name: revoked_keys
-- The terms are those of the partial index.
SELECT DISTINCT detail FROM {vault}access_log
WHERE operation = 'revoke-api-key' AND outcome = 'granted' AND detail IS NOT NULL

-- name: sum_of_sweeps
SELECT count(*), CAST(coalesce(sum(purged), 0) AS bigint), CAST(coalesce(sum(failed), 0) AS bigint),
       count(*) FILTER (WHERE NOT completed)
FROM {vault}sweeps WHERE finished_at >= :since AND finished_at < :until

-- name: sweeps_between
SELECT sweep_id, started_at, finished_at, started_by, purged, failed, completed, held
FROM {vault}sweeps WHERE finished_at >= :since AND finished_at < :until ORDER BY finished_at DESC LIMIT :limit

-- name: last_sweep
SELECT sweep_id, started_at, finished_at, started_by, purged, failed, completed, held
FROM {vault}sweeps ORDER BY finished_at DESC LIMIT 1

-- name: scrubs_between
SELECT scrub_id, started_at, finished_at, started_by, through, rewritten, completed, undone
FROM {vault}scrubs WHERE finished_at >= :since AND finished_at < :until ORDER BY finished_at DESC LIMIT :limit

-- name: last_scrub
SELECT scrub_id, started_at, finished_at, started_by, through, rewritten, completed, undone
FROM {vault}scrubs ORDER BY finished_at DESC, through DESC LIMIT 1

-- name: control_states
SELECT {each:name} name, number, state, at, detail FROM {vault}control_changes AS newest {newest:control_changes,name,number}

-- name: control_changes
SELECT name, number, state, at, detail FROM {vault}control_changes
WHERE at >= :since AND at < :until ORDER BY at, name, number LIMIT :limit

-- name: attestations
SELECT number, at, is_clean, document, note FROM {vault}attestations
WHERE number < :before ORDER BY number DESC LIMIT :limit

-- name: access_reviews
SELECT number, at, purpose, due_at, document, note FROM {vault}access_reviews
WHERE number < :before ORDER BY number DESC LIMIT :limit

-- name: newest_access_reviews
SELECT number, at, purpose, due_at, document, note FROM {vault}access_reviews
WHERE number IN (SELECT max(number) FROM {vault}access_reviews WHERE at <= :as_of GROUP BY purpose)
ORDER BY number

-- name: archives
SELECT number, first_index, end_index, access_through, purge_through, at, document FROM {vault}log_archives ORDER BY number

-- name: purges_by_id
-- The plus keeps SQLite to the index by id: rows are asked for one at a time, and seldom in vain.
SELECT position, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
       value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id
FROM {vault}purge_log
WHERE purge_id >= :first_id AND {plus}purged_at >= :since AND {plus}purged_at < :until
ORDER BY purge_id LIMIT :limit

-- name: cursors
SELECT name, position FROM {vault}cursors

-- name: credential_uses
SELECT method, credential_id, first_used_at, last_used_at FROM {vault}credential_uses

-- name: entries_page
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM {vault}entries
WHERE purpose = :purpose AND external_id > :after {filters}
ORDER BY external_id LIMIT :limit

-- name: entries_where_active
AND purged_at IS NULL AND expires_at > :now AND created_at > :created_before

-- name: entries_where_expired
AND purged_at IS NULL AND (expires_at <= :now OR created_at <= :created_before)

-- name: entries_where_purged
AND purged_at IS NOT NULL

-- name: entries_where_equal
-- The column is one of a fixed list, never a caller's word.
AND {column} = :{column}

-- name: entries_where_expires_before
AND (expires_at < :expires_before OR created_at < :expires_before_creation)

-- name: expired_entries_by_time
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM {vault}entries
WHERE purpose = :purpose AND purged_at IS NULL AND expires_at <= :now
  AND (expires_at, external_id) > (:after_at, :after_id)
ORDER BY expires_at, external_id LIMIT :limit

-- name: expired_entries_by_retention_limit
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM {vault}entries
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :created_before AND expires_at > :now
  AND (created_at, external_id) > (:after_at, :after_id)
ORDER BY created_at, external_id LIMIT :limit

-- name: count_expired
SELECT (SELECT count(*) FROM {vault}entries WHERE purpose = :purpose AND purged_at IS NULL AND expires_at <= :at)
     + (SELECT count(*) FROM {vault}entries
        WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :retention_limit AND expires_at > :at)

-- name: access_log_page
SELECT position, at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity,
       method, credential_id, client_address, untrusted_forwarding, reason, policy, policy_version, count, detail,
       old_value, new_value, role
FROM {vault}access_log WHERE true {filters} ORDER BY {order} LIMIT :limit

-- name: purge_log_page
SELECT position, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
       value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id,
       (SELECT finished_at FROM {vault}scrubs WHERE through >= position ORDER BY through, finished_at LIMIT 1)
FROM {vault}purge_log WHERE true {filters} ORDER BY {order} LIMIT :limit

-- name: log_where_since
AND {time} >= :since

-- name: log_where_until
AND {time} < :until

-- name: log_where_equal
-- The column is one of a fixed list, never a caller's word.
AND {column} = :{column}

-- name: log_where_settled
AND position <= :settled

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
       count(*) FILTER (WHERE expires_at > :as_of AND created_at > :retention_limit),
       count(*) FILTER (WHERE expires_at <= :as_of OR created_at <= :retention_limit),
       count(*) FILTER (WHERE expires_at > :as_of AND created_at > :retention_limit
                        AND (expires_at <= :soon OR created_at <= :retention_limit_soon))
FROM {vault}entries
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :as_of
GROUP BY key_ref

-- name: census_purged
SELECT count(*) FROM {vault}purge_log WHERE purged_at > :since AND purged_at <= :as_of AND reason <> 'replaced'

-- name: census_without_proof
SELECT count(*) FROM {vault}purge_log WHERE length(proof_hash) <> 64

-- name: census_undefined_policies
-- The names are found one after another in their index; entries are counted of those alone that are not known.
WITH RECURSIVE used (name) AS (
    SELECT * FROM (
        SELECT access_policy FROM {vault}entries
        WHERE access_policy >= '' AND purged_at IS NULL ORDER BY access_policy LIMIT 1
    ) AS smallest
    UNION ALL
    SELECT (
        SELECT e.access_policy FROM {vault}entries AS e
        WHERE e.access_policy > used.name AND e.purged_at IS NULL ORDER BY e.access_policy LIMIT 1
    )
    FROM used WHERE used.name IS NOT NULL
)
SELECT name, (SELECT count(*) FROM {vault}entries AS e WHERE e.access_policy = used.name AND e.purged_at IS NULL)
FROM used WHERE name IS NOT NULL AND name NOT IN {texts:known}

-- name: retention_limit_effect
-- The conditions stand in the counts, so that an index that has all of it is gone through, and no row.
SELECT count(*) FILTER (WHERE lives AND NOT will_live), count(*) FILTER (WHERE NOT lives AND will_live),
       count(*) FILTER (WHERE (lives OR will_live) AND life > :shorter),
       min(created_at) FILTER (WHERE lives AND NOT will_live)
FROM (
    SELECT created_at, expires_at - created_at AS life, expires_at > :now AND created_at > :retention_limit AS lives,
           expires_at > :now AND created_at > :next_retention_limit AS will_live
    FROM {vault}entries WHERE purpose = :purpose AND purged_at IS NULL
) AS judged

-- name: key_refs
-- An index alone answers it, in PostgreSQL as far as vacuum has been.
SELECT key_ref,
       count(*) FILTER (WHERE expires_at > :now AND created_at > :created_before),
       count(*) FILTER (WHERE expires_at <= :now OR created_at <= :created_before),
       min(updated_at), max(updated_at)
FROM {vault}entries
WHERE purpose = :purpose AND purged_at IS NULL AND {plus}created_at <= :now {filter}
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
-- An index alone answers it, in PostgreSQL as far as vacuum has been.
SELECT purpose, algorithm_hint, access_policy, owner_app,
       count(*) FILTER (WHERE expires_at > :as_of AND created_at > :retention_limit),
       count(*) FILTER (WHERE expires_at <= :as_of OR created_at <= :retention_limit),
       count(*) FILTER (WHERE expires_at <= :due OR created_at <= :limit_due),
       count(*) FILTER (WHERE expires_at > :as_of AND created_at > :retention_limit
                        AND (expires_at <= :end_1 OR created_at <= :retention_limit_1)),
       count(*) FILTER (WHERE expires_at > :as_of AND created_at > :retention_limit
                        AND (expires_at <= :end_2 OR created_at <= :retention_limit_2)),
       count(*) FILTER (WHERE expires_at > :as_of AND created_at > :retention_limit
                        AND (expires_at <= :end_3 OR created_at <= :retention_limit_3))
FROM {vault}entries {indexed_by:entries_by_key_ref}
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :as_of
GROUP BY purpose, algorithm_hint, access_policy, owner_app

-- name: evidence_oldest_expiry
SELECT expires_at FROM {vault}entries
WHERE purpose = :purpose AND purged_at IS NULL AND expires_at <= :as_of AND created_at <= :as_of
ORDER BY expires_at LIMIT 1

-- name: evidence_oldest_creation
SELECT created_at FROM {vault}entries
WHERE purpose = :purpose AND purged_at IS NULL AND created_at <= :retention_limit
ORDER BY created_at LIMIT 1

-- name: evidence_policy_changes
SELECT 'access' AS kind, name, version, dropped, created_by, created_at FROM {vault}access_policies
WHERE created_at >= :since AND created_at < :until
UNION ALL
SELECT 'retention', purpose, version, false, created_by, created_at FROM {vault}retention_policies
WHERE created_at >= :since AND created_at < :until
ORDER BY created_at, kind, name, version

-- name: evidence_oldest_access
SELECT at FROM {vault}access_log ORDER BY position LIMIT 1

-- name: evidence_oldest_purge
SELECT purged_at FROM {vault}purge_log ORDER BY position LIMIT 1

-- name: tree_size
SELECT coalesce(max(leaf_index) + 1, 0) FROM {vault}leaves

-- name: sequenced_access
-- The last leaf has the highest position.
SELECT coalesce((SELECT position FROM {vault}leaves WHERE log = 'access' ORDER BY leaf_index DESC LIMIT 1), 0)

-- name: sequenced_purge
SELECT coalesce(max(position), 0) FROM {vault}leaves WHERE log = 'purge'

-- name: log_between
AND position >= :first AND position <= :last

-- name: newest_checkpoint
SELECT origin, size, root_hash, note, signed_at FROM {vault}checkpoints ORDER BY size DESC LIMIT 1

-- name: checkpoints
SELECT origin, size, root_hash, note, signed_at FROM {vault}checkpoints WHERE size > :after ORDER BY size LIMIT :limit

-- name: access_leaves
SELECT l.leaf_index, l.position, r.leaf_hash, r.position, r.at, r.request_id, r.operation, r.outcome, r.status, r.purpose,
       r.external_id, r.entry_id, r.entry_version, r.app, r.identity, r.method, r.credential_id, r.client_address,
       r.untrusted_forwarding, r.reason, r.policy, r.policy_version, r.count, r.detail, r.old_value, r.new_value, r.role
FROM {vault}leaves AS l LEFT JOIN {vault}access_log AS r ON r.position = l.position
WHERE l.log = 'access' AND l.leaf_index >= :first AND l.leaf_index < :end

-- name: purge_leaves
SELECT l.leaf_index, l.position, r.leaf_hash, r.position, r.purge_id, r.purpose, r.external_id, r.entry_id, r.entry_version,
       r.method, r.reason, r.policy_reference, r.proof_hash, r.value_size, r.key_ref, r.owner_app, r.purged_at,
       r.expired_at, r.app, r.identity, r.request_id
FROM {vault}leaves AS l LEFT JOIN {vault}purge_log AS r ON r.position = l.position
WHERE l.log = 'purge' AND l.leaf_index >= :first AND l.leaf_index < :end

-- name: purge_index
SELECT l.leaf_index FROM {vault}purge_log AS r JOIN {vault}leaves AS l ON l.log = 'purge' AND l.position = r.position
WHERE r.purge_id = :purge_id

-- name: row_positions
SELECT position FROM {vault}{log}_log WHERE position > :after AND position <= :until ORDER BY position LIMIT :limit
