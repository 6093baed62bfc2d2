-- The transparency log: the hash of each row's leaf, which row is which leaf, the tree's tiles, and its signed heads.
-- Rows from before have no hash of their own; they become leaves as they stand.

ALTER TABLE access_log ADD COLUMN leaf_hash BLOB CHECK (leaf_hash IS NULL OR length(leaf_hash) = 32);
ALTER TABLE purge_log ADD COLUMN leaf_hash BLOB CHECK (leaf_hash IS NULL OR length(leaf_hash) = 32);

CREATE TABLE leaves (
    leaf_index INTEGER PRIMARY KEY,
    log        TEXT    NOT NULL CHECK (log IN ('access', 'purge')),
    position   INTEGER NOT NULL
);
-- By purge, for its receipt. Of a log's leaves the last one has its highest position, so nothing else has to be looked up.
CREATE UNIQUE INDEX leaves_of_purges ON leaves (position) WHERE log = 'purge';

CREATE TABLE tiles (
    level      INTEGER NOT NULL,
    tile_index INTEGER NOT NULL,
    hashes     BLOB    NOT NULL,
    PRIMARY KEY (level, tile_index)
);

CREATE TABLE checkpoints (
    size      INTEGER PRIMARY KEY,
    origin    TEXT    NOT NULL,
    root_hash BLOB    NOT NULL CHECK (length(root_hash) = 32),
    note      TEXT    NOT NULL,
    signed_at INTEGER NOT NULL
);

CREATE TRIGGER leaves_no_update BEFORE UPDATE ON leaves
BEGIN SELECT RAISE(ABORT, 'leaves is append-only'); END;

CREATE TRIGGER leaves_no_delete BEFORE DELETE ON leaves
BEGIN SELECT RAISE(ABORT, 'leaves is append-only'); END;

CREATE TRIGGER leaves_no_replace BEFORE INSERT ON leaves
WHEN EXISTS (
    SELECT 1 FROM leaves WHERE leaf_index = NEW.leaf_index OR (NEW.log = 'purge' AND log = 'purge' AND position = NEW.position)
)
BEGIN SELECT RAISE(ABORT, 'leaves is append-only'); END;

CREATE TRIGGER checkpoints_no_update BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;

CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;

CREATE TRIGGER checkpoints_no_replace BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE size = NEW.size)
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;

UPDATE schema_version SET version = 4;
