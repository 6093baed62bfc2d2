"""Pages of SQLite are answered by aiosqlite: one reading after another, each of one state where it asks for it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.errors import AuditUnavailable, StorageUnavailable
from vsqlvault.testing import storing
from vsqlvault_plugins.storage.sql.reading import Reading, fetch_value
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
