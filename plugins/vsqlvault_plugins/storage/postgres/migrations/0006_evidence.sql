-- For the compliance report: what it counts of entries stands in one index.

DROP INDEX vault.entries_by_key_ref;
CREATE INDEX entries_by_key_ref ON vault.entries (purpose, key_ref, external_id)
INCLUDE (expires_at, created_at, updated_at, algorithm_hint, access_policy, owner_app) WHERE purged_at IS NULL;

UPDATE vault.schema_version SET version = 6;
