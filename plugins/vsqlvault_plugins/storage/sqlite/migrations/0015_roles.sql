-- The role with which the caller of each row acted, and counts by role. The counts of the access log are made again.
ALTER TABLE access_log ADD COLUMN role TEXT;

DELETE FROM log_blocks WHERE log = 'access';
DROP TABLE access_tallies;
CREATE TABLE access_tallies (
    block            INTEGER NOT NULL,
    operation        TEXT NOT NULL,
    outcome          TEXT NOT NULL,
    reason           TEXT,
    purpose          TEXT,
    app              TEXT,
    role             TEXT,
    row_count        INTEGER NOT NULL,
    event_count      INTEGER NOT NULL,
    first_at         INTEGER NOT NULL,
    last_at          INTEGER NOT NULL,
    without_app      INTEGER NOT NULL,
    without_origin   INTEGER NOT NULL,
    without_subject  INTEGER NOT NULL,
    without_identity INTEGER NOT NULL
);
CREATE INDEX access_tallies_by_block ON access_tallies (block);

DROP VIEW access_units;
CREATE VIEW access_units AS
SELECT position, at, operation, outcome, reason, purpose, app, role, 1 AS row_count, count AS event_count,
       app IS NULL AS without_app, client_address IS NULL AND method IS NOT 'system' AS without_origin,
       operation IN ('store', 'retrieve', 'inspect', 'purge') AND external_id IS NULL AND detail IS NULL AS without_subject,
       app IS NOT NULL AND identity IS NULL AND method IS NOT 'system' AS without_identity
FROM access_log;

UPDATE schema_version SET version = 15;
