-- What the report counts of the logs: whole blocks as they were tallied, and row by row what lies at the ends of the period or
-- is in no block yet. With :kept 0 every row is counted, and no tally.

-- name: next_block
SELECT coalesce(max(block) + 1, 0) FROM log_blocks WHERE log = :log

-- name: block_span
SELECT min(at), max(at) FROM {log}_units WHERE position > :block * :size AND position <= (:block + 1) * :size

-- name: put_block
INSERT OR IGNORE INTO log_blocks (log, block, first_at, last_at) VALUES (?, ?, ?, ?)

-- name: access_tallies
SELECT :block, operation, outcome, reason, purpose, app, role, sum(row_count), sum(event_count), min(at), max(at),
       sum(without_app), sum(without_origin), sum(without_subject), sum(without_identity)
FROM access_units WHERE position > :block * :size AND position <= (:block + 1) * :size
GROUP BY operation, outcome, reason, purpose, app, role

-- name: purge_tallies
SELECT :block, purpose, reason, method, count(*)
FROM purge_units WHERE position > :block * :size AND position <= (:block + 1) * :size
GROUP BY purpose, reason, method

-- name: purged_key_tallies
SELECT :block, purpose, key_ref, max(at)
FROM purge_units WHERE position > :block * :size AND position <= (:block + 1) * :size AND key_ref IS NOT NULL
GROUP BY purpose, key_ref

-- name: lag_tallies
SELECT :block, purpose, up_to, count(*), max(lag)
FROM purge_units WHERE position > :block * :size AND position <= (:block + 1) * :size AND lag IS NOT NULL
GROUP BY purpose, up_to

-- name: access_day_tallies
SELECT :block, day, sum(stored), sum(retrieved), sum(denied)
FROM access_days WHERE position > :block * :size AND position <= (:block + 1) * :size
GROUP BY day

-- name: purge_day_tallies
SELECT :block, day, sum(purged)
FROM purge_days WHERE position > :block * :size AND position <= (:block + 1) * :size
GROUP BY day

-- name: put_access_day_tallies
INSERT INTO access_day_tallies (block, day, stored, retrieved, denied) VALUES (?, ?, ?, ?, ?)

-- name: put_purge_day_tallies
INSERT INTO purge_day_tallies (block, day, purged) VALUES (?, ?, ?)

-- name: put_access_tallies
INSERT INTO access_tallies (
    block, operation, outcome, reason, purpose, app, role, row_count, event_count, first_at, last_at, without_app,
    without_origin, without_subject, without_identity
) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)

-- name: put_purge_tallies
INSERT INTO purge_tallies (block, purpose, reason, method, row_count) VALUES (?, ?, ?, ?, ?)

-- name: put_purged_key_tallies
INSERT INTO purged_key_tallies (block, purpose, key_ref, last_at) VALUES (?, ?, ?, ?)

-- name: put_lag_tallies
INSERT INTO lag_tallies (block, purpose, up_to, row_count, longest) VALUES (?, ?, ?, ?, ?)

-- name: of_period
-- Stands before each of those below: the blocks that lie in the period as a whole, and the positions of all other rows of it.
WITH touched AS MATERIALIZED (
    SELECT block, first_at >= :since AND last_at < :until AS is_whole FROM log_blocks
    WHERE log = :log AND :kept AND last_at >= :since AND first_at < :until
), whole AS MATERIALIZED (
    SELECT block FROM touched WHERE is_whole
), parts AS MATERIALIZED (
    SELECT block * :size + 1 AS first, (block + 1) * :size AS last FROM touched WHERE NOT is_whole
    UNION ALL
    SELECT coalesce((SELECT max(block) + 1 FROM log_blocks WHERE log = :log AND :kept) * :size + 1, -9223372036854775808),
           9223372036854775807
)

-- name: access_counts
-- A purpose that no policy knows is a caller's word, and there may be as many of those as there are rows.
SELECT operation, outcome, reason,
       CASE WHEN purpose IN (SELECT value FROM json_each(:purposes)) THEN purpose END AS known_purpose,
       app, role, sum(row_count), sum(event_count), min(first_at), max(last_at), sum(without_app), sum(without_origin),
       sum(without_subject), sum(without_identity)
FROM (
    SELECT operation, outcome, reason, purpose, app, role, row_count, event_count, first_at, last_at, without_app,
           without_origin, without_subject, without_identity
    FROM whole CROSS JOIN access_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT operation, outcome, reason, purpose, app, role, row_count, event_count, at, at, without_app, without_origin,
           without_subject, without_identity
    FROM parts CROSS JOIN access_units AS u ON u.position >= parts.first AND u.position <= parts.last
    WHERE at >= :since AND at < :until
)
GROUP BY operation, outcome, reason, known_purpose, app, role

-- name: purge_counts
SELECT purpose, reason, method, sum(row_count)
FROM (
    SELECT purpose, reason, method, row_count FROM whole CROSS JOIN purge_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT purpose, reason, method, 1
    FROM parts CROSS JOIN purge_units AS u ON u.position >= parts.first AND u.position <= parts.last
    WHERE at >= :since AND at < :until
)
GROUP BY purpose, reason, method

-- name: access_day_counts
SELECT day, sum(stored), sum(retrieved), sum(denied)
FROM (
    SELECT day, stored, retrieved, denied FROM whole CROSS JOIN access_day_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT day, stored, retrieved, denied
    FROM parts CROSS JOIN access_days AS u ON u.position >= parts.first AND u.position <= parts.last
    WHERE at >= :since AND at < :until
)
GROUP BY day

-- name: purge_day_counts
SELECT day, sum(purged)
FROM (
    SELECT day, purged FROM whole CROSS JOIN purge_day_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT day, purged FROM parts CROSS JOIN purge_days AS u ON u.position >= parts.first AND u.position <= parts.last
    WHERE at >= :since AND at < :until
)
GROUP BY day

-- name: lag_counts
SELECT purpose, up_to, sum(row_count), max(longest)
FROM (
    SELECT purpose, up_to, row_count, longest FROM whole CROSS JOIN lag_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT purpose, up_to, 1, lag
    FROM parts CROSS JOIN purge_units AS u ON u.position >= parts.first AND u.position <= parts.last
    WHERE at >= :since AND at < :until AND lag IS NOT NULL
)
GROUP BY purpose, up_to
ORDER BY up_to

-- name: retired_keys
-- Each key is looked up once, by the index of keys: the plus keeps SQLite from the one by creation.
, candidates AS MATERIALIZED (
    SELECT purpose, key_ref, max(last_at) AS last_purged_at
    FROM (
        SELECT purpose, key_ref, last_at FROM whole CROSS JOIN purged_key_tallies AS t ON t.block = whole.block
        UNION ALL
        SELECT purpose, key_ref, at
        FROM parts CROSS JOIN purge_units AS u ON u.position >= parts.first AND u.position <= parts.last
        WHERE at >= :since AND at < :until AND key_ref IS NOT NULL
    )
    GROUP BY purpose, key_ref
)
SELECT purpose, key_ref, last_purged_at FROM candidates AS c
WHERE NOT EXISTS (
    SELECT 1 FROM entries AS e
    WHERE e.purpose = c.purpose AND e.key_ref = c.key_ref AND e.purged_at IS NULL AND +e.created_at <= :as_of
)
ORDER BY purpose, key_ref LIMIT :limit

-- name: lag_of_rank
-- The so-and-so-many-th of the lags of one step, of one purpose or of all (null), counted from 0.
SELECT purged_at - expired_at FROM purge_log
WHERE purged_at - expired_at > :above AND purged_at - expired_at <= :up_to
  AND purged_at >= :since AND purged_at < :until AND (:purpose IS NULL OR purpose = :purpose)
ORDER BY purged_at - expired_at LIMIT 1 OFFSET :rank

-- name: previous_step
SELECT coalesce(max(up_to), -1) FROM lag_steps WHERE up_to < :up_to
