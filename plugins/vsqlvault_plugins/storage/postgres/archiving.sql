-- Archives of the log, and the drop of archived rows.

-- name: put_archive
INSERT INTO vault.log_archives (number, first_index, end_index, access_through, purge_through, at, document)
VALUES ($1, $2, $3, $4, $5, $6, $7)

-- name: newest_archive
SELECT coalesce(max(number), 0) FROM vault.log_archives

-- name: drop_archived
SELECT vault.drop_archived($1, $2, $3)

-- name: maintains_logs
-- Whether this role may vacuum the logs.
SELECT bool_and(pg_has_role(relowner, 'USAGE')) FROM pg_class
WHERE oid IN (to_regclass('vault.access_log'), to_regclass('vault.purge_log'), to_regclass('vault.leaves'))

-- name: give_back
VACUUM vault.{table}
