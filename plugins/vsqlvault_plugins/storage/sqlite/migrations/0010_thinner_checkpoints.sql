-- One checkpoint a second is 31 million a year. Those that the next one stands for may go: never before they are a day old, then
-- all but the last of each hour, and after 90 days all but the last of each day (UTC). Nothing else of the table changes.
-- Times are in microseconds; the clock counts in whole seconds.

DROP TRIGGER checkpoints_no_delete;

CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints
WHEN NOT coalesce((
    SELECT (OLD.signed_at < (strftime('%s', 'now') - 86400) * 1000000
            AND OLD.signed_at / 3600000000 = following.signed_at / 3600000000)
        OR (OLD.signed_at < (strftime('%s', 'now') - 7776000) * 1000000
            AND OLD.signed_at / 86400000000 = following.signed_at / 86400000000)
    FROM checkpoints AS following WHERE following.size > OLD.size ORDER BY following.size LIMIT 1
), 0)
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;

UPDATE schema_version SET version = 10;
