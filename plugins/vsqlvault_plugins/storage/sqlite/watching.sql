-- Controls, attestations, and what they look at.

-- name: put_control_change
INSERT INTO control_changes (name, number, state, at, detail) VALUES (?, ?, ?, ?, ?)

-- name: put_attestation
INSERT INTO attestations (number, at, is_clean, document, note) VALUES (?, ?, ?, ?, ?)

-- name: put_access_review
INSERT INTO access_reviews (number, at, purpose, due_at, document, note) VALUES (?, ?, ?, ?, ?, ?)

-- name: newest_control_change
SELECT coalesce(max(number), 0) FROM control_changes WHERE name = ?

-- name: newest_attestation
SELECT coalesce(max(number), 0) FROM attestations

-- name: newest_access_review
SELECT coalesce(max(number), 0) FROM access_reviews

-- name: access_reviews
SELECT number, at, purpose, due_at, document, note FROM access_reviews
WHERE number < :before ORDER BY number DESC LIMIT :limit

-- name: newest_access_reviews
SELECT number, at, purpose, due_at, document, note FROM access_reviews
WHERE number IN (SELECT max(number) FROM access_reviews WHERE at <= :as_of GROUP BY purpose)
ORDER BY number

-- name: control_states
SELECT name, number, state, at, detail FROM control_changes AS newest
WHERE number = (SELECT max(number) FROM control_changes WHERE name = newest.name)
ORDER BY name

-- name: control_changes
SELECT name, number, state, at, detail FROM control_changes
WHERE at >= :since AND at < :until ORDER BY at, name, number LIMIT :limit

-- name: attestations
SELECT number, at, is_clean, document, note FROM attestations
WHERE number < :before ORDER BY number DESC LIMIT :limit

-- name: purges_by_id
-- The plus keeps SQLite to the index by id: rows are asked for one at a time, and seldom in vain.
SELECT position, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
       value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id
FROM purge_log
WHERE purge_id >= :first_id AND +purged_at >= :since AND +purged_at < :until
ORDER BY purge_id LIMIT :limit
