-- The revocations of API keys in the log, so that a key whose revoking version was deleted is refused.

CREATE INDEX access_log_of_revocations ON vault.access_log (detail)
WHERE operation = 'revoke-api-key' AND outcome = 'granted';

UPDATE vault.schema_version SET version = 18;
