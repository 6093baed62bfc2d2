"""PostgreSQL that is down, hung, crowded, cut off or full: the responses, and the recovery afterwards."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterator
from contextlib import AsyncExitStack
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.postgres import Databases, PostgresServer
from vsqlvault.errors import OutcomeUnknown, StorageFull, StorageUnavailable, Unavailable
from vsqlvault.interfaces.storage import LogQuery, Read
from vsqlvault.interfaces.writes import Committed
from vsqlvault.testing import a_write, storing
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage

RECOVERY_SECONDS = 2.0
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 60))


@pytest.fixture
def storage(run: Run, postgres_url: str) -> Iterator[PostgresStorage]:
    storage = run(PostgresStorage.open(postgres_url))
    run(storage.migrate())
    yield storage
    run(storage.close())


async def rows(storage: PostgresStorage) -> int:
    return len(await storage.access_log(LogQuery(limit=1000)))


async def backend(storage: PostgresStorage) -> int:
    async with storage._connections.borrow(2) as connection:
        return int(await connection.fetchval("SELECT pg_backend_pid()"))


async def recovered(storage: PostgresStorage) -> float:
    """Return how many seconds it takes until a read and a commit go through again."""
    began = time.monotonic()
    while True:
        try:
            await storage.read([Read()])
            assert await storage.commit([a_write()]) == [Committed()]
        except Unavailable:
            assert time.monotonic() < began + 20
            await asyncio.sleep(0.02)
        else:
            return time.monotonic() - began


class TestDown:
    @pytest.mark.parametrize("mode", ["fast", "immediate"])
    def test_it_is_unavailable_at_once_and_back_by_itself(
        self, run: Run, stoppable_postgres: PostgresServer, storage: PostgresStorage, mode: Any
    ) -> None:
        run(storage.commit([storing()]))
        stoppable_postgres.stop(mode)
        for _ in range(3):
            began = time.monotonic()
            with pytest.raises(StorageUnavailable):
                run(storage.read([Read()]))
            with pytest.raises(StorageUnavailable):
                run(storage.commit([a_write()]))
            assert time.monotonic() - began < 1
        stoppable_postgres.start()
        assert run(recovered(storage)) < RECOVERY_SECONDS
        assert run(rows(storage)) == 2

    def test_a_killed_backend_takes_all_connections_along_and_they_come_back(
        self, run: Run, stoppable_postgres: PostgresServer, storage: PostgresStorage
    ) -> None:
        run(storage.commit([storing()]))
        stoppable_postgres.kill_backend(run(backend(storage)))
        assert run(recovered(storage)) < 10
        assert run(rows(storage)) == 2


class TestHung:
    def test_a_read_ends_at_its_deadline_a_commit_is_unknown_and_no_connection_is_used_again(
        self, run: Run, stoppable_postgres: PostgresServer, storage: PostgresStorage
    ) -> None:
        before = run(backend(storage))
        stoppable_postgres.pause()

        async def both() -> tuple[Any, Any, float]:
            began = time.monotonic()
            found = await asyncio.gather(storage.commit([a_write()]), storage.read([Read()]), return_exceptions=True)
            return (*found, time.monotonic() - began)

        commit, read, seconds = run(both())
        stoppable_postgres.resume()
        assert type(commit) is OutcomeUnknown
        assert isinstance(read, Unavailable)
        assert seconds < 6
        assert run(recovered(storage)) < RECOVERY_SECONDS
        assert run(backend(storage)) != before


class TestCrowded:
    def test_with_no_connection_to_spare_those_that_are_there_are_shared(
        self, run: Run, postgres: Databases, postgres_url: str, storage: PostgresStorage
    ) -> None:
        async def crowd() -> None:
            await storage.commit([storing()])
            async with AsyncExitStack() as stack:
                try:
                    while True:
                        connection = await asyncpg.connect(postgres_url)
                        stack.push_async_callback(connection.close)
                except asyncpg.TooManyConnectionsError:
                    pass
                found = await asyncio.gather(*(storage.commit([a_write()]) for _ in range(20)))
                assert found == [[Committed()]] * 20
                with pytest.raises(StorageUnavailable, match="no free connection"):
                    await PostgresStorage.open(postgres_url)

        run(crowd())
        assert run(rows(storage)) == 21

    def test_one_connection_is_enough(self, run: Run, postgres_url: str, storage: PostgresStorage) -> None:
        async def crowd() -> None:
            single = await PostgresStorage.open(postgres_url, pool_size=1)
            writes = [single.commit([a_write()]) for _ in range(30)]
            reads = [single.read([Read()]) for _ in range(30)]
            pages = [single.access_log(LogQuery(limit=5)) for _ in range(5)]
            await asyncio.gather(*writes, *reads, *pages)
            await single.close()

        run(crowd())
        assert run(rows(storage)) == 30


class TestCutOff:
    def test_a_commit_whose_answer_is_lost_is_unknown_and_whole(
        self, run: Run, postgres: Databases, postgres_url: str, storage: PostgresStorage
    ) -> None:
        database = urlsplit(postgres_url).path[1:]

        async def cut() -> None:
            await storage.commit([a_write()])
            blocker = await asyncpg.connect(postgres_url)
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE vault.access_log IN SHARE MODE")
                committing = asyncio.ensure_future(storage.commit([a_write()]))
                await asyncio.sleep(0.2)
                waiting = "SELECT pid FROM pg_locks WHERE NOT granted"
                postgres.sql(f"SELECT pg_terminate_backend(pid) FROM ({waiting}) AS found", database)
                with pytest.raises(OutcomeUnknown):
                    await committing
            await blocker.close()

        run(cut())
        assert run(recovered(storage)) < RECOVERY_SECONDS
        assert run(rows(storage)) == 2

    def test_a_caller_that_is_cancelled_takes_its_connection_along(
        self, run: Run, postgres_url: str, storage: PostgresStorage
    ) -> None:
        async def cancel() -> tuple[int, int]:
            before = await backend(storage)
            blocker = await asyncpg.connect(postgres_url)
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE vault.access_log IN SHARE MODE")
                committing = asyncio.ensure_future(storage.commit([a_write()]))
                await asyncio.sleep(0.1)
                committing.cancel()
                await asyncio.gather(committing, return_exceptions=True)
            await blocker.close()
            return before, await backend(storage)

        before, after = run(cancel())
        assert before != after

    def test_a_lock_that_somebody_holds_on_to_ends_as_unavailable(
        self, run: Run, postgres_url: str, storage: PostgresStorage
    ) -> None:
        async def wait() -> None:
            blocker = await asyncpg.connect(postgres_url)
            async with blocker.transaction():
                await blocker.execute("LOCK TABLE vault.access_log IN SHARE MODE")
                with pytest.raises(StorageUnavailable):
                    await storage.commit([a_write()])
            await blocker.close()
            assert await storage.commit([a_write()]) == [Committed()]

        run(wait())
        assert run(rows(storage)) == 1


def test_a_full_disk_has_its_own_error(run: Run, postgres_url: str, storage: PostgresStorage) -> None:
    async def fill() -> None:
        connection = await asyncpg.connect(postgres_url)
        await connection.execute(
            "CREATE FUNCTION public.no_room() RETURNS trigger LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE EXCEPTION 'full' USING ERRCODE = 'disk_full'; END $$;"
            "CREATE TRIGGER no_room BEFORE INSERT ON vault.access_log EXECUTE FUNCTION public.no_room()"
        )
        await connection.close()
        (outcome,) = await storage.commit([storing()])
        assert isinstance(outcome, StorageFull)
        with pytest.raises(StorageFull):
            await storage.commit([a_write()])
        assert storage.describe()["full"] is True
        (snapshot,) = await storage.read([Read(None)])
        assert snapshot.entry is None

    run(fill())
