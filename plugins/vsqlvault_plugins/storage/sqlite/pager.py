"""Answers pages and reports by aiosqlite, statement by statement, beside the threads that serve requests."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

import aiosqlite

from vsqlvault.errors import AuditUnavailable, StorageUnavailable
from vsqlvault_plugins.storage.sql.dialect import SQLITE
from vsqlvault_plugins.storage.sql.reading import Answer, Reading
from vsqlvault_plugins.storage.sqlite.answers import stored
from vsqlvault_plugins.storage.sqlite.connection import translated
from vsqlvault_plugins.storage.sqlite.file_guard import FileGuard
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES


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
            if self._is_closed:
                raise StorageUnavailable("the storage is closed")
            try:
                with self._guard.reading():
                    async with self._transaction(consistently):
                        return await self._driven(reading)
            except sqlite3.Error as error:
                raise translated(error) from error
            except (OverflowError, UnicodeError) as error:  # a number or text that no column can store
                raise AuditUnavailable from error

    async def close(self) -> None:
        """Close the connection after the reading in progress. Closing twice does nothing."""
        async with self._turn:
            self._is_closed = True
            await self._connection.close()

    async def _driven(self, reading: Reading[Answer]) -> Answer:
        try:
            wanted = next(reading)
            while True:
                sql, names = SQLITE.render(wanted.query)
                parameters = stored({name: wanted.parameters[name] for name in names})
                wanted = reading.send(list(await self._connection.execute_fetchall(sql, parameters)))
        except StopIteration as done:
            found: Answer = done.value
            return found

    @asynccontextmanager
    async def _transaction(self, consistently: bool) -> AsyncIterator[None]:
        if not consistently:
            yield
            return
        try:
            await self._connection.execute_fetchall(QUERIES["begin_read"])
            yield
        finally:  # also if the caller is cancelled again: it is the thread's next statement
            await asyncio.shield(self._roll_back())

    async def _roll_back(self) -> None:
        with suppress(sqlite3.OperationalError):  # no transaction has begun
            await self._connection.execute_fetchall(QUERIES["rollback"])
