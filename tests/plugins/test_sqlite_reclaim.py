"""The file is shortened in small steps, and the write-ahead log stays short meanwhile."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

from vsqlvault_plugins.storage.sqlite.archiving import reclaim
from vsqlvault_plugins.storage.sqlite.connection import connected
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

MEGABYTE = 1_000_000


def _with_free_pages(path: Path) -> None:
    """Make 3 MB of free pages before as many pages that are used."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for name in ("gone", "kept"):
            connection.execute(f"CREATE TABLE {name} (value BLOB)")
            connection.execute(
                f"WITH RECURSIVE n (i) AS (VALUES (1) UNION ALL SELECT i + 1 FROM n WHERE i < 3) INSERT INTO {name}"
                " SELECT zeroblob(1000000) FROM n"
            )
        connection.execute("DROP TABLE gone")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def test_the_write_ahead_log_stays_short_while_the_file_is_shortened(tmp_path: Path) -> None:
    path, log = tmp_path / "vault.db", tmp_path / "vault.db-wal"

    async def reclaimed() -> int:
        storage = await SqliteStorage.open(path)
        try:
            await storage.migrate()
            _with_free_pages(path)
            longest = 0
            while await storage.reclaim():
                longest = max(longest, log.stat().st_size)
            return longest
        finally:
            await storage.close()

    longest = asyncio.run(reclaimed())
    assert path.stat().st_size < 5 * MEGABYTE
    assert longest < 4 * MEGABYTE


def test_a_transaction_gives_back_as_many_pages_as_asked(tmp_path: Path) -> None:
    path = tmp_path / "vault.db"

    async def run() -> None:
        storage = await SqliteStorage.open(path)
        await storage.migrate()
        await storage.close()

    asyncio.run(run())
    _with_free_pages(path)
    with closing(connected(path, is_reader=False)) as connection:
        (before,) = connection.execute("PRAGMA freelist_count").fetchone()
        assert reclaim(connection, 40)
        (after,) = connection.execute("PRAGMA freelist_count").fetchone()
    assert before - after == 40
