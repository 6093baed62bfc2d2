-- Controls, attestations, and what they look at.

-- name: put_control_change
INSERT INTO control_changes (name, number, state, at, detail) VALUES (?, ?, ?, ?, ?)

-- name: put_attestation
INSERT INTO attestations (number, at, is_clean, document, note) VALUES (?, ?, ?, ?, ?)

-- name: newest_control_change
SELECT coalesce(max(number), 0) FROM control_changes WHERE name = ?

-- name: newest_attestation
SELECT coalesce(max(number), 0) FROM attestations

-- name: put_access_review
INSERT INTO access_reviews (number, at, purpose, due_at, document, note) VALUES (?, ?, ?, ?, ?, ?)

-- name: newest_access_review
SELECT coalesce(max(number), 0) FROM access_reviews
