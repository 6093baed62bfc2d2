-- The revocations of API keys in the log, so that a key whose revoking version was deleted is refused.

CREATE INDEX access_log_of_revocations ON access_log (detail)
WHERE operation = 'revoke-api-key' AND outcome = 'granted';

UPDATE schema_version SET version = 16;
