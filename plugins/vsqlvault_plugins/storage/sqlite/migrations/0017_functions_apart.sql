-- The digest of functions.sql, by which a migration knows whether to run it.
ALTER TABLE schema_version ADD COLUMN functions TEXT;

UPDATE schema_version SET version = 17;
