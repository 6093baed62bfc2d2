"""Pages of SQLite are answered by aiosqlite: one reading after another, each of one state where it asks for it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import aiosqlite
import pytest

from vsqlvault.errors import AuditUnavailable, StorageUnavailable
from vsqlvault.testing import storing
from vsqlvault_plugins.storage.sql.reading import Reading, fetch_value
from vsqlvault_plugins.storage.sqlite.connection import connected
from vsqlvault_plugins.storage.sqlite.pager import Pager
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

COUNT = "SELECT count(*) FROM entries"


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[tuple[SqliteStorage, Pager]]:
    storage = await SqliteStorage.open(folder / "vault.db")
    try:
        await storage.migrate()
        await storage.commit([storing("paged-1")])
        yield storage, storage._pager
    finally:
        await storage.close()


def committed_between(pager: Pager, storage: SqliteStorage, consistently: bool) -> Any:
    """Count the entries before and after a commit, in one reading."""

    async def work() -> tuple[int, int]:
        def counting() -> Reading[tuple[int, int]]:
            first = yield from fetch_value(COUNT)
            committed.append(asyncio.ensure_future(storage.commit([storing("paged-2")])))
            while (second := (yield from fetch_value(COUNT))) == first and not committed[0].done():
                pass
            return first, second

        committed: list[asyncio.Future[Any]] = []
        found: tuple[int, int] = await pager.answer(counting(), consistently=consistently)
        await committed[0]
        return found

    return work()


def test_a_reading_that_asks_for_one_state_sees_one(tmp_path: Path) -> None:
    async def live() -> tuple[int, int]:
        async with opened(tmp_path) as (storage, pager):
            found: tuple[int, int] = await committed_between(pager, storage, consistently=True)
            return found

    assert asyncio.run(live()) == (1, 1)


def test_a_cancelled_reading_leaves_no_transaction(tmp_path: Path) -> None:
    async def live() -> list[int]:
        async with opened(tmp_path) as (storage, pager):
            for pause in range(6):  # cancelled after each step of the reading
                task = asyncio.create_task(pager.answer(fetch_value(COUNT), consistently=True))
                for _ in range(pause):
                    await asyncio.sleep(0)
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
            await storage.commit([storing("paged-3")])
            found: list[int] = [await pager.answer(fetch_value(COUNT), consistently=each) for each in (True, False)]
            return found

    assert asyncio.run(live()) == [2, 2]


def test_readings_at_once_are_answered_one_after_another(tmp_path: Path) -> None:
    async def live() -> list[int]:
        async with opened(tmp_path) as (_, pager):
            asked = [pager.answer(fetch_value(COUNT), consistently=number % 2 == 0) for number in range(20)]
            found: list[int] = await asyncio.gather(*asked)
            return found

    assert asyncio.run(live()) == [1] * 20


@pytest.mark.parametrize(
    ("query", "parameters", "error"),
    [
        ("SELECT nothing FROM nowhere", {}, StorageUnavailable),
        ("SELECT :number", {"number": 2**63}, AuditUnavailable),
    ],
)
def test_an_error_of_sqlite_is_one_of_the_vault(tmp_path: Path, query: str, parameters: Any, error: type) -> None:
    async def live() -> int:
        async with opened(tmp_path) as (_, pager):
            with pytest.raises(error):
                await pager.answer(fetch_value(query, **parameters), consistently=True)
            found: int = await pager.answer(fetch_value(COUNT), consistently=True)
            return found

    assert asyncio.run(live()) == 1


class Beside:
    """A second connection, before whose transactions others commit. Counts the transactions."""

    def __init__(self, connection: aiosqlite.Connection, storage: SqliteStorage, commits: int) -> None:
        self._connection = connection
        self._storage = storage
        self._commits = commits
        self.begun = 0

    async def execute_fetchall(self, query: str, parameters: Any = ()) -> Any:
        if query.startswith("BEGIN"):
            self.begun += 1
            if self.begun <= self._commits:
                await self._storage.commit([storing(f"between-{self.begun}")])
        return await self._connection.execute_fetchall(query, parameters)

    async def close(self) -> None:
        await self._connection.close()


def counting(log: list[str], name: str) -> Reading[int]:
    """Count the entries twice, and log when it begins and ends."""
    log.append(f"{name} begins")
    first = yield from fetch_value(COUNT)
    found: int = yield from fetch_value(COUNT)
    assert found == first
    log.append(f"{name} ends")
    return found


async def counted_by_both(
    folder: Path, commits: int, *, opens: bool = True
) -> tuple[tuple[int, int], list[str], Beside | None]:
    """Count entries by two readings, and return both counts, the log of both, and the second connection."""
    async with opened(folder) as (storage, pager):
        beside: list[Beside] = []

        async def open_beside() -> Any:
            if not opens:
                raise sqlite3.OperationalError("unable to open database file")
            connection = await storage._keeper.run(Pager.prepared, partial(connected, folder / "vault.db", True))
            beside.append(Beside(await connection, storage, commits))
            return beside[0]

        log: list[str] = []
        found = await pager.answer_both(counting(log, "first"), counting(log, "second"), open_beside)
        return found, log, beside[0] if beside else None


AT_ONCE = {"first begins", "second begins"}
IN_TURN = ["first begins", "first ends", "second begins", "second ends"]


@pytest.mark.parametrize("commits", [0, 1, 3])
def test_two_readings_at_once_begin_again_until_they_see_one_state(tmp_path: Path, commits: int) -> None:
    found, log, beside = asyncio.run(counted_by_both(tmp_path, commits))
    assert found == (1 + commits, 1 + commits)
    assert set(log[:2]) == AT_ONCE
    assert beside is not None
    assert beside.begun == commits + 1


def test_readings_follow_each_other_where_others_commit_all_the_time(tmp_path: Path) -> None:
    found, log, _ = asyncio.run(counted_by_both(tmp_path, 1000))
    assert found[0] == found[1]
    assert log == IN_TURN


def test_readings_follow_each_other_where_no_second_connection_opens(tmp_path: Path) -> None:
    found, log, _ = asyncio.run(counted_by_both(tmp_path, 0, opens=False))
    assert (found, log) == ((1, 1), IN_TURN)


@pytest.mark.parametrize("which", [0, 1])
def test_a_reading_that_fails_ends_the_other_and_closes_the_second_connection(tmp_path: Path, which: int) -> None:
    def failing() -> Reading[int]:
        yield from fetch_value(COUNT)
        raise StorageUnavailable("damaged")

    async def live() -> int:
        async with opened(tmp_path) as (storage, _):
            before = {*threading.enumerate()}
            both = [counting([], "sound"), counting([], "sound")]
            both[which] = failing()
            with pytest.raises(StorageUnavailable, match="damaged"):
                await storage._answer_both(both[0], both[1])
            for thread in {*threading.enumerate()} - before:
                thread.join(10)
                assert not thread.is_alive()
            await storage.commit([storing("paged-4")])
            return sum(await storage._answer_both(counting([], "first"), counting([], "second")))

    assert asyncio.run(live()) == 4


def test_a_closed_pager_refuses(tmp_path: Path) -> None:
    async def live() -> None:
        async with opened(tmp_path) as (_, pager):
            await pager.close()
            await pager.close()
            with pytest.raises(StorageUnavailable, match="the storage is closed"):
                await pager.answer(fetch_value(COUNT), consistently=False)

    asyncio.run(live())


def test_no_thread_of_the_storage_keeps_the_process_alive(tmp_path: Path) -> None:
    async def live() -> list[bool]:
        before = {*threading.enumerate()}
        async with opened(tmp_path):
            return [thread.daemon for thread in threading.enumerate() if thread not in before]

    found = asyncio.run(live())
    assert len(found) >= 4
    assert all(found)
