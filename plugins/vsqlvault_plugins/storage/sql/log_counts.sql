-- What the report counts of the logs: whole blocks as they were tallied, and row by row what lies at the ends of the period or
-- is in no block yet. Where tallies are not to be used, every row is counted.

-- name: next_block
SELECT coalesce(max(block) + 1, 0) FROM {vault}log_blocks WHERE log = :log

-- name: of_period
-- Stands before each of those below: the blocks that lie in [since, until) as a whole, and the positions of all other rows of
-- it. :size is how many positions a block has, :kept whether tallies may be used.
WITH touched AS MATERIALIZED (
    SELECT block, first_at >= :since AND last_at < :until AS is_whole FROM {vault}log_blocks
    WHERE log = :log AND :kept AND last_at >= :since AND first_at < :until
), whole AS MATERIALIZED (
    SELECT block FROM touched WHERE is_whole
), parts AS MATERIALIZED (
    SELECT block * CAST(:size AS bigint) + 1 AS first, (block + 1) * CAST(:size AS bigint) AS last
    FROM touched WHERE NOT is_whole
    UNION ALL
    SELECT coalesce(
        (SELECT max(block) + 1 FROM {vault}log_blocks WHERE log = :log AND :kept) * CAST(:size AS bigint) + 1,
        -9223372036854775807
    ), 9223372036854775807
)

-- name: access_counts
-- A purpose that no policy knows is a caller's word, and there may be as many of those as there are rows.
SELECT operation, outcome, reason, CASE WHEN purpose IN {texts:purposes} THEN purpose END AS known_purpose, app, role,
       CAST(sum(row_count) AS bigint), CAST(sum(event_count) AS bigint), min(first_at), max(last_at),
       CAST(sum(without_app) AS bigint), CAST(sum(without_origin) AS bigint), CAST(sum(without_subject) AS bigint),
       CAST(sum(without_identity) AS bigint)
FROM (
    SELECT operation, outcome, reason, purpose, app, role, row_count, event_count, first_at, last_at, without_app,
           without_origin, without_subject, without_identity
    FROM {tallies_of_whole:access_tallies}
    UNION ALL
    SELECT operation, outcome, reason, purpose, app, role, row_count, event_count, at, at, without_app, without_origin,
           without_subject, without_identity
    FROM {rows_of_parts:access_units}
    WHERE at >= :since AND at < :until
) AS counted
GROUP BY operation, outcome, reason, known_purpose, app, role

-- name: purge_counts
SELECT purpose, reason, method, CAST(sum(row_count) AS bigint)
FROM (
    SELECT purpose, reason, method, row_count FROM {tallies_of_whole:purge_tallies}
    UNION ALL
    SELECT purpose, reason, method, 1
    FROM {rows_of_parts:purge_units}
    WHERE at >= :since AND at < :until
) AS counted
GROUP BY purpose, reason, method

-- name: access_day_counts
SELECT day, CAST(sum(stored) AS bigint), CAST(sum(retrieved) AS bigint), CAST(sum(denied) AS bigint)
FROM (
    SELECT day, stored, retrieved, denied
    FROM {tallies_of_whole:access_day_tallies}
    UNION ALL
    SELECT day, stored, retrieved, denied
    FROM {rows_of_parts:access_days}
    WHERE at >= :since AND at < :until
) AS counted
GROUP BY day

-- name: purge_day_counts
SELECT day, CAST(sum(purged) AS bigint)
FROM (
    SELECT day, purged FROM {tallies_of_whole:purge_day_tallies}
    UNION ALL
    SELECT day, purged
    FROM {rows_of_parts:purge_days}
    WHERE at >= :since AND at < :until
) AS counted
GROUP BY day

-- name: lag_counts
SELECT purpose, up_to, CAST(sum(row_count) AS bigint), max(longest)
FROM (
    SELECT purpose, up_to, row_count, longest
    FROM {tallies_of_whole:lag_tallies}
    UNION ALL
    SELECT purpose, {lag_step:lag}, 1, lag
    FROM {rows_of_parts:purge_units}
    WHERE at >= :since AND at < :until AND lag IS NOT NULL
) AS counted
GROUP BY purpose, up_to

-- name: retired_keys
-- Keys that are not known to be in use are looked up once, by the index of keys, whose order is asked for, and no further than
-- the first entry. :in_use has "purpose key_ref" of keys with entries.
, candidates AS MATERIALIZED (
    SELECT purpose, key_ref, max(last_at) AS last_purged_at
    FROM (
        SELECT purpose, key_ref, last_at
        FROM {tallies_of_whole:purged_key_tallies}
        UNION ALL
        SELECT purpose, key_ref, at
        FROM {rows_of_parts:purge_units}
        WHERE at >= :since AND at < :until AND key_ref IS NOT NULL
    ) AS counted
    GROUP BY purpose, key_ref
)
SELECT purpose, key_ref, last_purged_at FROM candidates AS c
WHERE purpose || ' ' || key_ref NOT IN {texts:in_use} AND (
    SELECT true FROM {vault}entries AS e
    WHERE e.purpose = c.purpose AND e.key_ref = c.key_ref {by_bytes} AND e.purged_at IS NULL
      AND {plus}e.created_at <= :as_of
    ORDER BY e.external_id LIMIT 1
) IS NULL
ORDER BY purpose {by_bytes}, key_ref {by_bytes} LIMIT :limit

-- name: lag_of_rank
-- The so-and-so-many-th of the lags of one step, of one purpose or of all (null), counted from 0.
SELECT purged_at - expired_at FROM {vault}purge_log
WHERE purged_at - expired_at > coalesce((SELECT max(up_to) FROM {vault}lag_steps WHERE up_to < :up_to), :below_all)
  AND purged_at - expired_at <= :up_to AND purged_at >= :since AND purged_at < :until
  AND (CAST(:purpose AS text) IS NULL OR purpose = :purpose)
ORDER BY purged_at - expired_at LIMIT 1 OFFSET :rank

-- name: access_tallies
SELECT CAST(:block AS bigint), operation, outcome, reason, purpose, app, role, sum(row_count), sum(event_count), min(at),
       max(at), sum(without_app), sum(without_origin), sum(without_subject), sum(without_identity)
FROM {vault}access_units WHERE position > :before AND position <= :last
GROUP BY operation, outcome, reason, purpose, app, role

-- name: access_day_tallies
SELECT CAST(:block AS bigint), day, sum(stored), sum(retrieved), sum(denied)
FROM {vault}access_days WHERE position > :before AND position <= :last
GROUP BY day

-- name: purge_day_tallies
SELECT CAST(:block AS bigint), day, sum(purged)
FROM {vault}purge_days WHERE position > :before AND position <= :last
GROUP BY day

-- name: purge_tallies
SELECT CAST(:block AS bigint), purpose, reason, method, count(*)
FROM {vault}purge_units WHERE position > :before AND position <= :last
GROUP BY purpose, reason, method

-- name: purged_key_tallies
SELECT CAST(:block AS bigint), purpose, key_ref, max(at)
FROM {vault}purge_units WHERE position > :before AND position <= :last AND key_ref IS NOT NULL
GROUP BY purpose, key_ref

-- name: lag_tallies
SELECT CAST(:block AS bigint), purpose, up_to, count(*), max(lag)
FROM {vault}purge_units WHERE position > :before AND position <= :last AND lag IS NOT NULL
GROUP BY purpose, up_to

-- name: put_access_tallies
-- The rows follow: values, or one of the queries above.
INSERT INTO {vault}access_tallies (
    block, operation, outcome, reason, purpose, app, role, row_count, event_count, first_at, last_at, without_app,
    without_origin, without_subject, without_identity
)

-- name: put_purge_tallies
INSERT INTO {vault}purge_tallies (block, purpose, reason, method, row_count)

-- name: put_purged_key_tallies
INSERT INTO {vault}purged_key_tallies (block, purpose, key_ref, last_at)

-- name: put_lag_tallies
INSERT INTO {vault}lag_tallies (block, purpose, up_to, row_count, longest)

-- name: put_access_day_tallies
INSERT INTO {vault}access_day_tallies (block, day, stored, retrieved, denied)

-- name: put_purge_day_tallies
INSERT INTO {vault}purge_day_tallies (block, day, purged)
