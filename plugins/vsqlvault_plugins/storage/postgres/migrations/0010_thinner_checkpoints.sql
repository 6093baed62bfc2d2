-- One checkpoint a second is 31 million a year. Those that the next one stands for may go: never before they are a day old, then
-- all but the last of each hour, and after 90 days all but the last of each day (UTC). Nothing else of the table changes.

CREATE FUNCTION vault.refuse_thinner() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    signed    timestamp := OLD.signed_at AT TIME ZONE 'UTC';
    following timestamp;
    present   timestamp := clock_timestamp() AT TIME ZONE 'UTC';
BEGIN
    SELECT c.signed_at AT TIME ZONE 'UTC' INTO following
    FROM vault.checkpoints AS c WHERE c.size > OLD.size ORDER BY c.size LIMIT 1;
    IF signed < present - interval '1 day' AND date_trunc('hour', signed) = date_trunc('hour', following)
        OR signed < present - interval '90 days' AND date_trunc('day', signed) = date_trunc('day', following)
    THEN
        RETURN OLD;
    END IF;
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;

DROP TRIGGER checkpoints_append_only ON vault.checkpoints;
CREATE TRIGGER checkpoints_append_only BEFORE UPDATE OR TRUNCATE ON vault.checkpoints
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE TRIGGER checkpoints_thinned_by_rule BEFORE DELETE ON vault.checkpoints
    FOR EACH ROW EXECUTE FUNCTION vault.refuse_thinner();

UPDATE vault.schema_version SET version = 10;
