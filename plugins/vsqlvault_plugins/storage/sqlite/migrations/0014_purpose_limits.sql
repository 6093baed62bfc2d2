-- The limits that a retention policy sets for the entries of its purpose. Lists are JSON arrays of texts.
ALTER TABLE retention_policies ADD COLUMN allowed_access_policies TEXT;
ALTER TABLE retention_policies ADD COLUMN max_value_bytes INTEGER;
ALTER TABLE retention_policies ADD COLUMN required_metadata TEXT;
ALTER TABLE retention_policies ADD COLUMN inactivity_days INTEGER;

UPDATE schema_version SET version = 14;
