"""Answers pages and reports by aiosqlite, statement by statement, beside the threads that serve requests."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress

import aiosqlite

from vsqlvault.errors import AuditUnavailable, StorageUnavailable, VaultError
from vsqlvault_plugins.storage.sql.dialect import SQLITE
from vsqlvault_plugins.storage.sql.reading import Answer, Other, Reading, both
from vsqlvault_plugins.storage.sqlite.answers import stored
from vsqlvault_plugins.storage.sqlite.connection import translated
from vsqlvault_plugins.storage.sqlite.file_guard import FileGuard
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES

SAME_STATE_ATTEMPTS = 10
"""How often two connections try to begin to read in the same state, about 0.3 ms each time."""


class Pager:
    """A connection that answers one reading after another."""

    def __init__(self, connection: aiosqlite.Connection, guard: FileGuard) -> None:
        self._connection = connection
        self._guard = guard
        self._turn = asyncio.Lock()
        self._is_closed = False

    @staticmethod
    def prepared(_: sqlite3.Connection, connect: Callable[[], sqlite3.Connection]) -> aiosqlite.Connection:
        """Return a connection that is opened when it is awaited. Called on a daemon thread, its own thread is one, too.

        Such a thread does not keep a process alive that has failed.
        """
        return aiosqlite.Connection(connect, iter_chunk_size=64)

    async def answer(self, reading: Reading[Answer], *, consistently: bool) -> Answer:
        """Answer a reading. ``consistently``: all its queries from one state.

        Raises:
            StorageUnavailable, AuditUnavailable: for errors of SQLite.
        """
        async with self._turn:
            with self._guarded():
                async with _transaction(self._connection) if consistently else nullcontext():
                    return await _driven(self._connection, reading)

    async def answer_both(
        self, first: Reading[Answer], second: Reading[Other], open_beside: Callable[[], Awaitable[aiosqlite.Connection]]
    ) -> tuple[Answer, Other]:
        """Answer two readings from one state: at once on two connections, of which ``open_beside`` opens the second.

        One follows the other if the second connection cannot be opened, or if others commit too often for both connections to
        begin in the same state.

        Raises:
            StorageUnavailable, AuditUnavailable: for errors of SQLite.
        """
        async with self._turn:
            with self._guarded():
                async with _opened(open_beside) as beside:
                    if beside is not None:
                        for _ in range(SAME_STATE_ATTEMPTS):
                            async with _same_state(self._connection, beside) as is_same:
                                if is_same:
                                    return await _at_once(self._connection, first, beside, second)
                async with _transaction(self._connection):
                    return await _driven(self._connection, both(first, second))

    async def close(self) -> None:
        """Close the connection after the reading in progress. Closing twice does nothing."""
        async with self._turn:
            self._is_closed = True
            await self._connection.close()

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        if self._is_closed:
            raise StorageUnavailable("the storage is closed")
        try:
            with self._guard.reading():
                yield
        except sqlite3.Error as error:
            raise translated(error) from error
        except (OverflowError, UnicodeError) as error:  # a number or text that no column can store
            raise AuditUnavailable from error


async def _driven(connection: aiosqlite.Connection, reading: Reading[Answer]) -> Answer:
    try:
        wanted = next(reading)
        while True:
            sql, names = SQLITE.render(wanted.query)
            parameters = stored({name: wanted.parameters[name] for name in names})
            wanted = reading.send(list(await connection.execute_fetchall(sql, parameters)))
    except StopIteration as done:
        found: Answer = done.value
        return found


async def _at_once(
    connection: aiosqlite.Connection, first: Reading[Answer], beside: aiosqlite.Connection, second: Reading[Other]
) -> tuple[Answer, Other]:
    other = asyncio.create_task(_driven(beside, second))
    try:
        return await _driven(connection, first), await other
    finally:
        other.cancel()
        await asyncio.gather(other, return_exceptions=True)


@asynccontextmanager
async def _opened(
    open_beside: Callable[[], Awaitable[aiosqlite.Connection]],
) -> AsyncIterator[aiosqlite.Connection | None]:
    """Open a second connection for the block. None: it cannot be opened."""
    try:
        connection = await open_beside()
    except (sqlite3.Error, VaultError):
        yield None
        return
    try:
        yield connection
    finally:
        await asyncio.shield(connection.close())


@asynccontextmanager
async def _same_state(connection: aiosqlite.Connection, beside: aiosqlite.Connection) -> AsyncIterator[bool]:
    """Begin to read on both connections. False: another connection has committed in between.

    ``beside`` reads its data version, which a commit changes, before and after ``connection`` has begun to read
    (https://sqlite.org/pragma.html#pragma_data_version).
    """
    before = await beside.execute_fetchall(QUERIES["data_version"])
    async with _transaction(connection), _transaction(beside):
        await connection.execute_fetchall(
            QUERIES["data_version"]
        )  # a deferred transaction begins to read with its first query
        yield await beside.execute_fetchall(QUERIES["data_version"]) == before


@asynccontextmanager
async def _transaction(connection: aiosqlite.Connection) -> AsyncIterator[None]:
    try:
        await connection.execute_fetchall(QUERIES["begin_read"])
        yield
    finally:  # also if the caller is cancelled again: it is the thread's next statement
        await asyncio.shield(_roll_back(connection))


async def _roll_back(connection: aiosqlite.Connection) -> None:
    with suppress(sqlite3.OperationalError):  # no transaction has begun
        await connection.execute_fetchall(QUERIES["rollback"])
