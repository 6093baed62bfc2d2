-- Merges the changes of commits into the tallies of entries, and finds when keys were used.

-- name: lock_tallies
SELECT pg_try_advisory_xact_lock(1987277164, 4)

-- name: has_deltas
-- So many deltas, or more.
SELECT count(*) >= $1 FROM (SELECT 1 FROM vault.entry_deltas LIMIT $1) AS first_few

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

-- name: fold_spread_deltas
-- As fold_deltas, of all of them: the place of a row on another server has no name here.
WITH taken AS MATERIALIZED (
    DELETE FROM vault.entry_deltas RETURNING *
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

-- name: key_used
-- Of each key, when the oldest and the newest value under it were stored. An index answers each, at its ends.
SELECT k.ordinal, first.updated_at, last.updated_at
FROM unnest(:policies::text[], :purposes::text[], :key_refs::text[]) WITH ORDINALITY AS k (policy, purpose, key_ref, ordinal)
CROSS JOIN LATERAL (
    SELECT e.updated_at FROM vault.entries AS e
    WHERE e.access_policy = k.policy AND e.purpose = k.purpose AND {key} AND e.purged_at IS NULL AND e.created_at <= :as_of
    ORDER BY e.updated_at LIMIT 1
) AS first
CROSS JOIN LATERAL (
    SELECT e.updated_at FROM vault.entries AS e
    WHERE e.access_policy = k.policy AND e.purpose = k.purpose AND {key} AND e.purged_at IS NULL AND e.created_at <= :as_of
    ORDER BY e.updated_at DESC LIMIT 1
) AS last

-- name: spread_key_used
-- As key_used, where Citus cannot join each key with the first row of its index.
SELECT k.ordinal, min(e.updated_at), max(e.updated_at)
FROM unnest(:policies::text[], :purposes::text[], :key_refs::text[]) WITH ORDINALITY AS k (policy, purpose, key_ref, ordinal)
JOIN vault.entries AS e ON e.access_policy = k.policy AND e.purpose = k.purpose AND {key}
WHERE e.purged_at IS NULL AND e.created_at <= :as_of
GROUP BY k.ordinal

-- name: key_used_of_a_key
e.key_ref = k.key_ref

-- name: key_used_of_none
e.key_ref IS NULL
