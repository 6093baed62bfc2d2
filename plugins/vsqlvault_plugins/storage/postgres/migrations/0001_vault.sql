-- The five tables that were asked for, and what goes with them. Everything is in the schema vault.
-- Keys compare byte by byte (COLLATE "C"), whatever the database's locale. Ciphertext is kept uncompressed, for it does not
-- compress, and each unique key includes external_id, so that the tables could be distributed by it.

CREATE SCHEMA vault;

CREATE TABLE vault.schema_version (
    version integer NOT NULL
);
INSERT INTO vault.schema_version (version) VALUES (0);

CREATE TABLE vault.rulebook (
    only_row integer PRIMARY KEY CHECK (only_row = 1),
    revision bigint  NOT NULL
);
INSERT INTO vault.rulebook (only_row, revision) VALUES (1, 1);

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
    PRIMARY KEY (purpose, external_id)
) PARTITION BY HASH (external_id);
ALTER TABLE vault.entries ALTER COLUMN encrypted_value SET STORAGE EXTERNAL;

-- Sixteen parts, so that one can be rewritten without locking the others for long. Room is left in each page for the next
-- version of a row, which then needs no new index entry.
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
CREATE INDEX entries_by_expiry ON vault.entries (purpose, expires_at) WHERE purged_at IS NULL;
CREATE INDEX entries_by_creation ON vault.entries (purpose, created_at) WHERE purged_at IS NULL;
CREATE INDEX entries_by_key_ref ON vault.entries (purpose, key_ref, expires_at, created_at) WHERE purged_at IS NULL;
CREATE INDEX entries_by_access_policy ON vault.entries (access_policy) WHERE purged_at IS NULL;

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
    purpose            text        COLLATE "C" NOT NULL,
    version            bigint      NOT NULL,
    max_retention_days integer     NOT NULL,
    default_ttl_days   integer,
    purge_method       text        NOT NULL,
    description        text,
    justification      text,
    legal_basis        text,
    data_class         text,
    created_by         text        NOT NULL,
    created_at         timestamptz NOT NULL,
    PRIMARY KEY (purpose, version)
);

CREATE TABLE vault.access_log (
    position             bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    new_value            text
);
CREATE INDEX access_log_by_time ON vault.access_log USING brin (at);
CREATE INDEX access_log_by_entry ON vault.access_log (external_id, purpose);

CREATE TABLE vault.purge_log (
    position         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
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
    UNIQUE (external_id, entry_id, entry_version),
    UNIQUE (purge_id, external_id)
);
CREATE INDEX purge_log_by_time ON vault.purge_log USING brin (purged_at);
CREATE INDEX purge_log_without_proof ON vault.purge_log (position) WHERE length(proof_hash) <> 64;

CREATE TABLE vault.sweeps (
    sweep_id    text        PRIMARY KEY,
    started_at  timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    started_by  text        NOT NULL,
    purged      bigint      NOT NULL,
    failed      bigint      NOT NULL,
    completed   boolean     NOT NULL
);
CREATE INDEX sweeps_by_time ON vault.sweeps (finished_at);

CREATE TABLE vault.leases (
    name       text        PRIMARY KEY,
    holder     text        NOT NULL,
    expires_at timestamptz NOT NULL
);

CREATE TABLE vault.secrets (
    name  text  PRIMARY KEY,
    value bytea NOT NULL
);

-- Logs grow, and that is all they do.

CREATE FUNCTION vault.refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only', TG_TABLE_NAME;
END
$$;
CREATE TRIGGER access_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.access_log
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE TRIGGER purge_log_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.purge_log
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();

-- What a batch of commits is made of. "write" counts the writes of a batch from 1, "place" the expectations of a write.

CREATE TYPE vault.expectation AS (
    write int, place int, kind text, purpose text, external_id text, subject text, number bigint
);
CREATE TYPE vault.entry_put AS (
    write int, fresh boolean, purpose text, external_id text, entry_id text, version bigint, encoding text,
    value_sha256 text, value_size bigint, algorithm_hint text, key_ref text, metadata text, owner_app text,
    owner_identity text, access_policy text, created_at timestamptz, updated_at timestamptz, expires_at timestamptz,
    retrievals bigint, purged_at timestamptz, purge_method text, encrypted_value bytea
);
CREATE TYPE vault.entry_key AS (
    write int, purpose text, external_id text
);
CREATE TYPE vault.entry_overwrite AS (
    write int, purpose text, external_id text, filler bytea, purged_at timestamptz, method text
);
CREATE TYPE vault.access_row AS (
    write int, at timestamptz, request_id text, operation text, outcome text, status int, purpose text, external_id text,
    entry_id text, entry_version bigint, app text, identity text, method text, credential_id text, client_address text,
    untrusted_forwarding boolean, reason text, policy text, policy_version bigint, count bigint, detail text,
    old_value text, new_value text
);
CREATE TYPE vault.purge_row AS (
    write int, purge_id text, purpose text, external_id text, entry_id text, entry_version bigint, method text,
    reason text, policy_reference text, proof_hash text, value_size bigint, key_ref text, owner_app text,
    purged_at timestamptz, expired_at timestamptz, app text, identity text, request_id text
);

-- Commits what holds together, and returns for each write the place of the first expectation that does not hold, or 0.
-- One call is one transaction and one round trip. Each statement in it sees what was committed before that statement.
--
-- Changes of policies hold this advisory lock alone, so the revision stays what it is until this batch is committed.
-- Entries that are expected are locked in the order of their keys, and stay as they are until then, too; so the rows that
-- tell of them stand in the logs in the order in which things happened.
CREATE FUNCTION vault.commit_batch(
    writes       int,
    expectations vault.expectation[],
    puts         vault.entry_put[],
    removals     vault.entry_key[],
    overwrites   vault.entry_overwrite[],
    counts       vault.entry_key[],
    access_rows  vault.access_row[],
    purge_rows   vault.purge_row[]
) RETURNS int[] LANGUAGE plpgsql AS $$
DECLARE
    broken  int[] := array_fill(0, ARRAY[writes]);
    held    bigint[];
    current bigint;
    failed  record;
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1987277164, 1);
    SELECT revision INTO current FROM vault.rulebook;

    IF cardinality(puts) + cardinality(removals) + cardinality(overwrites) + cardinality(counts) > 0 THEN
        held := ARRAY(
            SELECT x.ordinal
            FROM unnest(expectations) WITH ORDINALITY
                AS x (write, place, kind, purpose, external_id, subject, number, ordinal)
            JOIN vault.entries AS e ON e.purpose = x.purpose AND e.external_id = x.external_id
            WHERE e.purged_at IS NULL AND CASE x.kind
                WHEN 'entry-is' THEN e.entry_id = x.subject AND e.version = x.number
                WHEN 'retrievals-below' THEN e.retrievals < x.number
            END
            ORDER BY e.purpose, e.external_id
            FOR UPDATE OF e
        );
    ELSE
        held := ARRAY(
            SELECT x.ordinal
            FROM unnest(expectations) WITH ORDINALITY
                AS x (write, place, kind, purpose, external_id, subject, number, ordinal)
            JOIN vault.entries AS e ON e.purpose = x.purpose AND e.external_id = x.external_id
            WHERE e.purged_at IS NULL AND CASE x.kind
                WHEN 'entry-is' THEN e.entry_id = x.subject AND e.version = x.number
                WHEN 'retrievals-below' THEN e.retrievals < x.number
            END
            ORDER BY e.purpose, e.external_id
            FOR KEY SHARE OF e
        );
    END IF;
    FOR failed IN
        SELECT x.write, min(x.place) AS place
        FROM unnest(expectations) WITH ORDINALITY
            AS x (write, place, kind, purpose, external_id, subject, number, ordinal)
        WHERE NOT CASE x.kind
            WHEN 'revision-is' THEN x.number = current
            WHEN 'entry-absent' THEN NOT EXISTS (
                SELECT FROM vault.entries AS e WHERE e.purpose = x.purpose AND e.external_id = x.external_id
            )
            WHEN 'policy-unused' THEN NOT EXISTS (
                SELECT FROM vault.entries AS e WHERE e.access_policy = x.subject AND e.purged_at IS NULL
            )
            ELSE x.ordinal = ANY (held)
        END
        GROUP BY x.write
    LOOP
        broken[failed.write] := failed.place;
    END LOOP;

    IF cardinality(removals) > 0 THEN
        DELETE FROM vault.entries AS e USING unnest(removals) AS r
        WHERE e.purpose = r.purpose AND e.external_id = r.external_id AND broken[r.write] = 0;
    END IF;
    IF cardinality(overwrites) > 0 THEN
        UPDATE vault.entries AS e
        SET encrypted_value = o.filler, purged_at = o.purged_at, purge_method = o.method
        FROM unnest(overwrites) AS o
        WHERE e.purpose = o.purpose AND e.external_id = o.external_id AND broken[o.write] = 0;
    END IF;
    IF cardinality(counts) > 0 THEN
        UPDATE vault.entries AS e SET retrievals = e.retrievals + 1
        FROM unnest(counts) AS c
        WHERE e.purpose = c.purpose AND e.external_id = c.external_id AND broken[c.write] = 0;
    END IF;
    IF cardinality(puts) > 0 THEN
        INSERT INTO vault.entries (
            purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref,
            metadata, owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals,
            purged_at, purge_method, encrypted_value
        )
        SELECT
            p.purpose, p.external_id, p.entry_id, p.version, p.encoding, p.value_sha256, p.value_size, p.algorithm_hint,
            p.key_ref, p.metadata, p.owner_app, p.owner_identity, p.access_policy, p.created_at, p.updated_at,
            p.expires_at, p.retrievals, p.purged_at, p.purge_method, p.encrypted_value
        FROM unnest(puts) AS p
        WHERE p.fresh AND broken[p.write] = 0
        ORDER BY p.purpose COLLATE "C", p.external_id COLLATE "C";

        INSERT INTO vault.entries AS e (
            purpose, external_id, entry_id, version, encoding, value_sha256, value_size, algorithm_hint, key_ref,
            metadata, owner_app, owner_identity, access_policy, created_at, updated_at, expires_at, retrievals,
            purged_at, purge_method, encrypted_value
        )
        SELECT
            p.purpose, p.external_id, p.entry_id, p.version, p.encoding, p.value_sha256, p.value_size, p.algorithm_hint,
            p.key_ref, p.metadata, p.owner_app, p.owner_identity, p.access_policy, p.created_at, p.updated_at,
            p.expires_at, p.retrievals, p.purged_at, p.purge_method, p.encrypted_value
        FROM unnest(puts) AS p
        WHERE NOT p.fresh AND broken[p.write] = 0
        ORDER BY p.purpose COLLATE "C", p.external_id COLLATE "C"
        ON CONFLICT (purpose, external_id) DO UPDATE SET
            entry_id = excluded.entry_id, version = excluded.version, encoding = excluded.encoding,
            value_sha256 = excluded.value_sha256, value_size = excluded.value_size,
            algorithm_hint = excluded.algorithm_hint, key_ref = excluded.key_ref, metadata = excluded.metadata,
            owner_app = excluded.owner_app, owner_identity = excluded.owner_identity,
            access_policy = excluded.access_policy, created_at = excluded.created_at, updated_at = excluded.updated_at,
            expires_at = excluded.expires_at, purged_at = excluded.purged_at, purge_method = excluded.purge_method,
            encrypted_value = excluded.encrypted_value,
            retrievals = CASE WHEN e.entry_id = excluded.entry_id
                THEN greatest(e.retrievals, excluded.retrievals) ELSE excluded.retrievals END;
    END IF;

    INSERT INTO vault.access_log (
        at, request_id, operation, outcome, status, purpose, external_id, entry_id, entry_version, app, identity, method,
        credential_id, client_address, untrusted_forwarding, reason, policy, policy_version, count, detail, old_value,
        new_value
    )
    SELECT
        a.at, a.request_id, a.operation, a.outcome, a.status, a.purpose, a.external_id, a.entry_id, a.entry_version,
        a.app, a.identity, a.method, a.credential_id, a.client_address, a.untrusted_forwarding, a.reason, a.policy,
        a.policy_version, a.count, a.detail, a.old_value, a.new_value
    FROM unnest(access_rows) AS a
    WHERE broken[a.write] = 0;

    IF cardinality(purge_rows) > 0 THEN
        INSERT INTO vault.purge_log (
            purge_id, purpose, external_id, entry_id, entry_version, method, reason, policy_reference, proof_hash,
            value_size, key_ref, owner_app, purged_at, expired_at, app, identity, request_id
        )
        SELECT
            p.purge_id, p.purpose, p.external_id, p.entry_id, p.entry_version, p.method, p.reason, p.policy_reference,
            p.proof_hash, p.value_size, p.key_ref, p.owner_app, p.purged_at, p.expired_at, p.app, p.identity,
            p.request_id
        FROM unnest(purge_rows) AS p
        WHERE broken[p.write] = 0;
    END IF;
    RETURN broken;
END
$$;

UPDATE vault.schema_version SET version = 1;
