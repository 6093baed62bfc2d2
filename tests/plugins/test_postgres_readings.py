"""Two readings at once on PostgreSQL are answered from one state."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.support.postgres import Databases
from vsqlvault.errors import StorageUnavailable
from vsqlvault_plugins.storage.postgres.answers import answer_both
from vsqlvault_plugins.storage.postgres.connections import Connection, Connections
from vsqlvault_plugins.storage.postgres.server import Server
from vsqlvault_plugins.storage.sql.reading import Reading, fetch_value

COUNT = "SELECT count(*) FROM readings"


def counting(log: list[str], name: str) -> Reading[int]:
    log.append(f"{name} begins")
    first = yield from fetch_value(COUNT)
    second = yield from fetch_value(COUNT)
    log.append(f"{name} ends")
    return first if first == second else -1


class _Late:
    """A connection that lets another one commit a row before each of its queries."""

    def __init__(self, connection: Connection, other: Connection) -> None:
        self._connection, self._other = connection, other

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    async def fetch(self, sql: str, *arguments: Any) -> Any:
        await self._other.execute("INSERT INTO readings VALUES (1)")
        return await self._connection.fetch(sql, *arguments)


class _WithLateSpare(Connections):
    @asynccontextmanager
    async def borrow_spare(self, seconds: float) -> AsyncIterator[Connection | None]:
        async with super().borrow_spare(seconds) as spare:
            other = await self._connect()
            yield None if spare is None else _Late(spare, other)  # type: ignore[misc]
            await other.close()


@pytest.fixture
def url(postgres: Databases) -> Iterator[str]:
    """Return the URL of a database with an empty table."""
    name = postgres.create_database()

    async def create() -> None:
        connection = await Server(postgres.url(name)).connect()
        await connection.execute("CREATE TABLE readings (n int)")
        await connection.close()

    asyncio.run(create())
    yield postgres.url(name)
    postgres.drop_database(name)


def test_both_readings_see_the_same_rows_while_others_commit(url: str) -> None:
    async def scenario() -> None:
        connections = _WithLateSpare(Server(url).connect, 3)
        log: list[str] = []
        assert await answer_both(connections, 30, counting(log, "first"), counting(log, "second")) == (0, 0)
        assert set(log[:2]) == {"first begins", "second begins"}
        async with connections.borrow(30) as connection:
            assert await connection.fetchval(COUNT) == 2
        await connections.close()

    asyncio.run(scenario())


def test_without_a_spare_connection_one_reading_follows_the_other(url: str) -> None:
    async def scenario() -> None:
        connections = _WithLateSpare(Server(url).connect, 2)
        log: list[str] = []
        assert await answer_both(connections, 30, counting(log, "first"), counting(log, "second")) == (0, 0)
        assert log == ["first begins", "first ends", "second begins", "second ends"]
        await connections.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("which", [0, 1])
def test_a_reading_that_fails_ends_the_other_and_frees_both_connections(url: str, which: int) -> None:
    async def scenario() -> None:
        def failing() -> Reading[int]:
            yield from fetch_value(COUNT)
            raise StorageUnavailable("damaged")

        connections = Connections(Server(url).connect, 3)
        both = [counting([], "sound"), counting([], "sound")]
        both[which] = failing()
        with pytest.raises(StorageUnavailable, match="damaged"):
            await answer_both(connections, 30, both[0], both[1])
        assert connections.in_use == 0
        assert await answer_both(connections, 30, counting([], "first"), counting([], "second")) == (0, 0)
        await connections.close()

    asyncio.run(scenario())
