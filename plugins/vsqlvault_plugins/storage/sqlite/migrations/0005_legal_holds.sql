-- Legal holds, version by version: the newest of a name is in force unless it is released. A selector's column is null where
-- the hold does not select by it.

CREATE TABLE legal_holds (
    name           TEXT    NOT NULL,
    version        INTEGER NOT NULL,
    case_reference TEXT    NOT NULL,
    reason         TEXT    NOT NULL,
    purpose        TEXT,
    external_id    TEXT,
    owner_app      TEXT,
    metadata       TEXT,
    held_since     INTEGER NOT NULL,
    created_by     TEXT    NOT NULL,
    created_at     INTEGER NOT NULL,
    released_by    TEXT,
    released_at    INTEGER,
    PRIMARY KEY (name, version),
    CHECK (coalesce(purpose, external_id, owner_app, metadata) IS NOT NULL),
    CHECK ((released_by IS NULL) = (released_at IS NULL))
);

-- What a sweep found expired and a hold kept.
ALTER TABLE sweeps ADD COLUMN held INTEGER NOT NULL DEFAULT 0;

UPDATE schema_version SET version = 5;
