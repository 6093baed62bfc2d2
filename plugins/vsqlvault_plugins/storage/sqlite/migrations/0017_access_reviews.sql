-- Access reviews, as they were signed. The purpose is null for a review of all.
CREATE TABLE access_reviews (
    number   INTEGER PRIMARY KEY,
    at       INTEGER NOT NULL,
    purpose  TEXT,
    due_at   INTEGER NOT NULL,
    document TEXT    NOT NULL,
    note     TEXT
);
CREATE INDEX access_reviews_by_purpose ON access_reviews (purpose, at, number);

CREATE TRIGGER access_reviews_no_update BEFORE UPDATE ON access_reviews
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

CREATE TRIGGER access_reviews_no_delete BEFORE DELETE ON access_reviews
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

CREATE TRIGGER access_reviews_no_replace BEFORE INSERT ON access_reviews
WHEN EXISTS (SELECT 1 FROM access_reviews WHERE number = NEW.number)
BEGIN SELECT RAISE(ABORT, 'access_reviews is append-only'); END;

UPDATE schema_version SET version = 17;
