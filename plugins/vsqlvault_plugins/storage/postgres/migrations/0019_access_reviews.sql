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

CREATE TRIGGER access_reviews_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON vault.access_reviews
    FOR EACH STATEMENT EXECUTE FUNCTION vault.refuse_change();

UPDATE vault.schema_version SET version = 19;
