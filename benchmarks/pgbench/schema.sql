-- What PostgreSQL is asked to do by itself: the same entries and the same rows, one statement a request.
CREATE SCHEMA bare;
CREATE TABLE bare.entries (
    purpose         text        NOT NULL,
    external_id     text        NOT NULL,
    entry_id        uuid        NOT NULL DEFAULT gen_random_uuid(),
    version         integer     NOT NULL DEFAULT 1,
    encrypted_value bytea,
    algorithm_hint  text,
    key_ref         text,
    metadata        jsonb       NOT NULL DEFAULT '{}',
    owner_app       text        NOT NULL,
    owner_identity  text,
    access_policy   text        NOT NULL DEFAULT 'owner-only',
    retrievals      bigint      NOT NULL DEFAULT 0,
    created_at      timestamptz NOT NULL DEFAULT now(),
    updated_at      timestamptz NOT NULL DEFAULT now(),
    expires_at      timestamptz,
    purged_at       timestamptz,
    PRIMARY KEY (purpose, external_id)
);
ALTER TABLE bare.entries ALTER encrypted_value SET STORAGE EXTERNAL;
CREATE INDEX entries_expires ON bare.entries (expires_at) WHERE purged_at IS NULL;
CREATE TABLE bare.access_log (
    log_id      bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at          timestamptz NOT NULL DEFAULT clock_timestamp(),
    operation   text        NOT NULL,
    purpose     text        NOT NULL,
    external_id text,
    entry_id    uuid,
    caller_app  text        NOT NULL,
    granted     boolean     NOT NULL,
    client_ip   inet,
    request_id  uuid
);
CREATE INDEX access_log_at ON bare.access_log USING brin (at);
INSERT INTO bare.entries (purpose, external_id, encrypted_value, algorithm_hint, key_ref, owner_app, expires_at)
SELECT 'card', 'e' || i, decode(repeat(md5(i::text), 64), 'hex'), 'AES-256-GCM', 'card-key-v7', 'payments',
       now() + interval '90 days'
FROM generate_series(0, 99999) AS i;
VACUUM ANALYZE bare.entries;
