-- How far each observer and purge method has received the rows of the logs.
CREATE TABLE cursors (
    name     TEXT PRIMARY KEY NOT NULL,
    position INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

UPDATE schema_version SET version = 13;
