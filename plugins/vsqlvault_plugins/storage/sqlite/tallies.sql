-- Stores the counts of a block of a log.

-- name: block_span
SELECT min(at), max(at) FROM {log}_units WHERE position > :before AND position <= :last

-- name: put_block
INSERT OR IGNORE INTO log_blocks (log, block, first_at, last_at) VALUES (?, ?, ?, ?)
