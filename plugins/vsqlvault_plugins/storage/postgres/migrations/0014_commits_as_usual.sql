-- Commits a batch of which every write expects this revision of the rules, and every fresh put that no row is there, and says so
-- only thus: not in an expectation of each write, which costs as much as its row in the log. Returns what commit_batch does,
-- or null, having done nothing, where one of these does not hold: which write that breaks, commit_batch can tell.
CREATE FUNCTION vault.commit_as_usual(
    writes       int,
    revision     bigint,
    expectations vault.expectation[],
    puts         vault.entry_put[],
    removals     vault.entry_key[],
    overwrites   vault.entry_overwrite[],
    counts       vault.entry_key[],
    access_rows  vault.access_row[],
    purge_rows   vault.purge_row[]
) RETURNS int[] LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock_shared(1987277164, 1);
    IF NOT EXISTS (SELECT FROM vault.rulebook AS r WHERE r.revision = commit_as_usual.revision) THEN
        RETURN NULL;
    END IF;
    IF cardinality(puts) > 0 AND EXISTS (
        SELECT FROM unnest(puts) AS p
        JOIN vault.entries AS e ON e.purpose = p.purpose AND e.external_id = p.external_id
        WHERE p.fresh
    ) THEN
        RETURN NULL;
    END IF;
    RETURN vault.commit_batch(writes, expectations, puts, removals, overwrites, counts, access_rows, purge_rows);
END
$$;

UPDATE vault.schema_version SET version = 14;
