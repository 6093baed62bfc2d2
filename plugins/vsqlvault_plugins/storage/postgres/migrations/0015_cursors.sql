-- How far each observer and purge method has received the rows of the logs.
CREATE TABLE vault.cursors (
    name     text   PRIMARY KEY,
    position bigint NOT NULL
) WITH (fillfactor = 50);

UPDATE vault.schema_version SET version = 15;
