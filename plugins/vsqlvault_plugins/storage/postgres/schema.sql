-- The schema of a new database. An older database gets to the same by the steps in migrations/.
-- Functions, triggers and views are in functions.sql, which is run after this file.
-- Keys compare byte by byte (COLLATE "C"), independent of the database's locale. Ciphertext is stored uncompressed, because it
-- does not compress.

CREATE SCHEMA vault;

-- The version of the schema, and the SHA-256 digest of functions.sql as it was last run.
CREATE TABLE vault.schema_version (
    version   integer NOT NULL,
    functions text
);

-- The revision of the rules. Each change of a policy, a key or a hold raises it.
CREATE TABLE vault.rulebook (
    only_row integer PRIMARY KEY CHECK (only_row = 1),
    revision bigint  NOT NULL
);
INSERT INTO vault.rulebook (only_row, revision) VALUES (1, 1);

-- How many shards the rows of entries and of the logs are in. It never changes. The shard of an entry follows from its purpose and
-- external_id, that of a row without an entry from its request_id. The program computes it (docs/decisions/0040-shards.md).
CREATE TABLE vault.sharding (
    only_row integer PRIMARY KEY CHECK (only_row = 1),
    shards   integer NOT NULL CHECK (shards BETWEEN 1 AND 64)
);
INSERT INTO vault.sharding (only_row, shards) VALUES (1, 1);

-- The high-water mark: the time of the vault is never before it.
CREATE TABLE vault.clock (
    only_row integer PRIMARY KEY CHECK (only_row = 1),
    mark     timestamptz
);
INSERT INTO vault.clock (only_row, mark) VALUES (1, NULL);

CREATE TABLE vault.entries (
    purpose         text        COLLATE "C" NOT NULL,
    external_id     text        COLLATE "C" NOT NULL,
    entry_id        text        COLLATE "C" NOT NULL,
    version         bigint      NOT NULL,
    encoding        text        NOT NULL,
    value_sha256    text        NOT NULL,
    value_size      bigint      NOT NULL,
    algorithm_hint  text,
    key_ref         text        COLLATE "C",
    metadata        text        NOT NULL,
    owner_app       text        NOT NULL,
    owner_identity  text,
    access_policy   text        COLLATE "C" NOT NULL,
    created_at      timestamptz NOT NULL,
    updated_at      timestamptz NOT NULL,
    expires_at      timestamptz NOT NULL,
    retrievals      bigint      NOT NULL DEFAULT 0,
    purged_at       timestamptz,
    purge_method    text,
    encrypted_value bytea       NOT NULL,
    shard           integer     NOT NULL,
    PRIMARY KEY (purpose, external_id, shard)
) PARTITION BY HASH (external_id);
ALTER TABLE vault.entries ALTER COLUMN encrypted_value SET STORAGE EXTERNAL;

-- Sixteen parts, so that one can be rewritten without locking the others for long. Each page keeps room for the next version of
-- a row, which then needs no new index entry.
DO $$
BEGIN
    FOR part IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE vault.%I PARTITION OF vault.entries FOR VALUES WITH (MODULUS 16, REMAINDER %s) WITH (fillfactor = 80)',
            'entries_' || lpad(part::text, 2, '0'), part
        );
    END LOOP;
END
$$;

-- A sweep goes through expired entries in the order of these two indexes, after a place in it.
CREATE INDEX entries_by_expiry ON vault.entries (purpose, expires_at, external_id) WHERE purged_at IS NULL;
CREATE INDEX entries_by_creation ON vault.entries (purpose, created_at, external_id) WHERE purged_at IS NULL;
-- The entries of a key, in the order of their ids. The key inventory and the report read this index alone.
CREATE INDEX entries_by_key_ref ON vault.entries (purpose, key_ref, external_id)
INCLUDE (expires_at, created_at, updated_at, algorithm_hint, access_policy, owner_app) WHERE purged_at IS NULL;
-- The oldest and the newest value of each key. The condition on the policy is always met. It keeps this index from statements
-- that have no condition on the policy, because they would read all of it.
CREATE INDEX entries_by_access_policy ON vault.entries (access_policy, purpose, key_ref, updated_at) INCLUDE (created_at)
WHERE purged_at IS NULL AND access_policy IS NOT NULL;

CREATE TABLE vault.access_policies (
    name        text        COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    evaluator   text        NOT NULL,
    rules       text        NOT NULL,
    parameters  text        NOT NULL,
    description text,
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    dropped     boolean     NOT NULL DEFAULT false,
    PRIMARY KEY (name, version)
);

CREATE TABLE vault.retention_policies (
    purpose                 text        COLLATE "C" NOT NULL,
    version                 bigint      NOT NULL,
    max_retention_days      integer     NOT NULL,
    default_ttl_days        integer,
    purge_method            text        NOT NULL,
    description             text,
    justification           text,
    legal_basis             text,
    data_class              text,
    created_by              text        NOT NULL,
    created_at              timestamptz NOT NULL,
    allowed_access_policies text[],
    max_value_bytes         integer,
    required_metadata       text[],
    inactivity_days         integer,
    PRIMARY KEY (purpose, version)
);

-- A key's first version grants, its second version revokes.
CREATE TABLE vault.api_keys (
    key_id      text        COLLATE "C" NOT NULL,
    version     bigint      NOT NULL,
    digest      text        NOT NULL CHECK (length(digest) = 64),
    app         text        NOT NULL,
    identity    text,
    purposes    text,
    roles       text        NOT NULL,
    description text,
    expires_at  timestamptz,
    created_by  text        NOT NULL,
    created_at  timestamptz NOT NULL,
    revoked_by  text,
    revoked_at  timestamptz,
    PRIMARY KEY (key_id, version)
);

CREATE TABLE vault.credential_uses (
    method        text        COLLATE "C" NOT NULL,
    credential_id text        COLLATE "C" NOT NULL,
    first_used_at timestamptz NOT NULL,
    last_used_at  timestamptz NOT NULL,
    PRIMARY KEY (method, credential_id)
);

-- The newest version of a name is in force unless it is released. A column of the selector is null if the hold does not select
-- by it.
CREATE TABLE vault.legal_holds (
    name           text        COLLATE "C" NOT NULL,
    version        bigint      NOT NULL,
    case_reference text        NOT NULL,
    reason         text        NOT NULL,
    purpose        text,
    external_id    text,
    owner_app      text,
    metadata       text,
    held_since     timestamptz NOT NULL,
    created_by     text        NOT NULL,
    created_at     timestamptz NOT NULL,
    released_by    text,
    released_at    timestamptz,
    PRIMARY KEY (name, version),
    CHECK (coalesce(purpose, external_id, owner_app, metadata) IS NOT NULL),
    CHECK ((released_by IS NULL) = (released_at IS NULL))
);

CREATE TABLE vault.access_log (
    position             bigint      GENERATED ALWAYS AS IDENTITY,
    at                   timestamptz NOT NULL,
    request_id           text        NOT NULL,
    operation            text        NOT NULL,
    outcome              text        NOT NULL CHECK (outcome IN ('granted', 'denied')),
    status               integer     NOT NULL,
    purpose              text        COLLATE "C",
    external_id          text        COLLATE "C",
    entry_id             text,
    entry_version        bigint,
    app                  text,
    identity             text,
    method               text,
    credential_id        text,
    client_address       text,
    untrusted_forwarding boolean     NOT NULL DEFAULT false,
    reason               text,
    policy               text,
    policy_version       bigint,
    count                bigint      NOT NULL DEFAULT 1 CHECK (count >= 1),
    detail               text,
    old_value            text,
    new_value            text,
    leaf_hash            bytea       CHECK (length(leaf_hash) = 32),
    role                 text,
    shard                integer     NOT NULL,
    PRIMARY KEY (position, shard)
);
CREATE INDEX access_log_by_time ON vault.access_log USING brin (at);
CREATE INDEX access_log_by_entry ON vault.access_log (external_id, purpose);
-- The revocations of API keys, so that a key whose revoking version was deleted is refused.
CREATE INDEX access_log_of_revocations ON vault.access_log (detail)
WHERE operation = 'revoke-api-key' AND outcome = 'granted';

CREATE TABLE vault.purge_log (
    position         bigint      GENERATED ALWAYS AS IDENTITY,
    purge_id         text        COLLATE "C" NOT NULL,
    purpose          text        COLLATE "C" NOT NULL,
    external_id      text        COLLATE "C" NOT NULL,
    entry_id         text        COLLATE "C" NOT NULL,
    entry_version    bigint      NOT NULL,
    method           text        NOT NULL,
    reason           text        NOT NULL,
    policy_reference text,
    proof_hash       text        NOT NULL CHECK (length(proof_hash) = 64),
    value_size       bigint      NOT NULL,
    key_ref          text,
    owner_app        text        NOT NULL,
    purged_at        timestamptz NOT NULL,
    expired_at       timestamptz NOT NULL,
    app              text        NOT NULL,
    identity         text,
    request_id       text        NOT NULL,
    leaf_hash        bytea       CHECK (length(leaf_hash) = 32),
    shard            integer     NOT NULL,
    PRIMARY KEY (position, shard),
    UNIQUE (external_id, entry_id, entry_version, shard),
    UNIQUE (purge_id, external_id, shard)
);
CREATE INDEX purge_log_by_time ON vault.purge_log USING brin (purged_at);
CREATE INDEX purge_log_without_proof ON vault.purge_log (position) WHERE length(proof_hash) <> 64;
-- The lag of a rank, for the report.
CREATE INDEX purge_log_by_lag ON vault.purge_log ((purged_at - expired_at)) INCLUDE (purged_at, expired_at, purpose);

-- The transparency log: which row is which leaf, the tree's tiles, and its signed heads.
CREATE TABLE vault.leaves (
    leaf_index bigint PRIMARY KEY,
    log        text   COLLATE "C" NOT NULL CHECK (log IN ('access', 'purge')),
    position   bigint NOT NULL
);
-- For receipts. The last leaf of a log has its highest position, so no other leaf is looked up by its position.
CREATE UNIQUE INDEX leaves_of_purges ON vault.leaves (position) WHERE log = 'purge';

-- A tile grows until it is full. Each page keeps room for its next length.
CREATE TABLE vault.tiles (
    level      integer NOT NULL,
    tile_index bigint  NOT NULL,
    hashes     bytea   NOT NULL,
    PRIMARY KEY (level, tile_index)
) WITH (fillfactor = 70);
ALTER TABLE vault.tiles ALTER COLUMN hashes SET STORAGE EXTERNAL;

CREATE TABLE vault.checkpoints (
    size      bigint      PRIMARY KEY,
    origin    text        NOT NULL,
    root_hash bytea       NOT NULL CHECK (length(root_hash) = 32),
    note      text        NOT NULL,
    signed_at timestamptz NOT NULL
);

CREATE TABLE vault.sweeps (
    sweep_id    text        PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    started_by  text        NOT NULL,
    purged      bigint      NOT NULL,
    failed      bigint      NOT NULL,
    completed   boolean     NOT NULL,
    held        bigint      NOT NULL DEFAULT 0
);
CREATE INDEX sweeps_by_time ON vault.sweeps (finished_at);

-- The bytes of every row of the purge log up to "through" are no longer in the data files.
CREATE TABLE vault.scrubs (
    scrub_id    text        PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    started_by  text        NOT NULL,
    through     bigint      NOT NULL,
    rewritten   bigint      NOT NULL,
    completed   boolean     NOT NULL,
    undone      text
);
CREATE INDEX scrubs_by_time ON vault.scrubs (finished_at);
CREATE INDEX scrubs_by_reach ON vault.scrubs (through, finished_at);

-- The same for each part of entries.
CREATE TABLE vault.scrubbed (
    part    integer PRIMARY KEY,
    through bigint  NOT NULL
) WITH (fillfactor = 50);
INSERT INTO vault.scrubbed (part, through) SELECT part, 0 FROM generate_series(0, 15) AS part;

CREATE TABLE vault.leases (
    name       text        PRIMARY KEY,
    holder     text        NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE vault.secrets (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);

-- How far each observer and purge method has received the rows of the logs.
CREATE TABLE vault.cursors (
    name     text   PRIMARY KEY,
    position bigint NOT NULL
) WITH (fillfactor = 50);

-- The changes of each control. The newest of a name is its present state.
CREATE TABLE vault.control_changes (
    name   text        COLLATE "C" NOT NULL,
    number bigint      NOT NULL,
    state  text        NOT NULL,
    at     timestamptz NOT NULL,
    detail text        NOT NULL,
    PRIMARY KEY (name, number)
);
CREATE INDEX control_changes_by_time ON vault.control_changes (at);

CREATE TABLE vault.attestations (
    number   bigint      PRIMARY KEY,
    at       timestamptz NOT NULL,
    is_clean boolean     NOT NULL,
    document text        NOT NULL,
    note     text
);

-- Access reviews, as they were signed. The purpose is null for a review of all.
CREATE TABLE vault.access_reviews (
    number   bigint      PRIMARY KEY,
    at       timestamptz NOT NULL,
    purpose  text        COLLATE "C",
    due_at   timestamptz NOT NULL,
    document text        NOT NULL,
    note     text
);
CREATE INDEX access_reviews_by_purpose ON vault.access_reviews (purpose, at, number);

-- Archives of the log: which leaves have their rows outside the vault. Rows of the logs can be deleted below their end, and only
-- those that nothing needs.
CREATE TABLE vault.log_archives (
    number         bigint      PRIMARY KEY,
    first_index    bigint      NOT NULL,
    end_index      bigint      NOT NULL CHECK (end_index > first_index),
    access_through bigint      NOT NULL,
    purge_through  bigint      NOT NULL,
    at             timestamptz NOT NULL,
    document       text        NOT NULL
);

-- Counts of the logs for the report, by block. A block is 8,192 positions of a log. It is counted once, when all its rows are
-- leaves, because then none can be added and none can change. If these seven tables are emptied, the blocks are counted again.

-- first_at and last_at are of the times of the block's rows, and null if it has none.
CREATE TABLE vault.log_blocks (
    log      text        COLLATE "C" NOT NULL CHECK (log IN ('access', 'purge')),
    block    bigint      NOT NULL,
    first_at timestamptz,
    last_at  timestamptz,
    PRIMARY KEY (log, block)
);

CREATE TABLE vault.access_tallies (
    block            bigint      NOT NULL,
    operation        text        NOT NULL,
    outcome          text        NOT NULL,
    reason           text,
    purpose          text        COLLATE "C",
    app              text,
    role             text,
    row_count        bigint      NOT NULL,
    event_count      bigint      NOT NULL,
    first_at         timestamptz NOT NULL,
    last_at          timestamptz NOT NULL,
    without_app      bigint      NOT NULL,
    without_origin   bigint      NOT NULL,
    without_subject  bigint      NOT NULL,
    without_identity bigint      NOT NULL
);
CREATE INDEX access_tallies_by_block ON vault.access_tallies (block);

CREATE TABLE vault.purge_tallies (
    block     bigint NOT NULL,
    purpose   text   COLLATE "C" NOT NULL,
    reason    text   NOT NULL,
    method    text   NOT NULL,
    row_count bigint NOT NULL
);
CREATE INDEX purge_tallies_by_block ON vault.purge_tallies (block);

CREATE TABLE vault.purged_key_tallies (
    block   bigint      NOT NULL,
    purpose text        COLLATE "C" NOT NULL,
    key_ref text        NOT NULL,
    last_at timestamptz NOT NULL
);
CREATE INDEX purged_key_tallies_by_block ON vault.purged_key_tallies (block);

CREATE TABLE vault.lag_tallies (
    block     bigint   NOT NULL,
    purpose   text     COLLATE "C" NOT NULL,
    up_to     interval NOT NULL,
    row_count bigint   NOT NULL,
    longest   interval NOT NULL
);
CREATE INDEX lag_tallies_by_block ON vault.lag_tallies (block);

-- The activity of each day, in UTC, by block.
CREATE TABLE vault.access_day_tallies (
    block     bigint NOT NULL,
    day       date   NOT NULL,
    stored    bigint NOT NULL,
    retrieved bigint NOT NULL,
    denied    bigint NOT NULL
);
CREATE INDEX access_day_tallies_by_block ON vault.access_day_tallies (block);

CREATE TABLE vault.purge_day_tallies (
    block  bigint NOT NULL,
    day    date   NOT NULL,
    purged bigint NOT NULL
);
CREATE INDEX purge_day_tallies_by_block ON vault.purge_day_tallies (block);

-- A lag is counted by the first of these that it does not exceed: sixteen steps from each power of two of seconds to the next,
-- and the bounds of the report's histogram.
CREATE TABLE vault.lag_steps (up_to interval PRIMARY KEY);
INSERT INTO vault.lag_steps (up_to)
SELECT interval '0' UNION SELECT interval '1 second'
UNION
SELECT interval '1 second' * (2::bigint ^ octave * (1 + step / 16.0))
FROM generate_series(0, 38) AS octave CROSS JOIN generate_series(1, 16) AS step
UNION
SELECT interval '1 second' * seconds FROM unnest(ARRAY[3600, 21600, 86400, 172800, 604800, 2592000]) AS seconds;

-- Counts of the entries that are not purged, for the report. Triggers add each change of entries to entry_deltas, in the same
-- transaction and without waiting for another one. From time to time the deltas are merged into the tallies. All of this can be
-- counted from the entries again. Days are UTC dates. A text that may be missing is empty in a tally if it is missing, and
-- otherwise begins with an equals sign.

CREATE TABLE vault.entry_deltas (
    purpose        text    COLLATE "C" NOT NULL,
    key_ref        text    COLLATE "C",
    algorithm_hint text,
    access_policy  text    COLLATE "C" NOT NULL,
    owner_app      text    NOT NULL,
    created_on     date    NOT NULL,
    expires_on     date    NOT NULL,
    entry_count    integer NOT NULL,
    shard          integer NOT NULL
);

CREATE TABLE vault.holding_tallies (
    purpose        text    COLLATE "C" NOT NULL,
    access_policy  text    COLLATE "C" NOT NULL,
    owner_app      text    COLLATE "C" NOT NULL,
    algorithm_hint text    COLLATE "C" NOT NULL,
    created_on     date    NOT NULL,
    expires_on     date    NOT NULL,
    entry_count    integer NOT NULL,
    PRIMARY KEY (purpose, access_policy, owner_app, algorithm_hint, created_on, expires_on)
);
CREATE INDEX holding_tallies_empty ON vault.holding_tallies (purpose) WHERE entry_count = 0;

CREATE TABLE vault.key_tallies (
    purpose       text    COLLATE "C" NOT NULL,
    key_ref       text    COLLATE "C" NOT NULL,
    access_policy text    COLLATE "C" NOT NULL,
    created_on    date    NOT NULL,
    expires_on    date    NOT NULL,
    entry_count   integer NOT NULL,
    PRIMARY KEY (purpose, key_ref, access_policy, created_on, expires_on)
);
CREATE INDEX key_tallies_empty ON vault.key_tallies (purpose) WHERE entry_count = 0;

-- The arguments of commit_batch. "write" counts the writes of a batch from 1, "place" the expectations of a write.

CREATE TYPE vault.expectation AS (
    write int, place int, kind text, purpose text, external_id text, subject text, number bigint,
    shard int
);
CREATE TYPE vault.entry_put AS (
    write int, fresh boolean, purpose text, external_id text, entry_id text, version bigint, encoding text,
    value_sha256 text, value_size bigint, algorithm_hint text, key_ref text, metadata text, owner_app text,
    owner_identity text, access_policy text, created_at timestamptz, updated_at timestamptz, expires_at timestamptz,
    retrievals bigint, purged_at timestamptz, purge_method text, encrypted_value bytea, shard int
);
CREATE TYPE vault.entry_key AS (
    write int, purpose text, external_id text, shard int
);
CREATE TYPE vault.entry_overwrite AS (
    write int, purpose text, external_id text, filler bytea, purged_at timestamptz, method text, shard int
);
CREATE TYPE vault.access_row AS (
    write int, at timestamptz, request_id text, operation text, outcome text, status int, purpose text, external_id text,
    entry_id text, entry_version bigint, app text, identity text, method text, credential_id text, client_address text,
    untrusted_forwarding boolean, reason text, policy text, policy_version bigint, count bigint, detail text,
    old_value text, new_value text, leaf_hash bytea, role text, shard int
);
CREATE TYPE vault.purge_row AS (
    write int, purge_id text, purpose text, external_id text, entry_id text, entry_version bigint, method text,
    reason text, policy_reference text, proof_hash text, value_size bigint, key_ref text, owner_app text,
    purged_at timestamptz, expired_at timestamptz, app text, identity text, request_id text, leaf_hash bytea, shard int
);
