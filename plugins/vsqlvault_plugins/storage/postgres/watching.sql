-- Controls, attestations, and what they look at.

-- name: put_control_change
INSERT INTO vault.control_changes (name, number, state, at, detail) VALUES ($1, $2, $3, $4, $5)

-- name: put_attestation
INSERT INTO vault.attestations (number, at, is_clean, document, note) VALUES ($1, $2, $3, $4, $5)

-- name: newest_control_change
SELECT coalesce(max(number), 0) FROM vault.control_changes WHERE name = $1

-- name: newest_attestation
SELECT coalesce(max(number), 0) FROM vault.attestations

-- name: put_access_review
INSERT INTO vault.access_reviews (number, at, purpose, due_at, document, note) VALUES ($1, $2, $3, $4, $5, $6)

-- name: newest_access_review
SELECT coalesce(max(number), 0) FROM vault.access_reviews

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
