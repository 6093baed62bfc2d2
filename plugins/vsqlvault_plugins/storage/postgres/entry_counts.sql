-- What the report counts of entries: by their tallies, by the deltas that are in no tally yet, and one by one where the day of
-- an entry's creation or end is one of those that the report's times cut.
-- $1 is a purpose, $2 the days that cut ends and $3 those that cut creations; $4 to $13 are times, or their days: the instant,
-- its retention limit, then in pairs, of expiry and of creation, what is overdue and what ends within thirty, ninety and 365 days.

-- name: lock_tallies
SELECT pg_try_advisory_xact_lock(1987277164, 4)

-- name: has_deltas
-- So many deltas, or more.
SELECT count(*) >= $1 FROM (SELECT FROM vault.entry_deltas LIMIT $1) AS first_few

-- name: fold_deltas
-- Whatever is committed later is left for the next time: sums do not mind in which order they are made.
WITH taken AS MATERIALIZED (
    DELETE FROM vault.entry_deltas WHERE ctid = ANY (ARRAY(SELECT ctid FROM vault.entry_deltas LIMIT $1)) RETURNING *
), holdings AS (
    INSERT INTO vault.holding_tallies AS t (
        purpose, access_policy, owner_app, algorithm_hint, created_on, expires_on, entry_count
    )
    SELECT purpose, access_policy, owner_app, coalesce('=' || algorithm_hint, ''), created_on, expires_on, sum(entry_count)
    FROM taken GROUP BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (purpose, access_policy, owner_app, algorithm_hint, created_on, expires_on)
    DO UPDATE SET entry_count = t.entry_count + excluded.entry_count
)
INSERT INTO vault.key_tallies AS t (purpose, key_ref, access_policy, created_on, expires_on, entry_count)
SELECT purpose, coalesce('=' || key_ref, ''), access_policy, created_on, expires_on, sum(entry_count)
FROM taken GROUP BY 1, 2, 3, 4, 5
ON CONFLICT (purpose, key_ref, access_policy, created_on, expires_on)
DO UPDATE SET entry_count = t.entry_count + excluded.entry_count

-- name: forget_empty_holdings
DELETE FROM vault.holding_tallies WHERE entry_count = 0

-- name: forget_empty_keys
DELETE FROM vault.key_tallies WHERE entry_count = 0

-- name: tallied_holdings
SELECT substr(algorithm_hint, 2), algorithm_hint = '', access_policy, owner_app, {sums}
FROM vault.holding_tallies WHERE purpose = $1 AND {on_no_cut_day}
GROUP BY access_policy, owner_app, algorithm_hint

-- name: tallied_keys
SELECT substr(key_ref, 2), key_ref = '', access_policy, {states}
FROM vault.key_tallies WHERE purpose = $1 AND {on_no_cut_day}
GROUP BY key_ref, access_policy

-- name: deltas
SELECT algorithm_hint, key_ref, access_policy, owner_app, {sums}
FROM vault.entry_deltas WHERE purpose = $1 AND {on_no_cut_day}
GROUP BY algorithm_hint, key_ref, access_policy, owner_app

-- name: entries_of_cut_days
-- OFFSET 0 has each day looked up by itself, in the index by time.
SELECT algorithm_hint, key_ref, access_policy, owner_app, {sums}
FROM (
    SELECT e.algorithm_hint, e.key_ref, e.access_policy, e.owner_app, e.created_at AS created, e.expires_at AS ends,
           1 AS entry_count
    FROM unnest($2::date[]) AS cut CROSS JOIN LATERAL (
        SELECT * FROM vault.entries AS e
        WHERE e.purpose = $1 AND e.purged_at IS NULL
          AND e.expires_at >= cut::timestamp AT TIME ZONE 'UTC' AND e.expires_at < (cut + 1)::timestamp AT TIME ZONE 'UTC'
        OFFSET 0
    ) AS e
    UNION ALL
    SELECT e.algorithm_hint, e.key_ref, e.access_policy, e.owner_app, e.created_at, e.expires_at, 1
    FROM unnest($3::date[]) AS cut CROSS JOIN LATERAL (
        SELECT * FROM vault.entries AS e
        WHERE e.purpose = $1 AND e.purged_at IS NULL
          AND e.created_at >= cut::timestamp AT TIME ZONE 'UTC' AND e.created_at < (cut + 1)::timestamp AT TIME ZONE 'UTC'
        OFFSET 0
    ) AS e
    WHERE (e.expires_at AT TIME ZONE 'UTC')::date <> ALL ($2)
) AS entry
WHERE created <= $4
GROUP BY algorithm_hint, key_ref, access_policy, owner_app

-- name: on_no_cut_day
created_on <= $4 AND expires_on <> ALL ($2::date[]) AND created_on <> ALL ($3::date[])

-- name: sums
-- Active, expired, overdue, and active but ending within thirty, ninety and 365 days.
{states},
sum(entry_count) FILTER (WHERE {ends} <= $6 OR {created} <= $7)::bigint,
sum(entry_count) FILTER (WHERE {ends} > $4 AND {created} > $5 AND ({ends} <= $8 OR {created} <= $9))::bigint,
sum(entry_count) FILTER (WHERE {ends} > $4 AND {created} > $5 AND ({ends} <= $10 OR {created} <= $11))::bigint,
sum(entry_count) FILTER (WHERE {ends} > $4 AND {created} > $5 AND ({ends} <= $12 OR {created} <= $13))::bigint

-- name: states
sum(entry_count) FILTER (WHERE {ends} > $4 AND {created} > $5)::bigint,
sum(entry_count) FILTER (WHERE {ends} <= $4 OR {created} <= $5)::bigint

-- name: key_used
-- Of each key, when the oldest and the newest value under it were stored. An index answers each, at its ends.
SELECT k.ordinal, first.updated_at, last.updated_at
FROM unnest($1::text[], $2::text[], $3::text[]) WITH ORDINALITY AS k (policy, purpose, key_ref, ordinal)
CROSS JOIN LATERAL (
    SELECT e.updated_at FROM vault.entries AS e
    WHERE e.access_policy = k.policy AND e.purpose = k.purpose AND {key} AND e.purged_at IS NULL AND e.created_at <= $4
    ORDER BY e.updated_at LIMIT 1
) AS first
CROSS JOIN LATERAL (
    SELECT e.updated_at FROM vault.entries AS e
    WHERE e.access_policy = k.policy AND e.purpose = k.purpose AND {key} AND e.purged_at IS NULL AND e.created_at <= $4
    ORDER BY e.updated_at DESC LIMIT 1
) AS last

-- name: key_used_of_a_key
e.key_ref = k.key_ref

-- name: key_used_of_none
e.key_ref IS NULL
