-- Triggers and views. migrate runs this file after the schema and its steps, and whenever its text has changed.

-- Logs only grow. A row cannot be replaced either (INSERT OR REPLACE).

-- The rows that may be deleted: archived, and needed by nothing. proof.archive_record has the same list of operations. The rows
-- that stored an entry that exists stay, in its first and in its present version, and so do retrievals that moved its expiry, and
-- the purge of an entry with a row.
DROP VIEW IF EXISTS droppable_access;
CREATE VIEW droppable_access AS
SELECT a.position FROM access_log AS a
WHERE a.position <= (SELECT coalesce(max(access_through), 0) FROM log_archives)
  AND CASE
      WHEN a.outcome = 'granted' AND (a.operation IN ('store', 'update', 'import')
          OR a.operation = 'retrieve' AND a.detail LIKE '%, entry sha256:%')
      THEN NOT EXISTS (
          SELECT 1 FROM entries AS e
          WHERE e.purpose = a.purpose AND e.external_id = a.external_id AND e.entry_id = a.entry_id
            AND e.purged_at IS NULL AND (a.entry_version = 1 OR a.entry_version = e.version)
      )
      ELSE a.outcome = 'denied' AND a.operation <> 'sweep' OR a.operation IN (
          'store', 'update', 'import', 'retrieve', 'inspect', 'list', 'purge', 'authenticate', 'read-access-policy',
          'read-retention-policy', 'preview-retention-policy', 'read-api-key', 'explain-access', 'replay-access-policy',
          'read-legal-hold', 'read-access-log', 'read-purge-log', 'read-key-refs', 'read-report',
          'read-transparency-log', 'read-receipt', 'read-controls', 'read-attestation', 'sign-in', 'sign-out',
          'read-sessions', 'end-session', 'read-page', 'submit-page', 'unknown'
      )
  END;

DROP VIEW IF EXISTS droppable_purge;
CREATE VIEW droppable_purge AS
SELECT p.position FROM purge_log AS p
WHERE p.position <= (SELECT coalesce(max(purge_through), 0) FROM log_archives)
  AND (p.method = 'replace' OR NOT EXISTS (
      SELECT 1 FROM entries AS e
      WHERE e.purpose = p.purpose AND e.external_id = p.external_id AND e.entry_id = p.entry_id
  ));

DROP TRIGGER IF EXISTS log_archives_no_update;
CREATE TRIGGER log_archives_no_update BEFORE UPDATE ON log_archives
BEGIN SELECT RAISE(ABORT, 'log_archives is append-only'); END;

DROP TRIGGER IF EXISTS log_archives_no_delete;
CREATE TRIGGER log_archives_no_delete BEFORE DELETE ON log_archives
BEGIN SELECT RAISE(ABORT, 'log_archives is append-only'); END;

DROP TRIGGER IF EXISTS log_archives_in_order;
CREATE TRIGGER log_archives_in_order BEFORE INSERT ON log_archives
WHEN NEW.number <> (SELECT coalesce(max(number), 0) + 1 FROM log_archives)
  OR NEW.first_index <> (SELECT coalesce(max(end_index), 0) FROM log_archives)
  OR NEW.access_through < (SELECT coalesce(max(access_through), 0) FROM log_archives)
  OR NEW.purge_through < (SELECT coalesce(max(purge_through), 0) FROM log_archives)
BEGIN SELECT RAISE(ABORT, 'log_archives is append-only'); END;

DROP TRIGGER IF EXISTS access_log_no_update;
CREATE TRIGGER access_log_no_update BEFORE UPDATE ON access_log
BEGIN SELECT RAISE(ABORT, 'access_log is append-only'); END;

DROP TRIGGER IF EXISTS access_log_no_delete;
CREATE TRIGGER access_log_no_delete BEFORE DELETE ON access_log
WHEN NOT EXISTS (SELECT 1 FROM droppable_access WHERE position = OLD.position)
BEGIN SELECT RAISE(ABORT, 'access_log is append-only'); END;

DROP TRIGGER IF EXISTS access_log_no_replace;
CREATE TRIGGER access_log_no_replace BEFORE INSERT ON access_log
WHEN EXISTS (SELECT 1 FROM access_log WHERE position = NEW.position)
BEGIN SELECT RAISE(ABORT, 'access_log is append-only'); END;

DROP TRIGGER IF EXISTS purge_log_no_update;
CREATE TRIGGER purge_log_no_update BEFORE UPDATE ON purge_log
BEGIN SELECT RAISE(ABORT, 'purge_log is append-only'); END;

DROP TRIGGER IF EXISTS purge_log_no_delete;
CREATE TRIGGER purge_log_no_delete BEFORE DELETE ON purge_log
WHEN NOT EXISTS (SELECT 1 FROM droppable_purge WHERE position = OLD.position)
BEGIN SELECT RAISE(ABORT, 'purge_log is append-only'); END;

DROP TRIGGER IF EXISTS purge_log_no_replace;
CREATE TRIGGER purge_log_no_replace BEFORE INSERT ON purge_log
WHEN EXISTS (
    SELECT 1 FROM purge_log
    WHERE position = NEW.position OR purge_id = NEW.purge_id
       OR (entry_id = NEW.entry_id AND entry_version = NEW.entry_version)
)
BEGIN SELECT RAISE(ABORT, 'purge_log is append-only'); END;

DROP TRIGGER IF EXISTS leaves_no_update;
CREATE TRIGGER leaves_no_update BEFORE UPDATE ON leaves
BEGIN SELECT RAISE(ABORT, 'leaves is append-only'); END;

DROP TRIGGER IF EXISTS leaves_no_delete;
CREATE TRIGGER leaves_no_delete BEFORE DELETE ON leaves
WHEN OLD.leaf_index >= (SELECT coalesce(max(end_index), 0) FROM log_archives)
  OR CASE OLD.log
      WHEN 'access' THEN EXISTS (SELECT 1 FROM access_log WHERE position = OLD.position)
      ELSE EXISTS (SELECT 1 FROM purge_log WHERE position = OLD.position)
  END
BEGIN SELECT RAISE(ABORT, 'leaves is append-only'); END;

DROP TRIGGER IF EXISTS leaves_no_replace;
CREATE TRIGGER leaves_no_replace BEFORE INSERT ON leaves
WHEN EXISTS (SELECT 1 FROM leaves WHERE leaf_index = NEW.leaf_index)
  OR (NEW.log = 'purge' AND EXISTS (SELECT 1 FROM leaves WHERE log = 'purge' AND position = NEW.position))
BEGIN SELECT RAISE(ABORT, 'leaves is append-only'); END;

DROP TRIGGER IF EXISTS control_changes_no_update;
CREATE TRIGGER control_changes_no_update BEFORE UPDATE ON control_changes
BEGIN SELECT RAISE(ABORT, 'control_changes is append-only'); END;

DROP TRIGGER IF EXISTS control_changes_no_delete;
CREATE TRIGGER control_changes_no_delete BEFORE DELETE ON control_changes
BEGIN SELECT RAISE(ABORT, 'control_changes is append-only'); END;

DROP TRIGGER IF EXISTS control_changes_no_replace;
CREATE TRIGGER control_changes_no_replace BEFORE INSERT ON control_changes
WHEN EXISTS (SELECT 1 FROM control_changes WHERE name = NEW.name AND number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'control_changes is append-only'); END;

DROP TRIGGER IF EXISTS attestations_no_update;
CREATE TRIGGER attestations_no_update BEFORE UPDATE ON attestations
BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END;

DROP TRIGGER IF EXISTS attestations_no_delete;
CREATE TRIGGER attestations_no_delete BEFORE DELETE ON attestations
BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END;

DROP TRIGGER IF EXISTS attestations_no_replace;
CREATE TRIGGER attestations_no_replace BEFORE INSERT ON attestations
WHEN EXISTS (SELECT 1 FROM attestations WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END;

DROP TRIGGER IF EXISTS access_reviews_no_update;
CREATE TRIGGER access_reviews_no_update BEFORE UPDATE ON access_reviews
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

DROP TRIGGER IF EXISTS access_reviews_no_delete;
CREATE TRIGGER access_reviews_no_delete BEFORE DELETE ON access_reviews
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

DROP TRIGGER IF EXISTS access_reviews_no_replace;
CREATE TRIGGER access_reviews_no_replace BEFORE INSERT ON access_reviews
WHEN EXISTS (SELECT 1 FROM access_reviews WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

DROP TRIGGER IF EXISTS checkpoints_no_update;
CREATE TRIGGER checkpoints_no_update BEFORE UPDATE ON checkpoints
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;

-- Checkpoints are thinned: of those that are older than a day the last of each hour stays, of those that are older than 90 days
-- the last of each day (UTC). Times are in microseconds. The clock counts whole seconds.

DROP TRIGGER IF EXISTS checkpoints_no_delete;
CREATE TRIGGER checkpoints_no_delete BEFORE DELETE ON checkpoints
WHEN NOT coalesce((
    SELECT (OLD.signed_at < (strftime('%s', 'now') - 86400) * 1000000
            AND OLD.signed_at / 3600000000 = following.signed_at / 3600000000)
        OR (OLD.signed_at < (strftime('%s', 'now') - 7776000) * 1000000
            AND OLD.signed_at / 86400000000 = following.signed_at / 86400000000)
    FROM checkpoints AS following WHERE following.size > OLD.size ORDER BY following.size LIMIT 1
), 0)
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;

DROP TRIGGER IF EXISTS checkpoints_no_replace;
CREATE TRIGGER checkpoints_no_replace BEFORE INSERT ON checkpoints
WHEN EXISTS (SELECT 1 FROM checkpoints WHERE size = NEW.size)
BEGIN SELECT RAISE(ABORT, 'checkpoints is append-only'); END;

-- Rows of the logs as they are counted. A lag is null if the purge was before the expiry.

DROP VIEW IF EXISTS access_units;
CREATE VIEW access_units AS
SELECT position, at, operation, outcome, reason, purpose, app, role, 1 AS row_count, count AS event_count,
       app IS NULL AS without_app, client_address IS NULL AND method IS NOT 'system' AS without_origin,
       operation IN ('store', 'retrieve', 'inspect', 'purge') AND external_id IS NULL AND detail IS NULL AS without_subject,
       app IS NOT NULL AND identity IS NULL AND method IS NOT 'system' AS without_identity
FROM access_log;

DROP VIEW IF EXISTS purge_units;
CREATE VIEW purge_units AS
SELECT position, purged_at AS at, purpose, reason, method, key_ref,
       CASE WHEN purged_at >= expired_at THEN purged_at - expired_at END AS lag,
       CASE WHEN purged_at >= expired_at THEN (
           SELECT min(s.up_to) FROM lag_steps AS s WHERE s.up_to >= purged_at - expired_at
       ) END AS up_to
FROM purge_log;

-- Rows of the logs as they are counted by day, in UTC.

DROP VIEW IF EXISTS access_days;
CREATE VIEW access_days AS
SELECT position, at, at / 86400000000 AS day, outcome = 'granted' AND operation = 'store' AS stored,
       outcome = 'granted' AND operation = 'retrieve' AS retrieved, CASE outcome WHEN 'denied' THEN count ELSE 0 END AS denied
FROM access_log;

DROP VIEW IF EXISTS purge_days;
CREATE VIEW purge_days AS
SELECT position, purged_at AS at, purged_at / 86400000000 AS day, 1 AS purged FROM purge_log;

-- The change of the counts if entry_count entries of a kind are added, or removed if it is below zero. REPLACE would remove an entry
-- without a trigger, so no statement may store entries by it.

DROP VIEW IF EXISTS entry_changes;
CREATE VIEW entry_changes AS
SELECT purpose, key_ref, algorithm_hint, access_policy, owner_app, created_at, expires_at, 0 AS entry_count FROM entries;

DROP TRIGGER IF EXISTS entry_changes_tallied;
CREATE TRIGGER entry_changes_tallied INSTEAD OF INSERT ON entry_changes BEGIN
    INSERT INTO holding_tallies (
        purpose, access_policy, owner_app, algorithm_hint, created_day, expires_day, entry_count
    )
    VALUES (
        NEW.purpose, NEW.access_policy, NEW.owner_app, coalesce('=' || NEW.algorithm_hint, ''),
        (NEW.created_at + 62135596800000000) / 86400000000, (NEW.expires_at + 62135596800000000) / 86400000000,
        NEW.entry_count
    )
    ON CONFLICT (purpose, access_policy, owner_app, algorithm_hint, created_day, expires_day)
    DO UPDATE SET entry_count = entry_count + excluded.entry_count;

    INSERT INTO key_tallies (purpose, key_ref, access_policy, created_day, expires_day, entry_count)
    VALUES (
        NEW.purpose, coalesce('=' || NEW.key_ref, ''), NEW.access_policy,
        (NEW.created_at + 62135596800000000) / 86400000000, (NEW.expires_at + 62135596800000000) / 86400000000,
        NEW.entry_count
    )
    ON CONFLICT (purpose, key_ref, access_policy, created_day, expires_day)
    DO UPDATE SET entry_count = entry_count + excluded.entry_count;

    DELETE FROM holding_tallies
    WHERE NEW.entry_count < 0 AND entry_count = 0 AND purpose = NEW.purpose AND access_policy = NEW.access_policy
      AND owner_app = NEW.owner_app AND algorithm_hint = coalesce('=' || NEW.algorithm_hint, '')
      AND created_day = (NEW.created_at + 62135596800000000) / 86400000000
      AND expires_day = (NEW.expires_at + 62135596800000000) / 86400000000;

    DELETE FROM key_tallies
    WHERE NEW.entry_count < 0 AND entry_count = 0 AND purpose = NEW.purpose
      AND key_ref = coalesce('=' || NEW.key_ref, '') AND access_policy = NEW.access_policy
      AND created_day = (NEW.created_at + 62135596800000000) / 86400000000
      AND expires_day = (NEW.expires_at + 62135596800000000) / 86400000000;
END;

DROP TRIGGER IF EXISTS entries_added;
CREATE TRIGGER entries_added AFTER INSERT ON entries WHEN NEW.purged_at IS NULL BEGIN
    INSERT INTO entry_changes VALUES (
        NEW.purpose, NEW.key_ref, NEW.algorithm_hint, NEW.access_policy, NEW.owner_app, NEW.created_at, NEW.expires_at, 1
    );
END;

DROP TRIGGER IF EXISTS entries_removed;
CREATE TRIGGER entries_removed AFTER DELETE ON entries WHEN OLD.purged_at IS NULL BEGIN
    INSERT INTO entry_changes VALUES (
        OLD.purpose, OLD.key_ref, OLD.algorithm_hint, OLD.access_policy, OLD.owner_app, OLD.created_at, OLD.expires_at, -1
    );
END;

-- A changed entry is removed as it was, if it counted, and added as it is, if it counts.

DROP TRIGGER IF EXISTS entries_changed;
CREATE TRIGGER entries_changed AFTER UPDATE OF
    purpose, key_ref, algorithm_hint, access_policy, owner_app, created_at, expires_at, purged_at
ON entries WHEN (
    OLD.purged_at IS NULL, OLD.purpose, OLD.key_ref, OLD.algorithm_hint, OLD.access_policy, OLD.owner_app,
    (OLD.created_at + 62135596800000000) / 86400000000, (OLD.expires_at + 62135596800000000) / 86400000000
) IS NOT (
    NEW.purged_at IS NULL, NEW.purpose, NEW.key_ref, NEW.algorithm_hint, NEW.access_policy, NEW.owner_app,
    (NEW.created_at + 62135596800000000) / 86400000000, (NEW.expires_at + 62135596800000000) / 86400000000
) BEGIN
    INSERT INTO entry_changes
    SELECT OLD.purpose, OLD.key_ref, OLD.algorithm_hint, OLD.access_policy, OLD.owner_app, OLD.created_at, OLD.expires_at, -1
    WHERE OLD.purged_at IS NULL;
    INSERT INTO entry_changes
    SELECT NEW.purpose, NEW.key_ref, NEW.algorithm_hint, NEW.access_policy, NEW.owner_app, NEW.created_at, NEW.expires_at, 1
    WHERE NEW.purged_at IS NULL;
END;
