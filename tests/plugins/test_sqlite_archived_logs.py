"""How a drop of archived rows on SQLite keeps commits waiting for a short time only."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault.model.transparency import LogName
from vsqlvault.testing import a_write
from vsqlvault_plugins.storage.sqlite import archived_logs
from vsqlvault_plugins.storage.sqlite.archived_logs import PieceSize
from vsqlvault_plugins.storage.sqlite.connection import connected
from vsqlvault_plugins.storage.sqlite.file_guard import EX_IOERR
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

FULL, NORMAL = 2, 1


def sizes(*seconds: float) -> list[int]:
    """Return the sizes after transactions of these durations."""
    size, found = PieceSize(32, 8, 256, 0.002), list[int]()
    for each in seconds:
        size.adjust(each)
        found.append(size.size)
    return found


def test_transactions_that_last_too_long_become_smaller_down_to_a_minimum() -> None:
    assert sizes(0.0021, 0.1, 0.1) == [16, 8, 8]


def test_short_transactions_become_larger_up_to_a_maximum() -> None:
    assert sizes(*[0.0009] * 4) == [64, 128, 256, 256]


def test_transactions_of_about_the_wanted_duration_keep_their_size() -> None:
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
    with archived_logs._unsynced(connection):
        inside = level(connection)
    assert (inside, level(connection)) == (NORMAL, FULL)


def test_after_a_transaction_of_a_drop_that_fails_commits_wait_for_the_disk(connection: sqlite3.Connection) -> None:
    with pytest.raises(sqlite3.OperationalError), archived_logs._unsynced(connection):
        connection.execute("SELECT nothing")
    assert level(connection) == FULL


ROWS = 48
"""More than the rows after which the log is synced, and at most those of the first two transactions."""


def archived(path: Path, rows: int = ROWS) -> None:
    """Store rows whose archive is recorded, and a newer one."""

    async def run() -> None:
        storage = await SqliteStorage.open(path)
        await storage.migrate()
        await storage.commit([a_write() for _ in range(rows + 1)])
        await storage.close()

    asyncio.run(run())
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(
            "INSERT INTO leaves (leaf_index, log, position) SELECT position - 1, 'access', position FROM access_log"
        )
        connection.execute("INSERT INTO log_archives VALUES (1, 0, ?, ?, 0, 0, '')", (rows, rows))


async def drop_all(storage: SqliteStorage) -> None:
    """Drop the archived rows of the access log."""
    place: int | None = 0
    while place is not None:
        place = await storage.drop_archived(LogName.ACCESS, place, ROWS)


def dropped(path: Path, rows: int = ROWS) -> None:
    """Drop archived rows of a new log."""
    archived(path, rows)

    async def run() -> None:
        storage = await SqliteStorage.open(path)
        try:
            await drop_all(storage)
        finally:
            await storage.close()

    asyncio.run(run())


def test_each_log_has_its_own_number_of_leaves_in_a_transaction(tmp_path: Path) -> None:
    archived(tmp_path / "vault.db", 1_000)

    async def run() -> int | None:
        storage = await SqliteStorage.open(tmp_path / "vault.db")
        try:
            for _ in range(20):  # of a log without rows, whose transactions are short
                await storage.drop_archived(LogName.PURGE, 0, 1_000)
            return await storage.drop_archived(LogName.ACCESS, 0, 1_000)
        finally:
            await storage.close()

    assert asyncio.run(run()) == archived_logs.FIRST_LEAVES


def test_a_transaction_that_drops_nothing_is_not_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    archived(tmp_path / "vault.db")

    async def run() -> None:
        storage = await SqliteStorage.open(tmp_path / "vault.db")
        try:
            monkeypatch.setattr(os, "fdatasync", synced.append)
            await storage.drop_archived(LogName.PURGE, 0, ROWS)
        finally:
            await storage.close()

    asyncio.run(run())
    assert synced == []


def test_the_log_is_synced_while_rows_are_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    dropped(tmp_path / "vault.db")
    assert set(synced) == {tmp_path / "vault.db-wal"}


def test_the_log_beside_the_file_to_which_a_symbolic_link_leads_is_synced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(os, "fdatasync", lambda file: synced.append(Path(f"/proc/self/fd/{file}").readlink()))
    (tmp_path / "data").mkdir()
    (tmp_path / "vault.db").symlink_to("data/vault.db")
    dropped(tmp_path / "vault.db")
    assert set(synced) == {tmp_path / "data/vault.db-wal"}


def fails(_: int) -> None:
    """Fail, as ``fdatasync`` on a broken disk."""
    raise OSError(5, "Input/output error")


def test_after_a_sync_that_fails_nothing_is_acknowledged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    archived(tmp_path / "vault.db")

    async def run() -> bool:
        storage = await SqliteStorage.open(tmp_path / "vault.db", on_io_error=lambda: called.append("failed"))
        monkeypatch.setattr(os, "fdatasync", fails)
        with pytest.raises(StorageUnavailable, match=r"cannot sync vault\.db-wal: Input/output error"):
            await drop_all(storage)
        with pytest.raises(StorageUnavailable, match="an I/O error occurred"):
            await storage.commit([a_write()])
        await storage.close()
        return bool(storage.describe()["durable"])

    assert (asyncio.run(run()), called) == (False, ["failed"])


def test_a_log_that_cannot_be_opened_is_an_error_after_which_the_storage_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: object) -> int:
        raise OSError(24, "Too many open files")

    archived(tmp_path / "vault.db")

    async def run() -> bool:
        storage = await SqliteStorage.open(tmp_path / "vault.db")
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", refused)
            with pytest.raises(StorageUnavailable, match=r"cannot open vault\.db-wal: Too many open files"):
                await drop_all(storage)
        await storage.commit([a_write()])
        await storage.close()
        return bool(storage.describe()["durable"])

    assert asyncio.run(run())


FAILING_DROP = """
import asyncio, os, sys
from pathlib import Path
from vsqlvault.errors import StorageUnavailable
from vsqlvault.model.transparency import LogName
from vsqlvault.runtime.running import leave, run_to_end
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

def fails(_):
    raise OSError(5, "Input/output error")

async def main():
    storage = await SqliteStorage.open(Path("vault.db"))
    try:
        os.fdatasync = fails
        await storage.drop_archived(LogName.ACCESS, 0, 32)
    finally:
        await storage.close()

try:
    run_to_end(main())
except StorageUnavailable:
    sys.exit(leave(5))
"""


def test_a_command_whose_sync_fails_ends_without_a_checkpoint(tmp_path: Path) -> None:
    archived(tmp_path / "vault.db")
    ended = subprocess.run([sys.executable, "-c", FAILING_DROP], cwd=tmp_path, timeout=60, check=False)
    assert ended.returncode in {5, EX_IOERR}  # by itself, or by the guard
    assert (
        tmp_path / "vault.db-wal"
    ).exists()  # the last connection that is closed runs a checkpoint, and removes the log
