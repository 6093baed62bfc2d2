"""Databases of a storage's conformance suite: each is emptied after its test and used again, in place of being made again.

To copy a database takes 60 ms of processor time, to empty it 10.
"""

from __future__ import annotations

import contextlib

import asyncpg

from tests.support.postgres import Databases

KEEP = """
CREATE SCHEMA kept;
CREATE TABLE kept.tables AS
    SELECT relname::text AS name FROM pg_class
    WHERE relnamespace = 'vault'::regnamespace AND relkind IN ('r', 'p') AND NOT relispartition;
CREATE TABLE kept.relations AS SELECT count(*) AS number FROM pg_class WHERE relnamespace = 'vault'::regnamespace;
CREATE TABLE kept.filled (name text, columns text);

CREATE FUNCTION kept.keep() RETURNS void LANGUAGE plpgsql AS $$
DECLARE name text; columns text; is_filled boolean;
BEGIN
    FOR name IN SELECT t.name FROM kept.tables t LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM vault.%I)', name) INTO is_filled;
        IF is_filled THEN
            EXECUTE format('CREATE TABLE kept.%I AS TABLE vault.%I', 'rows_of_' || name, name);
            SELECT string_agg(quote_ident(attname), ', ') INTO columns FROM pg_attribute
                WHERE attrelid = format('vault.%I', name)::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '';
            INSERT INTO kept.filled VALUES (name, columns);
        END IF;
    END LOOP;
END $$;

CREATE FUNCTION kept.restore() RETURNS boolean LANGUAGE plpgsql AS $$
DECLARE name text; filled kept.filled;
BEGIN
    IF (SELECT number FROM kept.relations) <> (SELECT count(*) FROM pg_class WHERE relnamespace = 'vault'::regnamespace) THEN
        RETURN false;
    END IF;
    PERFORM set_config('session_replication_role', 'replica', true);
    FOR name IN SELECT t.name FROM kept.tables t LOOP
        EXECUTE format('DELETE FROM vault.%I', name);
    END LOOP;
    FOR filled IN SELECT * FROM kept.filled LOOP
        EXECUTE format('INSERT INTO vault.%I (%s) OVERRIDING SYSTEM VALUE SELECT %s FROM kept.%I',
            filled.name, filled.columns, filled.columns, 'rows_of_' || filled.name);
    END LOOP;
    FOR name IN SELECT sequencename FROM pg_sequences WHERE schemaname = 'vault' LOOP
        EXECUTE format('ALTER SEQUENCE vault.%I RESTART', name);
    END LOOP;
    RETURN true;
END $$;

SELECT kept.keep();
"""
"""Run in a migrated database, which is copied then: each copy knows how it was."""

FREE = """
SELECT datname FROM pg_database
WHERE starts_with(datname, $2) AND NOT EXISTS (SELECT FROM pg_database WHERE datname = $1) LIMIT 1
"""
DISCONNECT = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{}' AND pid <> pg_backend_pid()"


def keep(databases: Databases, migrated: str) -> None:
    """Prepare a database whose copies are used again."""
    databases.sql(KEEP, migrated)


def pool_of(migrated: str) -> str:
    """Return what the names of the emptied copies of a database begin with."""
    return f"free_{migrated}_"


def give_back(databases: Databases, name: str, migrated: str) -> None:
    """Empty a copy and let the next test have it; drop it where the test has changed its relations."""
    databases.sql(DISCONNECT.format(name))
    if databases.sql("SELECT kept.restore()", name) == "t":
        databases.sql(f"ALTER DATABASE {name} RENAME TO {pool_of(migrated)}{name.rpartition('_')[2]}")
    else:
        databases.drop_database(name)


async def take(url: str, name: str, migrated: str) -> None:
    """Let the database ``name`` exist on the server of ``url``: an emptied copy, or a new one."""
    connection = await asyncpg.connect(url)
    try:
        free = await connection.fetchval(FREE, name, pool_of(migrated))
        change = f"ALTER DATABASE {free} RENAME TO {name}" if free else f"CREATE DATABASE {name} TEMPLATE {migrated}"
        with contextlib.suppress(asyncpg.DuplicateDatabaseError):
            await connection.execute(change)
    finally:
        await connection.close()
