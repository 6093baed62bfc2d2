-- API keys by their digests, and when credentials were used. A key's first version grants, its second says that it is revoked.

CREATE TABLE vault.api_keys (
    key_id      text        COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    digest      text        NOT NULL CHECK (length(digest) = 64),
    app         text        NOT NULL,
    identity    text,
    purposes    text,
    roles       text        NOT NULL,
    description text,
    expires_at  timestamptz,
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    revoked_by  text,
    revoked_at  timestamptz,
    PRIMARY KEY (key_id, version)
);

CREATE TABLE vault.credential_uses (
    method        text        COLLATE "C" NOT NULL,
    credential_id text        COLLATE "C" NOT NULL,
    first_used_at timestamptz NOT NULL,
    last_used_at  timestamptz NOT NULL,
    PRIMARY KEY (method, credential_id)
);

UPDATE vault.schema_version SET version = 3;
