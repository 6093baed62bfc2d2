"""The entries of a vibesql-vault database, which is PostgreSQL. docs/migrating.md says what becomes of each column."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from vsqlvault.cli.imports.lines import record_of
from vsqlvault.cli.imports.source import Record
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.times import format_time

TABLE = "vsql_vault.vault_entries"
_REQUIRED = ("id", "purpose", "encrypted_blob", "owner_app", "created_at")
_OPTIONAL = (
    "owner_identity", "algorithm_hint", "key_ref", "access_policy", "tags", "content_type", "encryption_svc",
    "updated_at", "expires_at", "last_used_at", "purged_at",
)  # fmt: skip
_TABLE_NAME = re.compile(r"[a-z_][a-z0-9_]*\.[a-z_][a-z0-9_]*", re.ASCII)
_COLUMNS = "SELECT column_name FROM information_schema.columns WHERE table_schema = $1 AND table_name = $2"
CONNECT_SECONDS = 10.0
PREFETCH = 500


class VibesqlEntries:
    """The rows of one table, read in one transaction that writes nothing."""

    def __init__(self, connection: Any, table: str, columns: list[str], max_value_bytes: int) -> None:
        self._connection = connection
        self._table = table
        self._columns = columns
        self._max_value_bytes = max_value_bytes
        self.total = 0

    async def records(self) -> AsyncIterator[Record]:
        """Yield what each row has, by purpose and id."""
        query = f"SELECT {', '.join(self._columns)} FROM {self._table} ORDER BY purpose, id"  # noqa: S608 - checked names
        async for row in self._connection.cursor(query, prefetch=PREFETCH):
            document = document_of(dict(row))
            place = f"row {row['purpose']}/{row['id']}"
            yield record_of(place, json.dumps(document).encode(), self._max_value_bytes)


@asynccontextmanager
async def vibesql_entries(url: str, table: str, max_value_bytes: int) -> AsyncIterator[VibesqlEntries]:
    """Open the database for the length of the block.

    Raises:
        SettingsInvalid: it cannot be reached, or has no such table.
    """
    import asyncpg  # noqa: PLC0415 - a file needs no driver

    if not _TABLE_NAME.fullmatch(table):
        raise SettingsInvalid(f"--table: expected SCHEMA.TABLE in lower case, such as {TABLE}")
    try:
        connection = await asyncpg.connect(url, timeout=CONNECT_SECONDS)
    except (OSError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise SettingsInvalid(f"SOURCE: expected a PostgreSQL database, found: {type(error).__name__}") from error
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            columns = await _columns(connection, table)
            source = VibesqlEntries(connection, table, columns, max_value_bytes)
            source.total = await connection.fetchval(f"SELECT count(*) FROM {table}")  # noqa: S608 - a checked name
            yield source
    except asyncpg.PostgresError as error:
        raise SettingsInvalid(f"SOURCE: expected a table that can be read, found: {type(error).__name__}") from error
    finally:
        await connection.close()


async def _columns(connection: Any, table: str) -> list[str]:
    found = {row["column_name"] for row in await connection.fetch(_COLUMNS, *table.split("."))}
    if missing := [name for name in _REQUIRED if name not in found]:
        what = f"no table {table}" if not found else f"{table} without {', '.join(missing)}"
        raise SettingsInvalid(f"SOURCE: expected the table of a vibesql-vault, found {what} (--table names another)")
    return [*_REQUIRED, *(name for name in _OPTIONAL if name in found)]


def document_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row as a line of NDJSON has it. Tags become metadata, and so do the two columns without a member."""
    tags = json.loads(row["tags"]) if isinstance(row.get("tags"), str) else row.get("tags")
    metadata = dict(tags) if isinstance(tags, dict) else {"tags": tags} if tags else {}
    for name, column in (("content_type", "content_type"), ("encryption_service", "encryption_svc")):
        if row.get(column) is not None:
            metadata.setdefault(name, row[column])
    document = {
        "purpose": row["purpose"],
        "external_id": str(row["id"]),
        "encrypted_value": b64encode(row["encrypted_blob"]).decode(),
        "encoding": "base64",
        "metadata": metadata,
    }
    for name in ("owner_app", "owner_identity", "algorithm_hint", "key_ref", "access_policy"):
        if row.get(name) is not None:
            document[name] = row[name]
    for name in ("created_at", "updated_at", "expires_at", "last_used_at", "purged_at"):
        at = row.get(name)
        if isinstance(at, datetime):
            document[name] = format_time(at)
    return document
