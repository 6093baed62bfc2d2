-- Legal holds, version by version: the newest of a name is in force unless it is released. A selector's column is null where
-- the hold does not select by it.

CREATE TABLE vault.legal_holds (
    name           text        COLLATE "C" NOT NULL,
    version        bigint      NOT NULL,
    case_reference text        NOT NULL,
    reason         text        NOT NULL,
    purpose        text,
    external_id    text,
    owner_app      text,
    metadata       text,
    held_since     timestamptz NOT NULL,
    created_by     text        NOT NULL,
    created_at     timestamptz NOT NULL,
    released_by    text,
    released_at    timestamptz,
    PRIMARY KEY (name, version),
    CHECK (coalesce(purpose, external_id, owner_app, metadata) IS NOT NULL),
    CHECK ((released_by IS NULL) = (released_at IS NULL))
);

-- What a sweep found expired and a hold kept.
ALTER TABLE vault.sweeps ADD COLUMN held bigint NOT NULL DEFAULT 0;

UPDATE vault.schema_version SET version = 5;
