-- When the oldest and the newest value under a key was stored.

-- name: key_first_used
SELECT updated_at FROM entries INDEXED BY entries_by_access_policy
WHERE access_policy = :policy AND purpose = :purpose AND key_ref IS :key_ref AND purged_at IS NULL AND created_at <= :as_of
ORDER BY updated_at LIMIT 1

-- name: key_last_used
SELECT updated_at FROM entries INDEXED BY entries_by_access_policy
WHERE access_policy = :policy AND purpose = :purpose AND key_ref IS :key_ref AND purged_at IS NULL AND created_at <= :as_of
ORDER BY updated_at DESC LIMIT 1
