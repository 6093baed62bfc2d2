"""A vibesql-vault database: the tables of its three migrations, with entries."""

from __future__ import annotations

TABLES = """
CREATE SCHEMA vsql_vault;
CREATE TABLE vsql_vault.vault_entries (
    id UUID NOT NULL, purpose VARCHAR(64) NOT NULL, encrypted_blob BYTEA NOT NULL, owner_app VARCHAR(128) NOT NULL,
    encryption_svc VARCHAR(128), content_type VARCHAR(64), tags JSONB NOT NULL DEFAULT '{}',
    created_at TIMESTAMPTZ NOT NULL DEFAULT NOW(), updated_at TIMESTAMPTZ NOT NULL DEFAULT NOW(), expires_at TIMESTAMPTZ,
    algorithm_hint VARCHAR(64), key_ref VARCHAR(256), owner_identity VARCHAR(256), purged_at TIMESTAMPTZ,
    purge_method VARCHAR(32), access_policy VARCHAR(128) NOT NULL DEFAULT 'owner-only',
    last_used_at TIMESTAMPTZ NOT NULL DEFAULT NOW(), PRIMARY KEY (purpose, id));
"""
ENTRIES = """
INSERT INTO vsql_vault.vault_entries
    (id, purpose, encrypted_blob, owner_app, tags, content_type, key_ref, created_at, updated_at, expires_at, purged_at)
SELECT ('00000000-0000-0000-0000-' || lpad(n::text, 12, '0'))::uuid, 'card', decode('00ff', 'hex') || n::text::bytea,
       'payments', '{"merchant": "m1"}', 'application/octet-stream', 'kv:key-1', now() - interval '2 days',
       now() - interval '1 day', CASE WHEN n = 1 THEN NULL ELSE now() + interval '30 days' END,
       CASE WHEN n = 5 THEN now() END
FROM generate_series(1, 5) AS n;
"""
