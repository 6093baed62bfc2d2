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

UPDATE vault.schema_version SET version = 21;
