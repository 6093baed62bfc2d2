-- The limits that a retention policy sets for the entries of its purpose.
ALTER TABLE vault.retention_policies
    ADD COLUMN allowed_access_policies text[],
    ADD COLUMN max_value_bytes integer,
    ADD COLUMN required_metadata text[],
    ADD COLUMN inactivity_days integer;

UPDATE vault.schema_version SET version = 16;
