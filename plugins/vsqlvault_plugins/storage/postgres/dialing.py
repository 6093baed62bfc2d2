"""Connects to the host of a URL that takes writes. Each host has its own deadline, and none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Generic, Protocol, TypeVar, cast

HEAD_START_SECONDS = 0.25
"""The time for which the last good host is dialed alone."""

GRACE_SECONDS = 0.5
"""If no host is known to be good, the time to wait for a better one after the first answer."""


class _Closable(Protocol):
    def terminate(self) -> None: ...


Made = TypeVar("Made", bound=_Closable)
Address = TypeVar("Address")


class NoHost(Exception, Generic[Address]):
    """No host can be used; ``failures`` has the reason of each."""

    def __init__(self, failures: Mapping[Address, BaseException]) -> None:
        super().__init__(failures)
        self.failures = failures


class Dialer(Generic[Address, Made]):
    """Dials hosts side by side and remembers which was good.

    The last good host is dialed first; the others join once it has failed, or has not answered within the head start. Where
    none is known to be good, all are dialed at once, and of those that answer soon the best one is taken: that is how a
    process that starts beside two primaries takes the newer one.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        dial: Callable[[Address], Awaitable[Made]],
        rank: Callable[[Made], int],
        *,
        head_start_seconds: float = HEAD_START_SECONDS,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        """``dial`` connects to one host within its own deadline or raises; of several, the highest ``rank`` is taken."""
        self._addresses = tuple(addresses)
        self._dial = dial
        self._rank = rank
        self._head_start_seconds = head_start_seconds
        self._grace_seconds = grace_seconds
        self._last_good: Address | None = None
        self._is_known = False

    def forget(self) -> None:
        """Take no host for good: the next connection asks all of them."""
        self._is_known = False

    async def connect(self) -> Made:
        """Return a connection. Raises NoHost."""
        tasks: dict[Address, asyncio.Task[Made]] = {}
        is_known = self._is_known
        try:
            if is_known:
                first = self._start(tasks, cast("Address", self._last_good))
                await asyncio.wait({first}, timeout=self._head_start_seconds)
            if not (is_known and _has_connected(first)):
                for address in self._addresses:
                    self._start(tasks, address)
            chosen = await self._best(tasks, 0.0 if is_known else self._grace_seconds)
            self._last_good, self._is_known = chosen, True
            return tasks.pop(chosen).result()
        finally:
            await _drop(tasks.values())

    def _start(self, tasks: dict[Address, asyncio.Task[Made]], address: Address) -> asyncio.Task[Made]:
        if address not in tasks:
            tasks[address] = asyncio.create_task(_awaited(self._dial(address)))
        return tasks[address]

    async def _best(self, tasks: Mapping[Address, asyncio.Task[Made]], grace_seconds: float) -> Address:
        """Return the address of the best connection of those that are there within the grace after the first."""
        waiting = {task for task in tasks.values() if not task.done()}
        while not any(map(_has_connected, tasks.values())):
            if not waiting:
                self._is_known = False
                raise NoHost({address: cast("BaseException", task.exception()) for address, task in tasks.items()})
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if waiting and grace_seconds:
            await asyncio.wait(waiting, timeout=grace_seconds)
        good = [address for address, task in tasks.items() if _has_connected(task)]
        return max(good, key=lambda address: self._rank(tasks[address].result()))


async def _awaited(work: Awaitable[Made]) -> Made:
    return await work


def _has_connected(task: asyncio.Task[Made]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _drop(tasks: Iterable[asyncio.Task[Made]]) -> None:
    """End the attempts that nobody needs any more, and close what they have made."""
    left = list(tasks)
    for task in left:
        task.cancel()
    for made in await asyncio.gather(*left, return_exceptions=True):
        if not isinstance(made, BaseException):
            made.terminate()
