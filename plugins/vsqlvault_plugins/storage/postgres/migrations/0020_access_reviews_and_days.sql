-- Access reviews, and the activity of each day, which the report shows.

CREATE TABLE vault.access_reviews (
    number   bigint      PRIMARY KEY,
    at       timestamptz NOT NULL,
    purpose  text        COLLATE "C",
    due_at   timestamptz NOT NULL,
    document text        NOT NULL,
    note     text
);
CREATE INDEX access_reviews_by_purpose ON vault.access_reviews (purpose, at, number);

CREATE TABLE vault.access_day_tallies (
    block     bigint NOT NULL,
    day       date   NOT NULL,
    stored    bigint NOT NULL,
    retrieved bigint NOT NULL,
    denied    bigint NOT NULL
);
CREATE INDEX access_day_tallies_by_block ON vault.access_day_tallies (block);

CREATE TABLE vault.purge_day_tallies (
    block  bigint NOT NULL,
    day    date   NOT NULL,
    purged bigint NOT NULL
);
CREATE INDEX purge_day_tallies_by_block ON vault.purge_day_tallies (block);

-- The blocks that are counted already. A block has 8,192 positions.
INSERT INTO vault.access_day_tallies (block, day, stored, retrieved, denied)
SELECT b.block, day, sum(stored), sum(retrieved), sum(denied)
FROM vault.log_blocks AS b JOIN (
    SELECT position, at, (at AT TIME ZONE 'UTC')::date AS day, (outcome = 'granted' AND operation = 'store')::int AS stored,
           (outcome = 'granted' AND operation = 'retrieve')::int AS retrieved,
           CASE outcome WHEN 'denied' THEN count ELSE 0 END AS denied
    FROM vault.access_log
) AS d ON d.position > b.block * 8192 AND d.position <= (b.block + 1) * 8192
WHERE b.log = 'access' GROUP BY b.block, day;
INSERT INTO vault.purge_day_tallies (block, day, purged)
SELECT b.block, day, sum(purged)
FROM vault.log_blocks AS b JOIN (
    SELECT position, purged_at AS at, (purged_at AT TIME ZONE 'UTC')::date AS day, 1 AS purged FROM vault.purge_log
) AS d ON d.position > b.block * 8192 AND d.position <= (b.block + 1) * 8192
WHERE b.log = 'purge' GROUP BY b.block, day;

UPDATE vault.schema_version SET version = 20;
