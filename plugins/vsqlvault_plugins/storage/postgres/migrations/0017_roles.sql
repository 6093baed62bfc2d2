-- The role with which the caller of each row acted, and counts by role. The counts of the access log are made again.
ALTER TABLE vault.access_log ADD COLUMN role text;
ALTER TYPE vault.access_row ADD ATTRIBUTE role text;

DELETE FROM vault.log_blocks WHERE log = 'access';
DROP TABLE vault.access_tallies;
CREATE TABLE vault.access_tallies (
    block            bigint NOT NULL,
    operation        text NOT NULL,
    outcome          text NOT NULL,
    reason           text,
    purpose          text COLLATE "C",
    app              text,
    role             text,
    row_count        bigint NOT NULL,
    event_count      bigint NOT NULL,
    first_at         timestamptz NOT NULL,
    last_at          timestamptz NOT NULL,
    without_app      bigint NOT NULL,
    without_origin   bigint NOT NULL,
    without_subject  bigint NOT NULL,
    without_identity bigint NOT NULL
);
CREATE INDEX access_tallies_by_block ON vault.access_tallies (block);

-- functions.sql makes it again, with the role.
DROP VIEW vault.access_units;

UPDATE vault.schema_version SET version = 17;
