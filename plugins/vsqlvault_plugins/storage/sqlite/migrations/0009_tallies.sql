-- What the report counts of the logs, kept block by block. A block is 8,192 positions of a log; it is counted once, when all its
-- rows are leaves of the transparency log, for then none can come in any more and none can change.
-- All of this can be told from the logs again: whoever doubts it empties these five tables, and it is counted anew.

-- first_at and last_at are of the times of the block's rows, and null where the block has none.
CREATE TABLE log_blocks (
    log      TEXT    NOT NULL CHECK (log IN ('access', 'purge')),
    block    INTEGER NOT NULL,
    first_at INTEGER,
    last_at  INTEGER,
    PRIMARY KEY (log, block)
) WITHOUT ROWID;

CREATE TABLE access_tallies (
    block           INTEGER NOT NULL,
    operation       TEXT    NOT NULL,
    outcome         TEXT    NOT NULL,
    reason          TEXT,
    purpose         TEXT,
    app             TEXT,
    row_count       INTEGER NOT NULL,
    event_count     INTEGER NOT NULL,
    first_at        INTEGER NOT NULL,
    last_at         INTEGER NOT NULL,
    without_app     INTEGER NOT NULL,
    without_origin  INTEGER NOT NULL,
    without_subject INTEGER NOT NULL
);
CREATE INDEX access_tallies_by_block ON access_tallies (block);

CREATE TABLE purge_tallies (
    block     INTEGER NOT NULL,
    purpose   TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    method    TEXT    NOT NULL,
    row_count INTEGER NOT NULL
);
CREATE INDEX purge_tallies_by_block ON purge_tallies (block);

CREATE TABLE purged_key_tallies (
    block   INTEGER NOT NULL,
    purpose TEXT    NOT NULL,
    key_ref TEXT    NOT NULL,
    last_at INTEGER NOT NULL
);
CREATE INDEX purged_key_tallies_by_block ON purged_key_tallies (block);

CREATE TABLE lag_tallies (
    block     INTEGER NOT NULL,
    purpose   TEXT    NOT NULL,
    up_to     INTEGER NOT NULL,
    row_count INTEGER NOT NULL,
    longest   INTEGER NOT NULL
);
CREATE INDEX lag_tallies_by_block ON lag_tallies (block);

-- Lags are counted by the first of these that they do not exceed: sixteen steps from each power of two of seconds to the next,
-- and the bounds of the report's own histogram. In microseconds.
CREATE TABLE lag_steps (up_to INTEGER PRIMARY KEY);
INSERT INTO lag_steps (up_to) VALUES (0), (1000000);
WITH RECURSIVE octave (start, number) AS (
    SELECT 1000000, 0 UNION ALL SELECT start * 2, number + 1 FROM octave WHERE number < 38
), step (place) AS (
    SELECT 1 UNION ALL SELECT place + 1 FROM step WHERE place < 16
)
INSERT INTO lag_steps (up_to) SELECT start + start / 16 * place FROM octave CROSS JOIN step;
INSERT OR IGNORE INTO lag_steps (up_to)
VALUES (3600000000), (21600000000), (86400000000), (172800000000), (604800000000), (2592000000000);

-- Rows of the logs as they are counted. A lag is null where the purge was before the expiry.
CREATE VIEW access_units AS
SELECT position, at, operation, outcome, reason, purpose, app, 1 AS row_count, count AS event_count, app IS NULL AS without_app,
       client_address IS NULL AND method IS NOT 'system' AS without_origin,
       operation IN ('store', 'retrieve', 'inspect', 'purge') AND external_id IS NULL AND detail IS NULL AS without_subject
FROM access_log;

CREATE VIEW purge_units AS
SELECT position, purged_at AS at, purpose, reason, method, key_ref,
       CASE WHEN purged_at >= expired_at THEN purged_at - expired_at END AS lag,
       CASE WHEN purged_at >= expired_at THEN (
           SELECT min(s.up_to) FROM lag_steps AS s WHERE s.up_to >= purged_at - expired_at
       ) END AS up_to
FROM purge_log;

-- The index by time need no longer have in it what is counted; which lag has a certain rank is looked up by the one by lag.
DROP INDEX purge_log_by_time;
CREATE INDEX purge_log_by_time ON purge_log (purged_at);
CREATE INDEX purge_log_by_lag ON purge_log (purged_at - expired_at, purged_at, expired_at, purpose);

UPDATE schema_version SET version = 9;
