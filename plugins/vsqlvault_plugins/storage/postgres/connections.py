"""A pool of a few connections. A connection is used only while no error has occurred on it."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, Self, TypeAlias, TypeVar

import asyncpg

from vsqlvault.errors import OutcomeUnknown, Overloaded, StorageUnavailable
from vsqlvault_plugins.storage.postgres.failures import answered

Connection: TypeAlias = "asyncpg.Connection[Any]"
P = ParamSpec("P")
Result = TypeVar("Result")
WAIT_SECONDS = 2.0
CLOSE_SECONDS = 2.0
NOT_REPLICATED = "a commit did not wait for its standby"


class Deadline:
    """Cancels the current task if a block takes longer than ``seconds``; the block then raises TimeoutError.

    It does what ``asyncio.timeout`` does, without two coroutines for each round trip to the server.
    """

    __slots__ = ("_cancelling", "_handle", "_is_over", "_task")

    def __init__(self, seconds: float) -> None:
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task has a deadline")
        self._task = task
        self._cancelling = task.cancelling()
        self._is_over = False
        self._handle = task.get_loop().call_later(seconds, self._end)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        self._handle.cancel()
        if self._is_over and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error  # nobody else has cancelled the task

    def _end(self) -> None:
        self._is_over = True
        self._task.cancel()


class Connections:
    """At most ``limit`` connections, created on demand and kept.

    A connection on which a statement was late, cancelled or cut off is closed, because its state is unknown. If the
    server has no free connection, existing ones are shared. Requests are served in order: a caller that returns a
    connection and wants one again queues behind the others.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Connection]],
        limit: int,
        *,
        wait_seconds: float = WAIT_SECONDS,
        on_late: Callable[[], None] | None = None,
        is_replicated: Callable[[Connection], bool] | None = None,
    ) -> None:
        """``on_late`` is called when a statement is late. ``is_replicated`` says whether commits have waited for a standby."""
        self._connect = connect
        self._limit = limit
        self._wait_seconds = wait_seconds
        self._on_late = on_late
        self._is_replicated = is_replicated
        self._generation = 0
        self._beside: set[Connection] = set()
        self._idle: list[Connection] = []
        self._used: set[Connection] = set()
        self._making = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._called = 0
        self._is_closed = False
        self._all_back: asyncio.Future[None] | None = None

    @asynccontextmanager
    async def borrow(self, seconds: float) -> AsyncIterator[Connection]:
        """Lend a connection for the length of the block, which may take ``seconds``.

        Raises:
            StorageUnavailable: no connection is available. Overloaded: all are in use for too long.
            OutcomeUnknown: a commit of the block is durable here, but did not wait for its standby.
            TimeoutError: the block was late. Errors of the block.
        """
        connection = await self.lend()
        is_sound = False
        try:
            with Deadline(seconds):
                yield connection
            if self._is_replicated is not None and not self._is_replicated(connection):
                raise OutcomeUnknown(NOT_REPLICATED)
            is_sound = True
        except Exception as error:
            is_sound = self._is_sound_after(error)
            raise
        finally:
            self._give_back(connection, is_sound and not connection.is_in_transaction())

    async def lend(self) -> Connection:
        """Lend a connection. ``use`` follows at once, and returns it. Raises StorageUnavailable, Overloaded as ``borrow``."""
        is_wanted = self._waiting or self._called or self._is_closed
        connection = (None if is_wanted else self._sound_one()) or await self._take()
        self._used.add(connection)
        return connection

    async def use(
        self,
        connection: Connection,
        seconds: float,
        work: Callable[Concatenate[Connection, P], Awaitable[Result]],
        *arguments: P.args,
        **named: P.kwargs,
    ) -> Result:
        """Return ``work(connection, …)`` on a connection from ``lend``. It saves the context manager of ``borrow``.

        Raises OutcomeUnknown, TimeoutError as ``borrow``, and the errors of ``work``.
        """
        is_sound = False
        try:
            with Deadline(seconds):
                result = await work(connection, *arguments, **named)
            if self._is_replicated is not None and not self._is_replicated(connection):
                raise OutcomeUnknown(NOT_REPLICATED)
            is_sound = True
        except Exception as error:
            is_sound = self._is_sound_after(error)
            raise
        finally:
            self._give_back(connection, is_sound and not connection.is_in_transaction())
        return result

    def _is_sound_after(self, error: Exception) -> bool:
        """Return whether a connection can be used after an error."""
        if isinstance(error, TimeoutError) and self._on_late is not None:
            self._on_late()
        return answered(error) or isinstance(error, (ValueError, OverflowError))

    @asynccontextmanager
    async def borrow_spare(self, seconds: float) -> AsyncIterator[Connection | None]:
        """Lend a connection if nobody waits for one and one more is left for others, and None otherwise.

        Raises the errors of ``borrow``, except those of a wait.
        """
        is_spare = not self._is_wanted and self.in_use + 1 < self._limit
        if is_spare and not self._idle:
            with suppress(StorageUnavailable):
                if made := await self._make():
                    self._idle.append(made)
        if not is_spare or self._is_wanted or not self._idle:
            yield None
            return
        async with self.borrow(seconds) as connection:
            yield connection

    @asynccontextmanager
    async def borrow_beside(self, seconds: float) -> AsyncIterator[Connection]:
        """Lend a connection beyond the limit, so that long work takes none from requests. It is closed afterwards.

        If the server has no free connection, one of the pool is lent. Raises the errors of ``borrow``.
        """
        try:
            connection = await self._connect()
        except StorageUnavailable:
            async with self.borrow(seconds) as borrowed:
                yield borrowed
            return
        self._beside.add(connection)
        try:
            async with asyncio.timeout(seconds):
                yield connection
            with suppress(Exception):
                await connection.close(timeout=CLOSE_SECONDS)
        finally:
            self._beside.discard(connection)
            connection.terminate()

    def drop_all(self) -> None:
        """Close every connection, lent or not, because the next one leads to another server."""
        self._generation += 1
        for connection in (*self._idle, *self._used, *self._beside):
            connection.terminate()
        self._idle.clear()

    async def close(self) -> None:
        """Lend no more connections, wait for work in progress, and close all connections."""
        self._is_closed = True
        for waiter in self._waiting:
            if not waiter.done():
                waiter.set_result(None)
                self._called += 1
        if self.in_use:
            self._all_back = asyncio.get_running_loop().create_future()
            await self._all_back
        while self._idle:
            with suppress(Exception):
                await self._idle.pop().close(timeout=CLOSE_SECONDS)

    @property
    def in_use(self) -> int:
        """The number of connections that are lent or being created."""
        return len(self._used) + self._making

    @property
    def _is_wanted(self) -> bool:
        return bool(self._waiting or self._called or self._is_closed)

    async def _take(self) -> Connection:
        try:
            async with asyncio.timeout(self._wait_seconds):
                if self._waiting or self._called >= self._limit - self.in_use > 0:
                    await self._wait()
                while not self._is_closed:
                    if found := self._sound_one():
                        return found
                    if self.in_use < self._limit and (made := await self._make()):
                        return made
                    if not self._idle:
                        await self._wait()
        except TimeoutError as error:
            raise (Overloaded if self.in_use else StorageUnavailable) from error
        raise StorageUnavailable("the storage is closed")

    def _sound_one(self) -> Connection | None:
        """Return an idle connection, if there is one."""
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
        return None

    async def _make(self) -> Connection | None:
        """Return a new connection, or None if none is available but others of the pool are or will be.

        A full server may report this, or disconnect without an answer.
        """
        self._making += 1
        try:
            while True:
                generation = self._generation
                connection = await self._connect()
                if generation == self._generation:
                    return connection
                connection.terminate()  # all were closed meanwhile, perhaps because of what this one found
        except StorageUnavailable:
            if self._idle or self.in_use > 1:
                return None
            raise
        finally:
            self._making -= 1
            self._wake()

    async def _wait(self) -> None:
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self._called -= 1
                self._wake()
            raise
        self._called -= 1

    def _wake(self) -> None:
        if self._all_back and not self._all_back.done() and not self.in_use:
            self._all_back.set_result(None)
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                self._called += 1
                return

    def _give_back(self, connection: Connection, is_sound: bool) -> None:
        self._used.discard(connection)
        if is_sound and not connection.is_closed():
            self._idle.append(connection)
        else:
            connection.terminate()
        if self._waiting or self._all_back:
            self._wake()
