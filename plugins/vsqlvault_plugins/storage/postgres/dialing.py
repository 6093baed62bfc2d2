"""Connecting to whichever host of a URL takes writes now: each has its own deadline, and none waits for another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, Protocol, TypeVar

HEAD_START_SECONDS = 0.25
"""The host that was last good is dialed alone for so long."""


class _Closable(Protocol):
    def terminate(self) -> None: ...


Made = TypeVar("Made", bound=_Closable)
Address = TypeVar("Address")


class NoHost(Exception):
    """No host can be used; ``failures`` has the reason of each, in the order of the hosts."""

    def __init__(self, failures: Sequence[BaseException]) -> None:
        super().__init__(failures)
        self.failures = failures


class Dialer(Generic[Address, Made]):
    """Dials hosts side by side and remembers which was good.

    The last good host is dialed first; the others join once it has failed, or has not answered within the head start. Where
    none is known to be good, all are dialed at once, each has its answer or its deadline, and the best one is taken: that is
    how a process that starts beside two primaries takes the newer one.
    """

    def __init__(
        self,
        addresses: Sequence[Address],
        dial: Callable[[Address], Awaitable[Made]],
        rank: Callable[[Made], int],
    ) -> None:
        """``dial`` connects to one host within its own deadline or raises; of several, the highest ``rank`` is taken."""
        self._addresses = tuple(addresses)
        self._dial = dial
        self._rank = rank
        self._last_good: Address | None = None

    def forget(self) -> None:
        """Take no host for good: the next connection asks all of them."""
        self._last_good = None

    async def connect(self) -> Made:
        """Return a connection. Raises NoHost."""
        tasks: dict[Address, asyncio.Task[Made]] = {}
        good = self._last_good
        try:
            if good is not None:
                tasks[good] = asyncio.create_task(_awaited(self._dial(good)))
                await asyncio.wait(tasks.values(), timeout=HEAD_START_SECONDS)
                if _has_connected(tasks[good]):
                    return tasks.pop(good).result()
            for address in self._addresses:
                if address not in tasks:
                    tasks[address] = asyncio.create_task(_awaited(self._dial(address)))
            chosen = await self._best(tasks, wait_for_all=good is None)
            self._last_good = chosen
            return tasks.pop(chosen).result()
        finally:
            await _drop(tasks.values())

    async def _best(self, tasks: dict[Address, asyncio.Task[Made]], *, wait_for_all: bool) -> Address:
        """Return the address of the best connection: of the first that is there, or of all that will be."""
        waiting = set(tasks.values())
        while waiting:
            until = asyncio.ALL_COMPLETED if wait_for_all else asyncio.FIRST_COMPLETED
            done, waiting = await asyncio.wait(waiting, return_when=until)
            if good := [address for address, task in tasks.items() if task in done and _has_connected(task)]:
                return max(good, key=lambda address: self._rank(tasks[address].result()))
        self._last_good = None
        raise NoHost([error for task in tasks.values() if (error := task.exception()) is not None])


async def _awaited(work: Awaitable[Made]) -> Made:
    return await work


def _has_connected(task: asyncio.Task[Made]) -> bool:
    return task.done() and not task.cancelled() and task.exception() is None


async def _drop(tasks: Sequence[asyncio.Task[Made]] | object) -> None:
    """End the attempts that nobody needs any more, and close what they have made."""
    left = list(tasks)  # type: ignore[call-overload]
    for task in left:
        task.cancel()
    for made in await asyncio.gather(*left, return_exceptions=True):
        if not isinstance(made, BaseException):
            made.terminate()
