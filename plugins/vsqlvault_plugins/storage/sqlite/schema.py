"""Migrates a file's schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from vsqlvault.errors import SchemaTooNew, SettingsInvalid
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault_plugins.storage.sql_files import load_migrations
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

MIGRATIONS = load_migrations("vsqlvault_plugins.storage.sqlite")
VERSION = MIGRATIONS[-1].version


def check_owner(connection: sqlite3.Connection) -> None:
    """Raise SettingsInvalid if the file is the database of another program."""
    if schema_version(connection) == 0 and (tables := connection.execute(QUERIES["other_tables"]).fetchone()[0]):
        raise SettingsInvalid(
            "storage.database_url: expected the file of a vault, or a new file, found the SQLite database of another"
            f" program (tables: {tables})"
        )


def status(connection: sqlite3.Connection) -> MigrationStatus:
    """Return what ``migrate`` would do."""
    before = schema_version(connection)
    return MigrationStatus(before, max(before, VERSION), tuple(each.name for each in MIGRATIONS[before:]))


def migrate(connection: sqlite3.Connection) -> MigrationStatus:
    """Run missing migrations, each in one exclusive transaction. A second process waits and finds nothing to do."""
    before = schema_version(connection)
    if before > VERSION:
        raise SchemaTooNew(f"its schema has version {before}, this program supports up to {VERSION}")
    for migration in MIGRATIONS[before:]:
        with transaction(connection, "begin_migration"):
            if schema_version(connection) >= migration.version:
                continue
            for statement in _statements(migration.script):
                connection.execute(statement)
            if schema_version(connection) != migration.version:
                raise ValueError(f"{migration.name} does not set the version it is named after")
    return MigrationStatus(before, VERSION)


def schema_version(connection: sqlite3.Connection) -> int:
    """Return the schema's version, or 0 if there is no schema."""
    if connection.execute(QUERIES["schema_table_exists"]).fetchone() is None:
        return 0
    (version,) = connection.execute(QUERIES["schema_version"]).fetchone()
    return int(version)


def _statements(script: str) -> Iterator[str]:
    """Split a script into complete statements. ``executescript`` would commit the open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
