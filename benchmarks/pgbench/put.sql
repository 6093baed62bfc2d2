\set id random(:first, :last)
WITH stored AS (
    INSERT INTO bare.entries AS e (
        purpose, external_id, encrypted_value, algorithm_hint, key_ref, metadata, owner_app, expires_at
    )
    VALUES ('card', 'e' || :id, decode(repeat('58db183f91b6f10491a9d7e06d8b9154', 64), 'hex'), 'AES-256-GCM', 'card-key-v7',
            '{}', 'payments', now() + interval '90 days')
    ON CONFLICT (purpose, external_id) DO UPDATE SET
        encrypted_value = excluded.encrypted_value, key_ref = excluded.key_ref, metadata = excluded.metadata,
        expires_at = excluded.expires_at, updated_at = now(), version = e.version + 1
    WHERE e.owner_app = excluded.owner_app
    RETURNING entry_id, purpose, external_id
)
INSERT INTO bare.access_log (operation, purpose, external_id, entry_id, caller_app, granted, client_ip, request_id)
SELECT 'store', purpose, external_id, entry_id, 'payments', true, '127.0.0.1', gen_random_uuid() FROM stored;
