-- Entries and the rows of the logs have a shard. All present ones are in shard 0, the only one.
--
-- The columns are added without writing rows. Then five keys are built again, while requests wait: each reads its table once.
CREATE TABLE vault.sharding (
    only_row integer PRIMARY KEY CHECK (only_row = 1),
    shards   integer NOT NULL CHECK (shards BETWEEN 1 AND 64)
);
INSERT INTO vault.sharding (only_row, shards) VALUES (1, 1);

ALTER TABLE vault.entries ADD COLUMN shard integer NOT NULL DEFAULT 0;
ALTER TABLE vault.entries
    ALTER COLUMN shard DROP DEFAULT,
    DROP CONSTRAINT entries_pkey,
    ADD PRIMARY KEY (purpose, external_id, shard);

ALTER TABLE vault.access_log ADD COLUMN shard integer NOT NULL DEFAULT 0;
ALTER TABLE vault.access_log
    ALTER COLUMN shard DROP DEFAULT,
    DROP CONSTRAINT access_log_pkey,
    ADD PRIMARY KEY (position, shard);

ALTER TABLE vault.purge_log ADD COLUMN shard integer NOT NULL DEFAULT 0;
ALTER TABLE vault.purge_log
    ALTER COLUMN shard DROP DEFAULT,
    DROP CONSTRAINT purge_log_pkey,
    DROP CONSTRAINT purge_log_external_id_entry_id_entry_version_key,
    DROP CONSTRAINT purge_log_purge_id_external_id_key,
    ADD PRIMARY KEY (position, shard),
    ADD UNIQUE (external_id, entry_id, entry_version, shard),
    ADD UNIQUE (purge_id, external_id, shard);

ALTER TABLE vault.entry_deltas ADD COLUMN shard integer NOT NULL DEFAULT 0;
ALTER TABLE vault.entry_deltas ALTER COLUMN shard DROP DEFAULT;

-- The arguments of commit_batch.
ALTER TYPE vault.expectation ADD ATTRIBUTE shard int;
ALTER TYPE vault.entry_put ADD ATTRIBUTE shard int;
ALTER TYPE vault.entry_key ADD ATTRIBUTE shard int;
ALTER TYPE vault.entry_overwrite ADD ATTRIBUTE shard int;
ALTER TYPE vault.access_row ADD ATTRIBUTE shard int;
ALTER TYPE vault.purge_row ADD ATTRIBUTE shard int;

UPDATE vault.schema_version SET version = 24;
