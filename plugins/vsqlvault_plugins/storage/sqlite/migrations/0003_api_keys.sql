-- API keys by their digests, and when credentials were used. A key's first version grants, its second says that it is revoked.

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

UPDATE schema_version SET version = 3;
