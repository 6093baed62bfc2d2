-- What was put on record of each control, change by change: the newest of a name says how it stands.
CREATE TABLE control_changes (
    name   TEXT    NOT NULL,
    number INTEGER NOT NULL,
    state  TEXT    NOT NULL,
    at     INTEGER NOT NULL,
    detail TEXT    NOT NULL,
    PRIMARY KEY (name, number)
);
CREATE INDEX control_changes_by_time ON control_changes (at);

-- Attestations, as they were signed.
CREATE TABLE attestations (
    number   INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    is_clean INTEGER NOT NULL CHECK (is_clean IN (0, 1)),
    document TEXT    NOT NULL,
    note     TEXT
);

CREATE TRIGGER control_changes_no_update BEFORE UPDATE ON control_changes
BEGIN SELECT RAISE(ABORT, 'control_changes is append-only'); END;

CREATE TRIGGER control_changes_no_delete BEFORE DELETE ON control_changes
BEGIN SELECT RAISE(ABORT, 'control_changes is append-only'); END;

CREATE TRIGGER control_changes_no_replace BEFORE INSERT ON control_changes
WHEN EXISTS (SELECT 1 FROM control_changes WHERE name = NEW.name AND number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'control_changes is append-only'); END;

CREATE TRIGGER attestations_no_update BEFORE UPDATE ON attestations
BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END;

CREATE TRIGGER attestations_no_delete BEFORE DELETE ON attestations
BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END;

CREATE TRIGGER attestations_no_replace BEFORE INSERT ON attestations
WHEN EXISTS (SELECT 1 FROM attestations WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'attestations is append-only'); END;

UPDATE schema_version SET version = 11;
