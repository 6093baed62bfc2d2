-- What the report counts of the logs, kept block by block. A block is 8,192 positions of a log; it is counted once, when all its
-- rows are leaves of the transparency log, for then none can come in any more and none can change.
-- All of this can be told from the logs again: whoever doubts it empties these five tables, and it is counted anew.

-- first_at and last_at are of the times of the block's rows, and null where the block has none.
CREATE TABLE vault.log_blocks (
    log      text        COLLATE "C" NOT NULL CHECK (log IN ('access', 'purge')),
    block    bigint      NOT NULL,
    first_at timestamptz,
    last_at  timestamptz,
    PRIMARY KEY (log, block)
);

CREATE TABLE vault.access_tallies (
    block           bigint      NOT NULL,
    operation       text        NOT NULL,
    outcome         text        NOT NULL,
    reason          text,
    purpose         text        COLLATE "C",
    app             text,
    row_count       bigint      NOT NULL,
    event_count     bigint      NOT NULL,
    first_at        timestamptz NOT NULL,
    last_at         timestamptz NOT NULL,
    without_app     bigint      NOT NULL,
    without_origin  bigint      NOT NULL,
    without_subject bigint      NOT NULL
);
CREATE INDEX access_tallies_by_block ON vault.access_tallies (block);

CREATE TABLE vault.purge_tallies (
    block     bigint NOT NULL,
    purpose   text   COLLATE "C" NOT NULL,
    reason    text   NOT NULL,
    method    text   NOT NULL,
    row_count bigint NOT NULL
);
CREATE INDEX purge_tallies_by_block ON vault.purge_tallies (block);

CREATE TABLE vault.purged_key_tallies (
    block   bigint      NOT NULL,
    purpose text        COLLATE "C" NOT NULL,
    key_ref text        NOT NULL,
    last_at timestamptz NOT NULL
);
CREATE INDEX purged_key_tallies_by_block ON vault.purged_key_tallies (block);

CREATE TABLE vault.lag_tallies (
    block     bigint   NOT NULL,
    purpose   text     COLLATE "C" NOT NULL,
    up_to     interval NOT NULL,
    row_count bigint   NOT NULL,
    longest   interval NOT NULL
);
CREATE INDEX lag_tallies_by_block ON vault.lag_tallies (block);

-- Lags are counted by the first of these that they do not exceed: sixteen steps from each power of two of seconds to the next,
-- and the bounds of the report's own histogram.
CREATE TABLE vault.lag_steps (up_to interval PRIMARY KEY);
INSERT INTO vault.lag_steps (up_to)
SELECT interval '0' UNION SELECT interval '1 second'
UNION
SELECT interval '1 second' * (2::bigint ^ octave * (1 + step / 16.0))
FROM generate_series(0, 38) AS octave CROSS JOIN generate_series(1, 16) AS step
UNION
SELECT interval '1 second' * seconds FROM unnest(ARRAY[3600, 21600, 86400, 172800, 604800, 2592000]) AS seconds;

-- Rows of the logs as they are counted. A lag is null where the purge was before the expiry.
CREATE VIEW vault.access_units AS
SELECT position, at, operation, outcome, reason, purpose, app, 1::bigint AS row_count, count AS event_count,
       (app IS NULL)::int AS without_app,
       (client_address IS NULL AND method IS DISTINCT FROM 'system')::int AS without_origin,
       (operation IN ('store', 'retrieve', 'inspect', 'purge') AND external_id IS NULL AND detail IS NULL)::int
           AS without_subject
FROM vault.access_log;

CREATE VIEW vault.purge_units AS
SELECT position, purged_at AS at, purpose, reason, method, key_ref,
       CASE WHEN purged_at >= expired_at THEN purged_at - expired_at END AS lag,
       CASE WHEN purged_at >= expired_at THEN (
           SELECT min(s.up_to) FROM vault.lag_steps AS s WHERE s.up_to >= purged_at - expired_at
       ) END AS up_to
FROM vault.purge_log;

-- Which lag has a certain rank is looked up by this.
CREATE INDEX purge_log_by_lag ON vault.purge_log ((purged_at - expired_at)) INCLUDE (purged_at, expired_at, purpose);

UPDATE vault.schema_version SET version = 9;
