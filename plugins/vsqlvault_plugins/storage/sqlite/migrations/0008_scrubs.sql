-- Scrubs: of every row of the purge log up to "through" the bytes are out of the data files.
CREATE TABLE scrubs (
    scrub_id    TEXT    PRIMARY KEY,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    started_by  TEXT    NOT NULL,
    through     INTEGER  NOT NULL,
    rewritten   INTEGER  NOT NULL,
    completed   INTEGER  NOT NULL CHECK (completed IN (0, 1)),
    undone      TEXT
);
CREATE INDEX scrubs_by_time ON scrubs (finished_at);
CREATE INDEX scrubs_by_reach ON scrubs (through, finished_at);

UPDATE schema_version SET version = 8;
