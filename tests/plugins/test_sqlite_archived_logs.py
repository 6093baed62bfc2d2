"""How a drop of archived rows on SQLite keeps commits waiting for a short time only."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.sqlite import archived_logs
from vsqlvault_plugins.storage.sqlite.archived_logs import PieceSize
from vsqlvault_plugins.storage.sqlite.connection import connected
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

FULL, NORMAL = 2, 1


def sizes(*seconds: float) -> list[int]:
    """Return the sizes after transactions that took these times."""
    size, found = PieceSize(32, 8, 256, 0.002), list[int]()
    for each in seconds:
        size.took(each)
        found.append(size.size)
    return found


def test_transactions_that_hold_the_lock_too_long_become_smaller_down_to_a_minimum() -> None:
    assert sizes(0.0021, 0.1, 0.1) == [16, 8, 8]


def test_short_transactions_become_larger_up_to_a_maximum() -> None:
    assert sizes(*[0.0009] * 4) == [64, 128, 256, 256]


def test_transactions_of_about_the_wanted_time_keep_their_size() -> None:
    assert sizes(0.001, 0.0015, 0.002) == [32, 32, 32]


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    """A connection to a new file."""
    with closing(connected(tmp_path / "vault.db", is_reader=False)) as found:
        yield found


def level(connection: sqlite3.Connection) -> int:
    """Return when SQLite waits for the disk."""
    (found,) = connection.execute("PRAGMA synchronous").fetchone()
    return int(found)


def test_a_transaction_of_a_drop_does_not_wait_for_the_disk_and_later_ones_do(connection: sqlite3.Connection) -> None:
    inside, _ = archived_logs._timed(connection, level)
    assert (inside, level(connection)) == (NORMAL, FULL)


def test_after_a_transaction_of_a_drop_that_fails_commits_wait_for_the_disk(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError):
        archived_logs._timed(connection, lambda found: found.execute("SELECT nothing"))
    assert level(connection) == FULL


def dropped(place: Path) -> None:
    """Drop the archived rows of an empty log."""

    async def run() -> None:
        storage = await SqliteStorage.open(place)
        try:
            await storage.migrate()
            await storage.drop_archived(LogName.ACCESS, 0, 10)
        finally:
            await storage.close()

    asyncio.run(run())


def test_the_log_is_synced_after_each_transaction_of_a_drop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    dropped(tmp_path / "vault.db")
    assert synced == [tmp_path / "vault.db-wal"]


def test_a_sync_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(_: int) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fdatasync", fails)
    with pytest.raises(StorageUnavailable, match=r"cannot sync vault\.db-wal: Input/output error"):
        dropped(tmp_path / "vault.db")
