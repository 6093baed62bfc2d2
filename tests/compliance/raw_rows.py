"""Reads the tables of a storage as they are, past the vault: with ``SELECT *`` and nothing else."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg

TABLES = (
    "entries", "access_log", "purge_log", "legal_holds", "api_keys", "sweeps", "control_changes", "attestations",
    "access_reviews", "access_policies", "retention_policies", "credential_uses", "leaves", "log_blocks",
)  # fmt: skip
_TIMES = frozenset({
    "at", "purged_at", "expired_at", "created_at", "updated_at", "expires_at", "started_at", "finished_at", "due_at",
    "first_used_at", "last_used_at", "revoked_at", "held_since", "released_at",
})  # fmt: skip
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
Row = Mapping[str, Any]


async def raw_rows(url: str) -> dict[str, Sequence[Row]]:
    """Return every row of every table that the report counts. Times are datetimes, and lists are lists."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file:
            file.row_factory = sqlite3.Row
            found = {name: file.execute(f"SELECT * FROM {name}").fetchall() for name in TABLES}
    else:
        connection = await asyncpg.connect(url)
        try:
            found = {name: await connection.fetch(f"SELECT * FROM vault.{name}") for name in TABLES}
        finally:
            await connection.close()
    return {name: [_decoded(dict(row)) for row in rows] for name, rows in found.items()}


def _decoded(row: dict[str, Any]) -> Row:
    for name, value in row.items():
        if name in _TIMES and isinstance(value, int):
            row[name] = _EPOCH + timedelta(microseconds=value)
        elif name in {"roles", "purposes"} and isinstance(value, str):
            row[name] = json.loads(value)
    return row
