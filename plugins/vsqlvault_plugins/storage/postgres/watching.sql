-- Controls, attestations, and what they look at.

-- name: put_control_change
INSERT INTO vault.control_changes (name, number, state, at, detail) VALUES ($1, $2, $3, $4, $5)

-- name: put_attestation
INSERT INTO vault.attestations (number, at, is_clean, document, note) VALUES ($1, $2, $3, $4, $5)

-- name: newest_control_change
SELECT coalesce(max(number), 0) FROM vault.control_changes WHERE name = $1

-- name: newest_attestation
SELECT coalesce(max(number), 0) FROM vault.attestations

-- name: control_states
SELECT DISTINCT ON (name) name, number, state, at, detail FROM vault.control_changes ORDER BY name, number DESC

-- name: control_changes
SELECT name, number, state, at, detail FROM vault.control_changes
WHERE at >= $1 AND at < $2 ORDER BY at, name, number LIMIT $3

-- name: attestations
SELECT number, at, is_clean, document, note FROM vault.attestations WHERE number < $1 ORDER BY number DESC LIMIT $2

-- name: purges_by_id
SELECT position, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
       value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id
FROM vault.purge_log
WHERE purge_id >= $1 AND purged_at >= $2 AND purged_at < $3
ORDER BY purge_id LIMIT $4

-- name: expired_entries_by_time
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM vault.entries
WHERE purpose = $1 AND purged_at IS NULL AND expires_at <= $2 AND $3::timestamptz IS NOT NULL
  AND (expires_at, external_id) > ($4, $5)
ORDER BY expires_at, external_id LIMIT $6

-- name: expired_entries_by_ceiling
SELECT purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref, metadata,
       owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals, purged_at, purge_method
FROM vault.entries
WHERE purpose = $1 AND purged_at IS NULL AND created_at <= $3 AND expires_at > $2
  AND (created_at, external_id) > ($4, $5)
ORDER BY created_at, external_id LIMIT $6
