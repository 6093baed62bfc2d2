-- A sweep goes through what has expired in the order of these indexes, and after a place in it: however many entries end at
-- one instant, and however many cannot be purged.
DROP INDEX vault.entries_by_expiry;
DROP INDEX vault.entries_by_creation;
CREATE INDEX entries_by_expiry ON vault.entries (purpose, expires_at, external_id) WHERE purged_at IS NULL;
CREATE INDEX entries_by_creation ON vault.entries (purpose, created_at, external_id) WHERE purged_at IS NULL;

-- Whether an entry that a batch expects is purged is asked inside CASE: outside, it would admit the partial indexes, and while
-- there are no statistics the planner takes those for all but empty, and reads the whole of one for every batch.
DO $$
BEGIN
    EXECUTE replace(
        pg_get_functiondef(to_regproc('vault.commit_batch')),
        'WHERE e.purged_at IS NULL AND CASE',
        'WHERE CASE WHEN e.purged_at IS NULL THEN true END AND CASE'
    );
END
$$;

-- The high-water mark: the vault's time never goes behind it. A vault that has run begins with the time of its newest row.
CREATE TABLE vault.clock (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    mark     timestamptz
);
INSERT INTO vault.clock (only_row, mark)
VALUES (1, (SELECT at FROM vault.access_log ORDER BY position DESC LIMIT 1));

UPDATE vault.schema_version SET version = 7;
