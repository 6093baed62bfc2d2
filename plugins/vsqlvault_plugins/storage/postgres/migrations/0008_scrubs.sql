-- Scrubs: of every row of the purge log up to "through" the bytes are out of the data files.
CREATE TABLE vault.scrubs (
    scrub_id    text        PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    started_by  text        NOT NULL,
    through     bigint      NOT NULL,
    rewritten   bigint      NOT NULL,
    completed   boolean     NOT NULL,
    undone      text
);
CREATE INDEX scrubs_by_time ON vault.scrubs (finished_at);
CREATE INDEX scrubs_by_reach ON vault.scrubs (through, finished_at);

-- Up to which position of the purge log the bytes are out of each part of entries.
CREATE TABLE vault.scrubbed (
    part    integer PRIMARY KEY,
    through bigint  NOT NULL
) WITH (fillfactor = 50);
INSERT INTO vault.scrubbed (part, through) SELECT part, 0 FROM generate_series(0, 15) AS part;

UPDATE vault.schema_version SET version = 8;
