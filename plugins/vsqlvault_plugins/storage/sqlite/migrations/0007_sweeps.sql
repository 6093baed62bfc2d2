-- A sweep goes through what has expired in the order of these indexes, and after a place in it: however many entries end at
-- one instant, and however many cannot be purged.
DROP INDEX entries_by_expiry;
DROP INDEX entries_by_creation;
CREATE INDEX entries_by_expiry ON entries (purpose, expires_at, external_id) WHERE purged_at IS NULL;
CREATE INDEX entries_by_creation ON entries (purpose, created_at, external_id) WHERE purged_at IS NULL;

-- The high-water mark: the vault's time never goes behind it. A vault that has run begins with the time of its newest row.
CREATE TABLE clock (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    mark     INTEGER
);
INSERT INTO clock (only_row, mark)
VALUES (1, (SELECT at FROM access_log ORDER BY position DESC LIMIT 1));

UPDATE schema_version SET version = 7;
