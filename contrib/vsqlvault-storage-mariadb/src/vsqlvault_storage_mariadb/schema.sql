-- Texts are compared byte by byte. Times are microseconds since 1970-01-01T00:00:00Z.

CREATE TABLE IF NOT EXISTS entries (
    purpose VARCHAR(64) NOT NULL,
    external_id VARCHAR(256) NOT NULL,
    entry_id CHAR(32) NOT NULL,
    version BIGINT NOT NULL,
    encoding VARCHAR(16) NOT NULL,
    value_sha256 CHAR(64) NOT NULL,
    value_size BIGINT NOT NULL,
    algorithm_hint MEDIUMTEXT,
    key_ref MEDIUMTEXT,
    metadata MEDIUMTEXT NOT NULL,
    owner_app MEDIUMTEXT NOT NULL,
    owner_identity MEDIUMTEXT,
    access_policy MEDIUMTEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    retrievals BIGINT NOT NULL,
    purged_at BIGINT,
    purge_method VARCHAR(128),
    value LONGBLOB NOT NULL,
    PRIMARY KEY (purpose, external_id),
    KEY by_expiry (purpose, expires_at, external_id),
    KEY by_creation (purpose, created_at, external_id),
    KEY by_key_ref (purpose, key_ref(128)),
    KEY by_policy (access_policy(128))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS items (
    item_table VARCHAR(32) CHARACTER SET ascii COLLATE ascii_nopad_bin NOT NULL,
    name VARBINARY(255) NOT NULL,
    value MEDIUMBLOB NOT NULL,
    PRIMARY KEY (item_table, name)
) ENGINE = InnoDB;

CREATE TABLE IF NOT EXISTS access_log (
    position BIGINT PRIMARY KEY,
    at BIGINT NOT NULL,
    request_id VARCHAR(255) NOT NULL,
    operation VARCHAR(64) NOT NULL,
    outcome VARCHAR(16) NOT NULL,
    status INT NOT NULL,
    purpose VARCHAR(64),
    external_id MEDIUMTEXT,
    entry_id CHAR(32),
    entry_version BIGINT,
    app MEDIUMTEXT,
    identity MEDIUMTEXT,
    method MEDIUMTEXT,
    credential_id MEDIUMTEXT,
    client_address MEDIUMTEXT,
    untrusted_forwarding TINYINT NOT NULL,
    reason MEDIUMTEXT,
    policy MEDIUMTEXT,
    policy_version BIGINT,
    count BIGINT NOT NULL,
    detail MEDIUMTEXT,
    old_value MEDIUMTEXT,
    new_value MEDIUMTEXT,
    role MEDIUMTEXT,
    leaf_hash BINARY(32) NOT NULL,
    KEY by_time (at),
    KEY by_request (request_id),
    KEY by_entry (purpose, external_id(128)),
    KEY by_app (app(64))
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE TABLE IF NOT EXISTS purge_log (
    position BIGINT PRIMARY KEY,
    purge_id CHAR(32) NOT NULL UNIQUE,
    purpose VARCHAR(64) NOT NULL,
    external_id VARCHAR(256) NOT NULL,
    entry_id CHAR(32) NOT NULL,
    entry_version BIGINT NOT NULL,
    method VARCHAR(128) NOT NULL,
    reason VARCHAR(64) NOT NULL,
    policy_reference MEDIUMTEXT,
    proof_hash VARCHAR(64) NOT NULL,
    value_size BIGINT NOT NULL,
    key_ref MEDIUMTEXT,
    owner_app MEDIUMTEXT NOT NULL,
    purged_at BIGINT NOT NULL,
    expired_at BIGINT NOT NULL,
    app MEDIUMTEXT NOT NULL,
    identity MEDIUMTEXT,
    request_id VARCHAR(255) NOT NULL,
    leaf_hash BINARY(32) NOT NULL,
    KEY by_time (purged_at),
    KEY by_entry (purpose, external_id(128)),
    KEY by_request (request_id)
) ENGINE = InnoDB CHARACTER SET utf8mb4 COLLATE utf8mb4_nopad_bin;

CREATE OR REPLACE TRIGGER access_log_no_update BEFORE UPDATE ON access_log FOR EACH ROW
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'access_log is append-only';

CREATE OR REPLACE TRIGGER access_log_no_delete BEFORE DELETE ON access_log FOR EACH ROW
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'access_log is append-only';

CREATE OR REPLACE TRIGGER purge_log_no_update BEFORE UPDATE ON purge_log FOR EACH ROW
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'purge_log is append-only';

CREATE OR REPLACE TRIGGER purge_log_no_delete BEFORE DELETE ON purge_log FOR EACH ROW
SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'purge_log is append-only';

-- Its row says that everything before it is there.
CREATE TABLE IF NOT EXISTS head (
    only_row TINYINT PRIMARY KEY CHECK (only_row = 1),
    schema_version INT NOT NULL,
    revision BIGINT NOT NULL,
    access_position BIGINT NOT NULL,
    purge_position BIGINT NOT NULL
) ENGINE = InnoDB;

INSERT INTO head SELECT 1, 1, 0, 0, 0 FROM DUAL WHERE NOT EXISTS (SELECT 1 FROM head);
