-- Archives of the log: which leaves have their rows outside the vault. Rows of the logs can be deleted below their end, and only
-- those that nothing needs.
CREATE TABLE log_archives (
    number         INTEGER PRIMARY KEY,
    first_index    INTEGER NOT NULL,
    end_index      INTEGER NOT NULL,
    access_through INTEGER NOT NULL,
    purge_through  INTEGER NOT NULL,
    at             INTEGER NOT NULL,
    document       TEXT    NOT NULL,
    CHECK (end_index > first_index)
);

UPDATE schema_version SET version = 19;
