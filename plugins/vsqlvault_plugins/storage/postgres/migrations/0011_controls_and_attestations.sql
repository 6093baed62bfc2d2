-- What was put on record of each control, change by change: the newest of a name says how it stands.
CREATE TABLE vault.control_changes (
    name   text        COLLATE "C" NOT NULL,
    number bigint      NOT NULL,
    state  text        NOT NULL,
    at     timestamptz NOT NULL,
    detail text        NOT NULL,
    PRIMARY KEY (name, number)
);
CREATE INDEX control_changes_by_time ON vault.control_changes (at);

-- Attestations, as they were signed.
CREATE TABLE vault.attestations (
    number   bigint      PRIMARY KEY,
    at       timestamptz NOT NULL,
    is_clean boolean     NOT NULL,
    document text        NOT NULL,
    note     text
);

CREATE TRIGGER control_changes_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.control_changes
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();
CREATE TRIGGER attestations_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.attestations
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();

UPDATE vault.schema_version SET version = 11;
