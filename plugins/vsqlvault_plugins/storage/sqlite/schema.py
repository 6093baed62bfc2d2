"""Migrates a file's schema."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import fields

from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault_plugins.storage.schemas import SchemaState, load_schema
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction

SCHEMA = load_schema("vsqlvault_plugins.storage.sqlite")
VERSION = SCHEMA.version


def check_owner(connection: sqlite3.Connection) -> None:
    """Raise SettingsInvalid if the file is the database of another program."""
    has_schema = schema_state(connection).version > 0
    if not has_schema and (tables := connection.execute(QUERIES["other_tables"]).fetchone()[0]):
        raise SettingsInvalid(
            "storage.database_url: expected the file of a vault, or a new file, found the SQLite database of another"
            f" program (tables: {tables})"
        )


def status(connection: sqlite3.Connection) -> MigrationStatus:
    """Return what ``migrate`` would do. Raises SchemaTooOld."""
    return SCHEMA.status(schema_state(connection))


def migrate(connection: sqlite3.Connection) -> MigrationStatus:
    """Run the pending scripts in one exclusive transaction. A second process waits and finds nothing to do.

    Raises:
        SchemaTooNew, SchemaTooOld.
    """
    found = schema_state(connection)
    if not SCHEMA.pending(found):
        return SCHEMA.status(found)
    with transaction(connection, "begin_migration"):
        found = schema_state(connection)
        for script in SCHEMA.pending(found):
            for statement in _statements(script.text):
                connection.execute(statement)
            if script.version not in {None, schema_state(connection).version}:
                raise ValueError(f"{script.name} does not set the version it is named after")
        connection.execute(QUERIES["forget_state"])
        connection.execute(QUERIES["put_state"], (SCHEMA.current.version, SCHEMA.current.functions))
    return SCHEMA.status(found)


def schema_state(connection: sqlite3.Connection) -> SchemaState:
    """Return the state of the schema. A table of that name that another program made is none of a vault."""
    if connection.execute(QUERIES["schema_table_exists"]).fetchone() is None:
        return SchemaState()
    row = connection.execute(QUERIES["schema_state"]).fetchone()
    if row is None or len(row) > len(fields(SchemaState)) or not isinstance(row[0], int):
        return SchemaState()
    return SchemaState(*row)


def _statements(script: str) -> Iterator[str]:
    """Split a script into complete statements. ``executescript`` would commit the open transaction."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
