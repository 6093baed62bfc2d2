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

-- name: database_roles
-- A role has what is granted to it, to the public and to each role of which it is a member, also without inheriting.
WITH RECURSIVE tables AS MATERIALIZED (
    SELECT c.oid, c.relowner FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE n.nspname = 'vault' AND c.relkind IN ('r', 'p', 'v')
), may AS MATERIALIZED (
    SELECT r.oid, r.rolname, r.oid IN (SELECT relowner FROM tables) AS owns,
           count(*) FILTER (WHERE has_any_column_privilege(r.oid, t.oid, 'SELECT')) AS reads,
           count(*) FILTER (WHERE has_any_column_privilege(r.oid, t.oid, 'INSERT, UPDATE')
               OR has_table_privilege(r.oid, t.oid, 'DELETE, TRUNCATE')) AS writes
    FROM pg_roles AS r CROSS JOIN tables AS t
    WHERE has_schema_privilege(r.oid, 'vault', 'USAGE')
    GROUP BY r.oid, r.rolname
), has (member, role) AS (
    SELECT oid, oid FROM pg_roles
    UNION
    SELECT h.member, m.roleid FROM has AS h JOIN pg_auth_members AS m ON m.member = h.role
)
SELECT r.rolname::text, r.rolsuper, r.rolcanlogin, r.rolname IN (session_user, current_user) OR bool_or(r.oid = m.oid AND m.owns),
       max(m.reads), max(m.writes),
       coalesce(array_agg(m.rolname::text ORDER BY m.rolname::text COLLATE "C") FILTER (WHERE m.oid <> r.oid), '{}')
FROM pg_roles AS r JOIN has AS h ON h.member = r.oid JOIN may AS m ON m.oid = h.role
WHERE m.reads > 0 OR m.writes > 0
GROUP BY r.oid, r.rolname, r.rolsuper, r.rolcanlogin
ORDER BY r.rolname::text COLLATE "C"

-- name: count_roles
SELECT count(*) FROM pg_roles

-- name: purges_by_id
SELECT position, purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
       value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id
FROM vault.purge_log
WHERE purge_id >= $1 AND purged_at >= $2 AND purged_at < $3
ORDER BY purge_id LIMIT $4
