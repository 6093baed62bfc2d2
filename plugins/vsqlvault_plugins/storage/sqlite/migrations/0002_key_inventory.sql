-- By key: what lies under one, counted from the index alone, and the entries under it in the order of their ids, so that
-- whoever moves them to another key finds those that are left without walking past the others.

DROP INDEX entries_by_key_ref;
-- purged_at stands in it because SQLite looks at it again, null though it is in every row of this index.
CREATE INDEX entries_by_key_ref
ON entries (purpose, key_ref, external_id, expires_at, created_at, updated_at, purged_at) WHERE purged_at IS NULL;

UPDATE schema_version SET version = 2;
