-- Access reviews, as they were signed. The purpose is null for a review of all.
CREATE TABLE access_reviews (
    number   INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    purpose  TEXT,
    due_at   INTEGER NOT NULL,
    document TEXT    NOT NULL,
    note     TEXT
);
CREATE INDEX access_reviews_by_purpose ON access_reviews (purpose, at, number);

CREATE TRIGGER access_reviews_no_update BEFORE UPDATE ON access_reviews
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

CREATE TRIGGER access_reviews_no_delete BEFORE DELETE ON access_reviews
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

CREATE TRIGGER access_reviews_no_replace BEFORE INSERT ON access_reviews
WHEN EXISTS (SELECT 1 FROM access_reviews WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

-- Rows of the logs as they are counted by day: days since 1970-01-01 in UTC.
CREATE VIEW access_days AS
SELECT position, at, at / 86400000000 AS day, outcome = 'granted' AND operation = 'store' AS stored,
       outcome = 'granted' AND operation = 'retrieve' AS retrieved, CASE outcome WHEN 'denied' THEN count ELSE 0 END AS denied
FROM access_log;

CREATE VIEW purge_days AS
SELECT position, purged_at AS at, purged_at / 86400000000 AS day, 1 AS purged FROM purge_log;

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
FROM log_blocks AS b CROSS JOIN access_days AS d ON d.position > b.block * 8192 AND d.position <= (b.block + 1) * 8192
WHERE b.log = 'access' GROUP BY b.block, day;
INSERT INTO purge_day_tallies (block, day, purged)
SELECT b.block, day, sum(purged)
FROM log_blocks AS b CROSS JOIN purge_days AS d ON d.position > b.block * 8192 AND d.position <= (b.block + 1) * 8192
WHERE b.log = 'purge' GROUP BY b.block, day;

UPDATE schema_version SET version = 17;
