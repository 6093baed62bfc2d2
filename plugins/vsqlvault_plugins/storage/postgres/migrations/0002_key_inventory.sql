-- By key: what lies under one, counted from the index alone, and the entries under it in the order of their ids, so that
-- whoever moves them to another key finds those that are left without walking past the others.

DROP INDEX vault.entries_by_key_ref;
CREATE INDEX entries_by_key_ref ON vault.entries (purpose, key_ref, external_id)
INCLUDE (expires_at, created_at, updated_at) WHERE purged_at IS NULL;

UPDATE vault.schema_version SET version = 2;
