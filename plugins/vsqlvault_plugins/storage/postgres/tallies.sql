-- Stores the counts of a block of a log.

-- name: put_block
-- Whoever is second waits for the first, and has nothing to do.
INSERT INTO vault.log_blocks (log, block, first_at, last_at)
SELECT '{log}', $1, min(at), max(at) FROM vault.{log}_units WHERE position > $2 AND position <= $3
ON CONFLICT (log, block) DO NOTHING RETURNING true
