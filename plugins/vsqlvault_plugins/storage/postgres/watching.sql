-- Controls, attestations, and what they look at.

-- name: put_control_change
INSERT INTO vault.control_changes (name, number, state, at, detail) VALUES ($1, $2, $3, $4, $5)

-- name: put_attestation
INSERT INTO vault.attestations (number, at, is_clean, document, note) VALUES ($1, $2, $3, $4, $5)

-- name: put_access_review
INSERT INTO vault.access_reviews (number, at, purpose, due_at, document, note) VALUES ($1, $2, $3, $4, $5, $6)

-- name: newest_control_change
SELECT coalesce(max(number), 0) FROM vault.control_changes WHERE name = $1

-- name: newest_attestation
SELECT coalesce(max(number), 0) FROM vault.attestations

-- name: newest_access_review
SELECT coalesce(max(number), 0) FROM vault.access_reviews

-- name: access_reviews
SELECT number, at, purpose, due_at, document, note FROM vault.access_reviews
WHERE number < $1 ORDER BY number DESC LIMIT $2

-- name: newest_access_reviews
SELECT number, at, purpose, due_at, document, note FROM vault.access_reviews
WHERE number IN (SELECT max(number) FROM vault.access_reviews WHERE at <= $1 GROUP BY purpose)
ORDER BY number

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
