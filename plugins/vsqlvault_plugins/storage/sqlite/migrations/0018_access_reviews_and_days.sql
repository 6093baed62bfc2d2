-- Access reviews, and the activity of each day, which the report shows.

CREATE TABLE access_reviews (
    number   INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    purpose  TEXT,
    due_at   INTEGER NOT NULL,
    document TEXT    NOT NULL,
    note     TEXT
);
CREATE INDEX access_reviews_by_purpose ON access_reviews (purpose, at, number);

CREATE TABLE access_day_tallies (
    block     INTEGER NOT NULL,
    day       INTEGER NOT NULL,
    stored    INTEGER NOT NULL,
    retrieved INTEGER NOT NULL,
    denied    INTEGER NOT NULL
);
CREATE INDEX access_day_tallies_by_block ON access_day_tallies (block);

CREATE TABLE purge_day_tallies (
    block  INTEGER NOT NULL,
    day    INTEGER NOT NULL,
    purged INTEGER NOT NULL
);
CREATE INDEX purge_day_tallies_by_block ON purge_day_tallies (block);

-- The blocks that are counted already. A block has 8,192 positions.
INSERT INTO access_day_tallies (block, day, stored, retrieved, denied)
SELECT b.block, day, sum(stored), sum(retrieved), sum(denied)
FROM log_blocks AS b CROSS JOIN (
    SELECT position, at, at / 86400000000 AS day, outcome = 'granted' AND operation = 'store' AS stored,
           outcome = 'granted' AND operation = 'retrieve' AS retrieved, CASE outcome WHEN 'denied' THEN count ELSE 0 END AS denied
    FROM access_log
) AS d ON d.position > b.block * 8192 AND d.position <= (b.block + 1) * 8192
WHERE b.log = 'access' GROUP BY b.block, day;
INSERT INTO purge_day_tallies (block, day, purged)
SELECT b.block, day, sum(purged)
FROM log_blocks AS b CROSS JOIN (
    SELECT position, purged_at AS at, purged_at / 86400000000 AS day, 1 AS purged FROM purge_log
) AS d ON d.position > b.block * 8192 AND d.position <= (b.block + 1) * 8192
WHERE b.log = 'purge' GROUP BY b.block, day;

UPDATE schema_version SET version = 18;
