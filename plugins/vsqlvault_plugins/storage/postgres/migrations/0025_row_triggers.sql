-- functions.sql has changed: the logs have triggers for each row as well.
UPDATE vault.schema_version SET version = 25;
