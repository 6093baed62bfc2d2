-- What the report counts of entries: by their tallies, and one by one where the day of an entry's creation or end is one of
-- those that the report's times cut. Times are days where tallies are counted, and instants where entries are.

-- name: tallied_holdings
SELECT substr(algorithm_hint, 2), algorithm_hint = '', access_policy, owner_app, {sums}
FROM {vault}holding_tallies WHERE purpose = :purpose AND {on_no_cut_day}
GROUP BY access_policy, owner_app, algorithm_hint

-- name: tallied_keys
SELECT substr(key_ref, 2), key_ref = '', access_policy, {states}
FROM {vault}key_tallies WHERE purpose = :purpose AND {on_no_cut_day}
GROUP BY key_ref, access_policy

-- name: deltas
-- PostgreSQL's changes that are in no tally yet.
SELECT algorithm_hint, key_ref, access_policy, owner_app, {sums}
FROM {vault}entry_deltas WHERE purpose = :purpose AND {on_no_cut_day}
GROUP BY algorithm_hint, key_ref, access_policy, owner_app

-- name: entries_of_cut_days
-- Of entries whose creation and end are on such days, only the end is looked at.
SELECT algorithm_hint, key_ref, access_policy, owner_app, {sums}
FROM (
    SELECT e.algorithm_hint, e.key_ref, e.access_policy, e.owner_app, e.created_at, e.expires_at, 1 AS entry_count
    FROM {entries_ending_on:expiry_days}
    UNION ALL
    SELECT e.algorithm_hint, e.key_ref, e.access_policy, e.owner_app, e.created_at, e.expires_at, 1
    FROM {entries_made_on:creation_days}
    WHERE {day_of:e.expires_at} {not_on:expiry_days}
) AS entry
WHERE created_at <= :as_of
GROUP BY algorithm_hint, key_ref, access_policy, owner_app

-- name: on_no_cut_day
{created_day} <= :as_of AND {expires_day} {not_on:expiry_days} AND {created_day} {not_on:creation_days}

-- name: sums
-- Active, expired, overdue, and active but ending within thirty, ninety and 365 days.
{states},
CAST(sum(entry_count) FILTER (WHERE {ends} <= :due OR {created} <= :limit_due) AS bigint),
CAST(sum(entry_count) FILTER (
    WHERE {ends} > :as_of AND {created} > :retention_limit AND ({ends} <= :end_1 OR {created} <= :retention_limit_1)
) AS bigint),
CAST(sum(entry_count) FILTER (
    WHERE {ends} > :as_of AND {created} > :retention_limit AND ({ends} <= :end_2 OR {created} <= :retention_limit_2)
) AS bigint),
CAST(sum(entry_count) FILTER (
    WHERE {ends} > :as_of AND {created} > :retention_limit AND ({ends} <= :end_3 OR {created} <= :retention_limit_3)
) AS bigint)

-- name: states
-- Active and expired. Databases evaluate the repeated sum once.
CAST(sum(entry_count) FILTER (WHERE {ends} > :as_of AND {created} > :retention_limit) AS bigint),
CAST(sum(entry_count) - coalesce(sum(entry_count) FILTER (WHERE {ends} > :as_of AND {created} > :retention_limit), 0) AS bigint)
