-- What the report counts of the logs: whole blocks as they were tallied, and row by row what lies at the ends of the period or
-- is in no block yet. Where tallies are not to be used, every row is counted.

-- name: next_block
SELECT coalesce(max(block) + 1, 0) FROM vault.log_blocks WHERE log = $1

-- name: put_block
-- Whoever is second waits for the first, and has nothing to do.
INSERT INTO vault.log_blocks (log, block, first_at, last_at)
SELECT '{log}', $1, min(at), max(at) FROM vault.{log}_units WHERE position > $1 * $2::bigint AND position <= ($1 + 1) * $2
ON CONFLICT (log, block) DO NOTHING RETURNING true

-- name: put_access_day_tallies
INSERT INTO vault.access_day_tallies (block, day, stored, retrieved, denied)
SELECT $1, day, sum(stored), sum(retrieved), sum(denied)
FROM vault.access_days WHERE position > $1 * $2::bigint AND position <= ($1 + 1) * $2
GROUP BY day

-- name: put_purge_day_tallies
INSERT INTO vault.purge_day_tallies (block, day, purged)
SELECT $1, day, sum(purged)
FROM vault.purge_days WHERE position > $1 * $2::bigint AND position <= ($1 + 1) * $2
GROUP BY day

-- name: put_access_tallies
INSERT INTO vault.access_tallies (
    block, operation, outcome, reason, purpose, app, role, row_count, event_count, first_at, last_at, without_app,
    without_origin, without_subject, without_identity
)
SELECT $1, operation, outcome, reason, purpose, app, role, sum(row_count), sum(event_count), min(at), max(at),
       sum(without_app), sum(without_origin), sum(without_subject), sum(without_identity)
FROM vault.access_units WHERE position > $1 * $2::bigint AND position <= ($1 + 1) * $2
GROUP BY operation, outcome, reason, purpose, app, role

-- name: put_purge_tallies
INSERT INTO vault.purge_tallies (block, purpose, reason, method, row_count)
SELECT $1, purpose, reason, method, count(*)
FROM vault.purge_units WHERE position > $1 * $2::bigint AND position <= ($1 + 1) * $2
GROUP BY purpose, reason, method

-- name: put_purged_key_tallies
INSERT INTO vault.purged_key_tallies (block, purpose, key_ref, last_at)
SELECT $1, purpose, key_ref, max(at)
FROM vault.purge_units WHERE position > $1 * $2::bigint AND position <= ($1 + 1) * $2 AND key_ref IS NOT NULL
GROUP BY purpose, key_ref

-- name: put_lag_tallies
INSERT INTO vault.lag_tallies (block, purpose, up_to, row_count, longest)
SELECT $1, purpose, up_to, count(*), max(lag)
FROM vault.purge_units WHERE position > $1 * $2::bigint AND position <= ($1 + 1) * $2 AND lag IS NOT NULL
GROUP BY purpose, up_to

-- name: of_period
-- Stands before each of those below: the blocks that lie in [$1, $2) as a whole, and the positions of all other rows of it.
-- $3 is how many positions a block has, $4 whether tallies may be used. OFFSET 0 keeps the rows from being looked up by time.
WITH touched AS MATERIALIZED (
    SELECT block, first_at >= $1 AND last_at < $2 AS is_whole FROM vault.log_blocks
    WHERE log = '{log}' AND $4 AND last_at >= $1 AND first_at < $2
), whole AS MATERIALIZED (
    SELECT block FROM touched WHERE is_whole
), parts AS MATERIALIZED (
    SELECT block * $3::bigint + 1 AS first, (block + 1) * $3 AS last FROM touched WHERE NOT is_whole
    UNION ALL
    SELECT coalesce(
               (SELECT max(block) + 1 FROM vault.log_blocks WHERE log = '{log}' AND $4) * $3 + 1, -9223372036854775808
           ), 9223372036854775807
)

-- name: access_counts
-- A purpose that no policy knows is a caller's word, and there may be as many of those as there are rows.
SELECT operation, outcome, reason, CASE WHEN purpose = ANY ($5::text[]) THEN purpose END AS known_purpose, app,
       role, sum(row_count)::bigint, sum(event_count)::bigint, min(first_at), max(last_at), sum(without_app)::bigint,
       sum(without_origin)::bigint, sum(without_subject)::bigint, sum(without_identity)::bigint
FROM (
    SELECT operation, outcome, reason, purpose, app, role, row_count, event_count, first_at, last_at, without_app,
           without_origin, without_subject, without_identity
    FROM whole JOIN vault.access_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT operation, outcome, reason, purpose, app, role, row_count, event_count, at, at, without_app, without_origin,
           without_subject, without_identity
    FROM parts CROSS JOIN LATERAL (
        SELECT * FROM vault.access_units AS u WHERE u.position >= parts.first AND u.position <= parts.last OFFSET 0
    ) AS units
    WHERE at >= $1 AND at < $2
) AS counted
GROUP BY operation, outcome, reason, known_purpose, app, role

-- name: purge_counts
SELECT purpose, reason, method, sum(row_count)::bigint
FROM (
    SELECT purpose, reason, method, row_count FROM whole JOIN vault.purge_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT purpose, reason, method, 1
    FROM parts CROSS JOIN LATERAL (
        SELECT * FROM vault.purge_units AS u WHERE u.position >= parts.first AND u.position <= parts.last OFFSET 0
    ) AS units
    WHERE at >= $1 AND at < $2
) AS counted
GROUP BY purpose, reason, method

-- name: access_day_counts
SELECT day, sum(stored)::bigint, sum(retrieved)::bigint, sum(denied)::bigint
FROM (
    SELECT day, stored, retrieved, denied FROM whole JOIN vault.access_day_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT day, stored, retrieved, denied
    FROM parts CROSS JOIN LATERAL (
        SELECT * FROM vault.access_days AS u WHERE u.position >= parts.first AND u.position <= parts.last OFFSET 0
    ) AS units
    WHERE at >= $1 AND at < $2
) AS counted
GROUP BY day

-- name: purge_day_counts
SELECT day, sum(purged)::bigint
FROM (
    SELECT day, purged FROM whole JOIN vault.purge_day_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT day, purged
    FROM parts CROSS JOIN LATERAL (
        SELECT * FROM vault.purge_days AS u WHERE u.position >= parts.first AND u.position <= parts.last OFFSET 0
    ) AS units
    WHERE at >= $1 AND at < $2
) AS counted
GROUP BY day

-- name: lag_counts
SELECT purpose, up_to, sum(row_count)::bigint, max(longest)
FROM (
    SELECT purpose, up_to, row_count, longest FROM whole JOIN vault.lag_tallies AS t ON t.block = whole.block
    UNION ALL
    SELECT purpose, up_to, 1, lag
    FROM parts CROSS JOIN LATERAL (
        SELECT * FROM vault.purge_units AS u WHERE u.position >= parts.first AND u.position <= parts.last OFFSET 0
    ) AS units
    WHERE at >= $1 AND at < $2 AND lag IS NOT NULL
) AS counted
GROUP BY purpose, up_to

-- name: retired_keys
-- Each key is looked up once, by the index of keys, whose order is asked for, and no further than its first entry.
, candidates AS MATERIALIZED (
    SELECT purpose, key_ref, max(last_at) AS last_purged_at
    FROM (
        SELECT purpose, key_ref, last_at FROM whole JOIN vault.purged_key_tallies AS t ON t.block = whole.block
        UNION ALL
        SELECT purpose, key_ref, at
        FROM parts CROSS JOIN LATERAL (
            SELECT * FROM vault.purge_units AS u WHERE u.position >= parts.first AND u.position <= parts.last OFFSET 0
        ) AS units
        WHERE at >= $1 AND at < $2 AND key_ref IS NOT NULL
    ) AS counted
    GROUP BY purpose, key_ref
)
SELECT purpose, key_ref, last_purged_at FROM candidates AS c
WHERE (
    SELECT true FROM vault.entries AS e
    WHERE e.purpose = c.purpose AND e.key_ref = c.key_ref COLLATE "C" AND e.purged_at IS NULL AND e.created_at <= $5
    ORDER BY e.external_id LIMIT 1
) IS NULL
ORDER BY purpose, key_ref COLLATE "C" LIMIT $6

-- name: lag_of_rank
-- The so-and-so-many-th of the lags of one step, of one purpose or of all (null), counted from 0.
SELECT purged_at - expired_at FROM vault.purge_log
WHERE purged_at - expired_at > coalesce((SELECT max(up_to) FROM vault.lag_steps WHERE up_to < $3), interval '-1 microsecond')
  AND purged_at - expired_at <= $3 AND purged_at >= $1 AND purged_at < $2 AND ($4::text IS NULL OR purpose = $4)
ORDER BY purged_at - expired_at LIMIT 1 OFFSET $5
