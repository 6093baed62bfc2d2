"""Another program holds the write lock of the database: requests are answered in time, and background work waits behind."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault.testing import a_write
from vsqlvault_plugins.storage.sqlite.file_guard import FileGuard, StorageBusy
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage


def locked(path: Path) -> sqlite3.Connection:
    """Return a connection of another program that holds the write lock."""
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    return other


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Refusing:
    """A function that finds the database locked, and the busy timeout with which it was called."""

    def __init__(self) -> None:
        self.millis: list[int] = []
        self.is_locked = True

    def __call__(self, connection: sqlite3.Connection) -> None:
        self.millis.append(connection.execute("PRAGMA busy_timeout").fetchone()[0])
        if self.is_locked:
            error = sqlite3.OperationalError()
            error.sqlite_errorname = "SQLITE_BUSY"
            raise error


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def guard(tmp_path: Path, clock: Clock) -> FileGuard:
    path = tmp_path / "vault.db"
    path.touch()
    return FileGuard(path, lambda: None, locks=False, lock_seconds=5, monotonic=clock)


def test_requests_that_wait_for_one_lock_share_one_deadline(guard: FileGuard, clock: Clock) -> None:
    found, connection = Refusing(), sqlite3.Connection(":memory:")
    for now in (100.0, 103.0, 105.0, 130.0):
        clock.now = now
        with pytest.raises(StorageBusy):
            guard.write(found, connection)
    assert found.millis == [5000, 2000, 20, 20]


def test_the_whole_wait_returns_once_the_lock_was_free(guard: FileGuard, clock: Clock) -> None:
    found, connection = Refusing(), sqlite3.Connection(":memory:")
    with pytest.raises(StorageBusy):
        guard.write(found, connection)
    found.is_locked = False
    clock.now = 140.0
    guard.write(found, connection)
    guard.write(found, connection)
    assert found.millis == [5000, 20, 5000]


def test_background_work_does_not_wait_on_the_thread_of_commits(guard: FileGuard) -> None:
    found = Refusing()
    with pytest.raises(StorageBusy):
        guard.write_at_once(found, sqlite3.Connection(":memory:"))
    assert found.millis == [0]


def test_background_work_that_waits_does_not_shorten_the_wait_of_requests(guard: FileGuard, clock: Clock) -> None:
    found, connection = Refusing(), sqlite3.Connection(":memory:")
    with pytest.raises(StorageBusy):
        guard.write_at_once(found, connection)
    clock.now = 110.0
    with pytest.raises(StorageBusy):
        guard.write(found, connection)
    assert found.millis == [0, 5000]


def test_a_request_is_answered_while_background_work_waits_for_the_lock(tmp_path: Path) -> None:
    async def run() -> bool:
        storage = await SqliteStorage.open(tmp_path / "vault.db", lock_seconds=0.01)
        await storage.migrate()
        other = locked(tmp_path / "vault.db")
        lease = asyncio.create_task(storage.acquire_lease("write-lock", "a", 5))
        await asyncio.sleep(0.02)
        with pytest.raises(StorageUnavailable):
            await storage.commit([a_write()])
        waited = not lease.done()
        other.rollback()
        other.close()
        assert await lease
        await storage.close()
        return waited

    assert asyncio.run(run())


def test_commits_continue_once_the_lock_is_released(tmp_path: Path) -> None:
    async def run() -> None:
        storage = await SqliteStorage.open(tmp_path / "vault.db", lock_seconds=0.01)
        await storage.migrate()
        other = locked(tmp_path / "vault.db")
        with pytest.raises(StorageUnavailable):
            await storage.commit([a_write()])
        other.rollback()
        other.close()
        assert await storage.commit([a_write()])
        await storage.close()

    asyncio.run(run())
