-- The five tables that were asked for, and what goes with them.
-- Times are microseconds since 1970-01-01T00:00:00Z. The value stands last in its row, so that reading what stands before
-- it does not walk through its overflow pages.

CREATE TABLE schema_version (
    version INTEGER NOT NULL
);
INSERT INTO schema_version (version) VALUES (0);

CREATE TABLE rulebook (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    revision INTEGER NOT NULL
);
INSERT INTO rulebook (only_row, revision) VALUES (1, 1);

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
CREATE INDEX entries_by_expiry ON entries (purpose, expires_at) WHERE purged_at IS NULL;
CREATE INDEX entries_by_creation ON entries (purpose, created_at) WHERE purged_at IS NULL;
CREATE INDEX entries_by_key_ref ON entries (purpose, key_ref, expires_at, created_at) WHERE purged_at IS NULL;
CREATE INDEX entries_by_access_policy ON entries (access_policy) WHERE purged_at IS NULL;

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

CREATE TABLE retention_policies (
    purpose            TEXT    NOT NULL,
    version            INTEGER NOT NULL,
    max_retention_days INTEGER NOT NULL,
    default_ttl_days   INTEGER,
    purge_method       TEXT    NOT NULL,
    description        TEXT,
    justification      TEXT,
    legal_basis        TEXT,
    data_class         TEXT,
    created_by         TEXT    NOT NULL,
    created_at         INTEGER NOT NULL,
    PRIMARY KEY (purpose, version)
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
    new_value            TEXT
);
CREATE INDEX access_log_by_time ON access_log (at);
CREATE INDEX access_log_by_entry ON access_log (purpose, external_id, at);

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
    UNIQUE (entry_id, entry_version)
);
CREATE INDEX purge_log_by_time ON purge_log (purged_at);
CREATE INDEX purge_log_by_entry ON purge_log (purpose, external_id, purged_at);
CREATE INDEX purge_log_without_proof ON purge_log (position) WHERE length(proof_hash) <> 64;

CREATE TABLE sweeps (
    sweep_id      TEXT    PRIMARY KEY,
    started_at    INTEGER NOT NULL,
    finished_at   INTEGER NOT NULL,
    started_by    TEXT    NOT NULL,
    purged        INTEGER NOT NULL,
    failed        INTEGER NOT NULL,
    completed     INTEGER NOT NULL CHECK (completed IN (0, 1))
);
CREATE INDEX sweeps_by_time ON sweeps (finished_at);

CREATE TABLE leases (
    name       TEXT    PRIMARY KEY,
    holder     TEXT    NOT NULL,
    expires_at INTEGER NOT NULL
);

CREATE TABLE secrets (
    name  TEXT PRIMARY KEY,
    value BLOB NOT NULL
);

-- Logs grow, and that is all they do. A row cannot be put in the place of another one either (INSERT OR REPLACE).

CREATE TRIGGER access_log_no_update BEFORE UPDATE ON access_log
BEGIN SELECT RAISE(ABORT, 'access_log is append-only'); END;

CREATE TRIGGER access_log_no_delete BEFORE DELETE ON access_log
BEGIN SELECT RAISE(ABORT, 'access_log is append-only'); END;

CREATE TRIGGER access_log_no_replace BEFORE INSERT ON access_log
WHEN EXISTS (SELECT 1 FROM access_log WHERE position = NEW.position)
BEGIN SELECT RAISE(ABORT, 'access_log is append-only'); END;

CREATE TRIGGER purge_log_no_update BEFORE UPDATE ON purge_log
BEGIN SELECT RAISE(ABORT, 'purge_log is append-only'); END;

CREATE TRIGGER purge_log_no_delete BEFORE DELETE ON purge_log
BEGIN SELECT RAISE(ABORT, 'purge_log is append-only'); END;

CREATE TRIGGER purge_log_no_replace BEFORE INSERT ON purge_log
WHEN EXISTS (
    SELECT 1 FROM purge_log
    WHERE position = NEW.position OR purge_id = NEW.purge_id
       OR (entry_id = NEW.entry_id AND entry_version = NEW.entry_version)
)
BEGIN SELECT RAISE(ABORT, 'purge_log is append-only'); END;

UPDATE schema_version SET version = 1;
