-- functions.sql has changed: retrievals that moved an expiry stay, with whatever stands before their statement.
UPDATE schema_version SET version = 20;
