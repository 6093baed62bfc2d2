-- The schema of a new database. An older database gets to the same by the steps in migrations/.
-- Triggers and views are in functions.sql, which is run after this file.
-- Times are microseconds since 1970-01-01T00:00:00Z. The value is the last column of its row, so that reading the columns before
-- it does not read its overflow pages.

-- The version of the schema, and the SHA-256 digest of functions.sql as it was last run.
CREATE TABLE schema_version (
    version   INTEGER NOT NULL,
    functions TEXT
);

-- The revision of the rules. Each change of a policy, a key or a hold raises it.
CREATE TABLE rulebook (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    revision INTEGER NOT NULL
);
INSERT INTO rulebook (only_row, revision) VALUES (1, 1);

-- The high-water mark: the time of the vault is never before it.
CREATE TABLE clock (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    mark     INTEGER
);
INSERT INTO clock (only_row, mark) VALUES (1, NULL);

CREATE TABLE entries (
    purpose         TEXT    NOT NULL,
    external_id     TEXT    NOT NULL,
    entry_id        TEXT    NOT NULL,
    version         INTEGER NOT NULL,
    encoding        TEXT    NOT NULL,
    value_sha256    TEXT    NOT NULL,
    value_size      INTEGER NOT NULL,
    algorithm_hint  TEXT,
    key_ref         TEXT,
    metadata        TEXT    NOT NULL,
    owner_app       TEXT    NOT NULL,
    owner_identity  TEXT,
    access_policy   TEXT    NOT NULL,
    created_at      INTEGER NOT NULL,
    updated_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    retrievals      INTEGER NOT NULL DEFAULT 0,
    purged_at       INTEGER,
    purge_method    TEXT,
    encrypted_value BLOB    NOT NULL,
    PRIMARY KEY (purpose, external_id)
);
-- purged_at is a column of indexes that are read alone, because SQLite tests it again, although it is null in all their rows.
-- A sweep goes through expired entries in the order of these two indexes, after a place in it.
CREATE INDEX entries_by_expiry ON entries (purpose, expires_at, external_id) WHERE purged_at IS NULL;
CREATE INDEX entries_by_creation ON entries (purpose, created_at, external_id) WHERE purged_at IS NULL;
-- The entries of a key, in the order of their ids. The key inventory and the report read this index alone.
CREATE INDEX entries_by_key_ref ON entries (
    purpose, key_ref, external_id, expires_at, created_at, updated_at, purged_at, algorithm_hint, access_policy, owner_app
) WHERE purged_at IS NULL;
-- The oldest and the newest value of each key.
CREATE INDEX entries_by_access_policy ON entries (access_policy, purpose, key_ref, updated_at, created_at, purged_at)
WHERE purged_at IS NULL;

CREATE TABLE access_policies (
    name        TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    evaluator   TEXT    NOT NULL,
    rules       TEXT    NOT NULL,
    parameters  TEXT    NOT NULL,
    description TEXT,
    created_by  TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    dropped     INTEGER NOT NULL DEFAULT 0 CHECK (dropped IN (0, 1)),
    PRIMARY KEY (name, version)
);

-- Lists are JSON arrays of texts.
CREATE TABLE retention_policies (
    purpose                 TEXT    NOT NULL,
    version                 INTEGER NOT NULL,
    max_retention_days      INTEGER NOT NULL,
    default_ttl_days        INTEGER,
    purge_method            TEXT    NOT NULL,
    description             TEXT,
    justification           TEXT,
    legal_basis             TEXT,
    data_class              TEXT,
    created_by              TEXT    NOT NULL,
    created_at              INTEGER NOT NULL,
    allowed_access_policies TEXT,
    max_value_bytes         INTEGER,
    required_metadata       TEXT,
    inactivity_days         INTEGER,
    PRIMARY KEY (purpose, version)
);

-- A key's first version grants, its second version revokes.
CREATE TABLE api_keys (
    key_id      TEXT    NOT NULL,
    version     INTEGER NOT NULL,
    digest      TEXT    NOT NULL CHECK (length(digest) = 64),
    app         TEXT    NOT NULL,
    identity    TEXT,
    purposes    TEXT,
    roles       TEXT    NOT NULL,
    description TEXT,
    expires_at  INTEGER,
    created_by  TEXT    NOT NULL,
    created_at  INTEGER NOT NULL,
    revoked_by  TEXT,
    revoked_at  INTEGER,
    PRIMARY KEY (key_id, version)
);

CREATE TABLE credential_uses (
    method        TEXT    NOT NULL,
    credential_id TEXT    NOT NULL,
    first_used_at INTEGER NOT NULL,
    last_used_at  INTEGER NOT NULL,
    PRIMARY KEY (method, credential_id)
);

-- The newest version of a name is in force unless it is released. A column of the selector is null if the hold does not select
-- by it.
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

CREATE TABLE access_log (
    position             INTEGER PRIMARY KEY AUTOINCREMENT,
    at                   INTEGER NOT NULL,
    request_id           TEXT    NOT NULL,
    operation            TEXT    NOT NULL,
    outcome              TEXT    NOT NULL CHECK (outcome IN ('granted', 'denied')),
    status               INTEGER NOT NULL,
    purpose              TEXT,
    external_id          TEXT,
    entry_id             TEXT,
    entry_version        INTEGER,
    app                  TEXT,
    identity             TEXT,
    method               TEXT,
    credential_id        TEXT,
    client_address       TEXT,
    untrusted_forwarding INTEGER NOT NULL DEFAULT 0,
    reason               TEXT,
    policy               TEXT,
    policy_version       INTEGER,
    count                INTEGER NOT NULL DEFAULT 1 CHECK (count >= 1),
    detail               TEXT,
    old_value            TEXT,
    new_value            TEXT,
    leaf_hash            BLOB    CHECK (leaf_hash IS NULL OR length(leaf_hash) = 32),
    role                 TEXT
);
CREATE INDEX access_log_by_time ON access_log (at);
CREATE INDEX access_log_by_entry ON access_log (purpose, external_id, at);
-- The revocations of API keys, so that a key whose revoking version was deleted is refused.
CREATE INDEX access_log_of_revocations ON access_log (detail)
WHERE operation = 'revoke-api-key' AND outcome = 'granted';

CREATE TABLE purge_log (
    position         INTEGER PRIMARY KEY AUTOINCREMENT,
    purge_id         TEXT    NOT NULL UNIQUE,
    purpose          TEXT    NOT NULL,
    external_id      TEXT    NOT NULL,
    entry_id         TEXT    NOT NULL,
    entry_version    INTEGER NOT NULL,
    method           TEXT    NOT NULL,
    reason           TEXT    NOT NULL,
    policy_reference TEXT,
    proof_hash       TEXT    NOT NULL CHECK (length(proof_hash) = 64),
    value_size       INTEGER NOT NULL,
    key_ref          TEXT,
    owner_app        TEXT    NOT NULL,
    purged_at        INTEGER NOT NULL,
    expired_at       INTEGER NOT NULL,
    app              TEXT    NOT NULL,
    identity         TEXT,
    request_id       TEXT    NOT NULL,
    leaf_hash        BLOB    CHECK (leaf_hash IS NULL OR length(leaf_hash) = 32),
    UNIQUE (entry_id, entry_version)
);
CREATE INDEX purge_log_by_time ON purge_log (purged_at);
CREATE INDEX purge_log_by_entry ON purge_log (purpose, external_id, purged_at);
CREATE INDEX purge_log_without_proof ON purge_log (position) WHERE length(proof_hash) <> 64;
-- The lag of a rank, for the report.
CREATE INDEX purge_log_by_lag ON purge_log (purged_at - expired_at, purged_at, expired_at, purpose);

-- The transparency log: which row is which leaf, the tree's tiles, and its signed heads.
CREATE TABLE leaves (
    leaf_index INTEGER PRIMARY KEY,
    log        TEXT    NOT NULL CHECK (log IN ('access', 'purge')),
    position   INTEGER NOT NULL
);
-- For receipts. The last leaf of a log has its highest position, so no other leaf is looked up by its position.
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

CREATE TABLE sweeps (
    sweep_id    TEXT    PRIMARY KEY,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    started_by  TEXT    NOT NULL,
    purged      INTEGER NOT NULL,
    failed      INTEGER NOT NULL,
    completed   INTEGER NOT NULL CHECK (completed IN (0, 1)),
    held        INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX sweeps_by_time ON sweeps (finished_at);

-- The bytes of every row of the purge log up to "through" are no longer in the data files.
CREATE TABLE scrubs (
    scrub_id    TEXT    PRIMARY KEY,
    started_at  INTEGER NOT NULL,
    finished_at INTEGER NOT NULL,
    started_by  TEXT    NOT NULL,
    through     INTEGER NOT NULL,
    rewritten   INTEGER NOT NULL,
    completed   INTEGER NOT NULL CHECK (completed IN (0, 1)),
    undone      TEXT
);
CREATE INDEX scrubs_by_time ON scrubs (finished_at);
CREATE INDEX scrubs_by_reach ON scrubs (through, finished_at);

CREATE TABLE leases (
    name       TEXT    PRIMARY KEY,
    holder     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
);

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

-- How far each observer and purge method has received the rows of the logs.
CREATE TABLE cursors (
    name     TEXT PRIMARY KEY NOT NULL,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The changes of each control. The newest of a name is its present state.
CREATE TABLE control_changes (
    name   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    state  TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    detail TEXT    NOT NULL,
    PRIMARY KEY (name, number)
);
CREATE INDEX control_changes_by_time ON control_changes (at);

CREATE TABLE attestations (
    number   INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    is_clean INTEGER NOT NULL CHECK (is_clean IN (0, 1)),
    document TEXT    NOT NULL,
    note     TEXT
);

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

-- Archives of the log: which leaves have their rows outside the vault. Rows of the logs can be deleted below their end, and only
-- those that nothing needs.
CREATE TABLE log_archives (
    number         INTEGER PRIMARY KEY,
    first_index    INTEGER NOT NULL,
    end_index      INTEGER NOT NULL,
    access_through INTEGER NOT NULL,
    purge_through  INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    document       TEXT    NOT NULL,
    CHECK (end_index > first_index)
);

-- Counts of the logs for the report, by block. A block is 8,192 positions of a log. It is counted once, when all its rows are
-- leaves, because then none can be added and none can change. If these seven tables are emptied, the blocks are counted again.

-- first_at and last_at are of the times of the block's rows, and null if it has none.
CREATE TABLE log_blocks (
    log      TEXT    NOT NULL CHECK (log IN ('access', 'purge')),
    block    INTEGER NOT NULL,
    first_at INTEGER,
    last_at  INTEGER,
    PRIMARY KEY (log, block)
) WITHOUT ROWID;

CREATE TABLE access_tallies (
    block            INTEGER NOT NULL,
    operation        TEXT    NOT NULL,
    outcome          TEXT    NOT NULL,
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

CREATE TABLE purge_tallies (
    block     INTEGER NOT NULL,
    purpose   TEXT    NOT NULL,
    reason    TEXT    NOT NULL,
    method    TEXT    NOT NULL,
    row_count INTEGER NOT NULL
);
CREATE INDEX purge_tallies_by_block ON purge_tallies (block);

CREATE TABLE purged_key_tallies (
    block   INTEGER NOT NULL,
    purpose TEXT    NOT NULL,
    key_ref TEXT    NOT NULL,
    last_at INTEGER NOT NULL
);
CREATE INDEX purged_key_tallies_by_block ON purged_key_tallies (block);

CREATE TABLE lag_tallies (
    block     INTEGER NOT NULL,
    purpose   TEXT    NOT NULL,
    up_to     INTEGER NOT NULL,
    row_count INTEGER NOT NULL,
    longest   INTEGER NOT NULL
);
CREATE INDEX lag_tallies_by_block ON lag_tallies (block);

-- The activity of each day, in UTC, by block.
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

-- A lag is counted by the first of these that it does not exceed, in microseconds: sixteen steps from each power of two of seconds
-- to the next, and the bounds of the report's histogram.
CREATE TABLE lag_steps (up_to INTEGER PRIMARY KEY);
INSERT INTO lag_steps (up_to) VALUES (0), (1000000);
WITH RECURSIVE octave (start, number) AS (
    SELECT 1000000, 0 UNION ALL SELECT start * 2, number + 1 FROM octave WHERE number < 38
), step (place) AS (
    SELECT 1 UNION ALL SELECT place + 1 FROM step WHERE place < 16
)
INSERT INTO lag_steps (up_to) SELECT start + start / 16 * place FROM octave CROSS JOIN step;
INSERT OR IGNORE INTO lag_steps (up_to)
VALUES (3600000000), (21600000000), (86400000000), (172800000000), (604800000000), (2592000000000);

-- Counts of the entries that are not purged, for the report. Triggers keep them in the transaction that changes the entries. All of
-- this can be counted from the entries again. A day is the number of a UTC date, counted from 0001-01-01. A text that may be
-- missing is empty if it is missing, and otherwise begins with an equals sign.

CREATE TABLE holding_tallies (
    purpose        TEXT    NOT NULL,
    access_policy  TEXT    NOT NULL,
    owner_app      TEXT    NOT NULL,
    algorithm_hint TEXT    NOT NULL,
    created_day    INTEGER NOT NULL,
    expires_day    INTEGER NOT NULL,
    entry_count    INTEGER NOT NULL,
    PRIMARY KEY (purpose, access_policy, owner_app, algorithm_hint, created_day, expires_day)
) WITHOUT ROWID;

CREATE TABLE key_tallies (
    purpose       TEXT    NOT NULL,
    key_ref       TEXT    NOT NULL,
    access_policy TEXT    NOT NULL,
    created_day   INTEGER NOT NULL,
    expires_day   INTEGER NOT NULL,
    entry_count   INTEGER NOT NULL,
    PRIMARY KEY (purpose, key_ref, access_policy, created_day, expires_day)
) WITHOUT ROWID;
