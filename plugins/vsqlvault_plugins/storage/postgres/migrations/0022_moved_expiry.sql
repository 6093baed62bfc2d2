-- functions.sql has changed: retrievals that moved an expiry stay, with whatever stands before their statement.
UPDATE vault.schema_version SET version = 22;
