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

-- functions.sql makes it again, with the role.
DROP VIEW access_units;

UPDATE schema_version SET version = 15;
