"""Fills a vault with copies of one entry and of its row in the log, by statements of the database: ten million take minutes.

The copies differ in ``external_id``, ``entry_id`` and ``leaf_hash``. Triggers run as usual, so the entry counters are right.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterable, Mapping
from contextlib import closing
from pathlib import Path

import asyncpg

BATCH = 100_000
TABLES = ("entries", "access_log")
OF_NUMBER = {
    "postgresql": {
        "external_id": "'e' || number",
        "entry_id": "md5(number::text)",
        "leaf_hash": "sha256(number::text::bytea)",
    },
    "sqlite": {
        "external_id": "'e' || number",
        "entry_id": "lower(hex(randomblob(16)))",
        "leaf_hash": "randomblob(32)",
    },
}
"""The columns in which a copy differs, as expressions of its number."""

ONE_AFTER_THE_OTHER = "position"
"""The column that a table of rows numbers by itself."""


def copying(storage: str, table: str, columns: Iterable[str], numbers: str) -> str:
    """Return the statement that copies the entry e0, or its row in the log, once for each number."""
    own: Mapping[str, str] = OF_NUMBER[storage]
    copied = [column for column in columns if column != ONE_AFTER_THE_OTHER]
    chosen = ", ".join(own.get(column, f"one.{column}") for column in copied)
    schema = "vault." if storage == "postgresql" else ""
    one = f"(SELECT * FROM {schema}{table} WHERE external_id = 'e0' LIMIT 1) AS one"
    return f"INSERT INTO {schema}{table} ({', '.join(copied)}) SELECT {chosen} FROM {one}, {numbers}"


def batches(size: int) -> Iterable[tuple[int, int]]:
    """Return the first and the last number of each batch. The entry e0 is there already."""
    return ((first, min(first + BATCH, size) - 1) for first in range(1, size, BATCH))


def fill_sqlite(file: Path, size: int) -> None:
    """Copy the entry e0 of a vault that no process has open, until there are ``size`` entries."""
    numbers = (
        "(WITH RECURSIVE counted (number) AS (VALUES (:first) UNION ALL SELECT number + 1 FROM counted"
        " WHERE number < :last) SELECT number FROM counted)"
    )
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -1000000"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        for table in TABLES:
            columns = [row[1] for row in connection.execute(f"PRAGMA table_info({table})")]
            statement = copying("sqlite", table, columns, numbers)
            for first, last in batches(size):
                connection.execute(statement, {"first": first, "last": last})
        connection.execute("PRAGMA journal_mode = WAL").fetchall()


async def fill_postgresql(url: str, size: int) -> None:
    """Copy the entry e0 until there are ``size`` entries, and vacuum, as autovacuum would within minutes."""
    connection = await asyncpg.connect(url, server_settings={"synchronous_commit": "off"})
    try:
        for table in TABLES:
            found = await connection.fetch(
                "SELECT column_name FROM information_schema.columns WHERE table_schema = 'vault' AND table_name = $1",
                table,
            )
            numbers = "generate_series($1::bigint, $2::bigint) AS number"
            statement = copying("postgresql", table, [row[0] for row in found], numbers)
            for first, last in batches(size):
                await connection.execute(statement, first, last, timeout=600)
        await connection.execute("VACUUM (ANALYZE)", timeout=1800)
        await connection.execute("CHECKPOINT", timeout=600)
    finally:
        await connection.close()


def copy_entries(url: str, size: int) -> None:
    """Copy the entry e0 of a storage, until there are ``size`` entries."""
    if url.startswith("postgres"):
        asyncio.run(fill_postgresql(url, size))
    else:
        fill_sqlite(Path(url.removeprefix("sqlite:///")), size)
