-- What the report counts of entries: by their tallies, and one by one where the day of an entry's creation or end is one of those
-- that the report's times cut. Parameters called _day are days, others instants.

-- name: tallied_holdings
SELECT substr(algorithm_hint, 2), algorithm_hint = '', access_policy, owner_app, {sums}
FROM holding_tallies WHERE purpose = :purpose AND {on_no_cut_day}
GROUP BY access_policy, owner_app, algorithm_hint

-- name: tallied_keys
SELECT substr(key_ref, 2), key_ref = '', access_policy, {states}
FROM key_tallies WHERE purpose = :purpose AND {on_no_cut_day}
GROUP BY key_ref, access_policy

-- name: entries_of_cut_days
-- Of entries whose creation and end are on such days, only the end is looked at.
SELECT algorithm_hint, key_ref, access_policy, owner_app, {sums}
FROM (
    SELECT algorithm_hint, key_ref, access_policy, owner_app, created_at, expires_at, 1 AS entry_count
    FROM json_each(:expiry_days) AS cut CROSS JOIN entries AS e INDEXED BY entries_by_expiry
    WHERE e.purpose = :purpose AND e.purged_at IS NULL
      AND e.expires_at >= :first + cut.value * :day AND e.expires_at < :first + (cut.value + 1) * :day
    UNION ALL
    SELECT algorithm_hint, key_ref, access_policy, owner_app, created_at, expires_at, 1
    FROM json_each(:creation_days) AS cut CROSS JOIN entries AS e INDEXED BY entries_by_creation
    WHERE e.purpose = :purpose AND e.purged_at IS NULL
      AND e.created_at >= :first + cut.value * :day AND e.created_at < :first + (cut.value + 1) * :day
      AND (e.expires_at - :first) / :day NOT IN (SELECT value FROM json_each(:expiry_days))
)
WHERE created_at <= :as_of
GROUP BY algorithm_hint, key_ref, access_policy, owner_app

-- name: on_no_cut_day
created_day <= :as_of_day AND expires_day NOT IN (SELECT value FROM json_each(:expiry_days))
AND created_day NOT IN (SELECT value FROM json_each(:creation_days))

-- name: sums
-- Active, expired, overdue, and active but ending within thirty, ninety and 365 days.
{states},
sum(entry_count) FILTER (WHERE {ends} <= :due{day} OR {created} <= :limit_due{day}),
sum(entry_count) FILTER (
    WHERE {ends} > :as_of{day} AND {created} > :retention_limit{day} AND ({ends} <= :end_1{day} OR {created} <= :retention_limit_1{day})
),
sum(entry_count) FILTER (
    WHERE {ends} > :as_of{day} AND {created} > :retention_limit{day} AND ({ends} <= :end_2{day} OR {created} <= :retention_limit_2{day})
),
sum(entry_count) FILTER (
    WHERE {ends} > :as_of{day} AND {created} > :retention_limit{day} AND ({ends} <= :end_3{day} OR {created} <= :retention_limit_3{day})
)

-- name: states
sum(entry_count) FILTER (WHERE {ends} > :as_of{day} AND {created} > :retention_limit{day}),
sum(entry_count) FILTER (WHERE {ends} <= :as_of{day} OR {created} <= :retention_limit{day})

-- name: key_first_used
SELECT updated_at FROM entries INDEXED BY entries_by_access_policy
WHERE access_policy = :policy AND purpose = :purpose AND key_ref IS :key_ref AND purged_at IS NULL AND created_at <= :as_of
ORDER BY updated_at LIMIT 1

-- name: key_last_used
SELECT updated_at FROM entries INDEXED BY entries_by_access_policy
WHERE access_policy = :policy AND purpose = :purpose AND key_ref IS :key_ref AND purged_at IS NULL AND created_at <= :as_of
ORDER BY updated_at DESC LIMIT 1
