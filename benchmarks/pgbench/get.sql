\set id random(:first, :last)
WITH found AS MATERIALIZED (
    SELECT * FROM bare.entries WHERE purpose = 'card' AND external_id = 'e' || :id
), logged AS (
    INSERT INTO bare.access_log (operation, purpose, external_id, entry_id, caller_app, granted, client_ip, request_id)
    SELECT 'retrieve', purpose, external_id, entry_id, 'payments', true, '127.0.0.1', gen_random_uuid() FROM found
)
SELECT * FROM found;
