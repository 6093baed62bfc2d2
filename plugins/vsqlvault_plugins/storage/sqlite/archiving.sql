-- Archives of the log, and the drop of archived rows.

-- name: put_archive
INSERT INTO log_archives (number, first_index, end_index, access_through, purge_through, at, document)
VALUES (?, ?, ?, ?, ?, ?, ?)

-- name: newest_archive
SELECT coalesce(max(number), 0) FROM log_archives

-- name: archived_end
SELECT coalesce(max(end_index), 0) FROM log_archives

-- name: drop_rows
-- Each row is looked up by its position. A range of positions in the view would be read up to the end of the archives, each time.
-- The newest row of a log stays: it says how far the log has come.
DELETE FROM {log}_log WHERE position IN (
    SELECT position FROM leaves WHERE log = '{log}' AND leaf_index >= :first AND leaf_index < :until
) AND EXISTS (
    SELECT 1 FROM droppable_{log} AS d WHERE d.position = {log}_log.position
) AND position < (SELECT max(position) FROM {log}_log)

-- name: drop_leaves
DELETE FROM leaves WHERE log = '{log}' AND leaf_index >= :first AND leaf_index < :until
AND NOT EXISTS (SELECT 1 FROM {log}_log AS r WHERE r.position = leaves.position)

-- name: auto_vacuum
PRAGMA auto_vacuum

-- name: free_pages
PRAGMA freelist_count

-- name: give_back
PRAGMA incremental_vacuum({pages})
