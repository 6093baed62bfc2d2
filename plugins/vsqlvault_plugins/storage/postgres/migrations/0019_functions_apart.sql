-- The digest of functions.sql, by which a migration knows whether to run it.
ALTER TABLE vault.schema_version ADD COLUMN functions text;

UPDATE vault.schema_version SET version = 19;
