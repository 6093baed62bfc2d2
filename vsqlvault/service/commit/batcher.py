"""Gathering what arrives while the last flush runs into the next one."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from vsqlvault.errors import OutcomeUnknown, Overloaded, StorageFull, StorageUnavailable, VaultError
from vsqlvault.service.commit.error_log import FailureLog

Item = TypeVar("Item")
Result = TypeVar("Result")
Waiting: TypeAlias = tuple[Item, asyncio.Future[Result]]
Choose: TypeAlias = Callable[
    [deque[Waiting[Item, Result]], int, Callable[[Item], int], int], list[Waiting[Item, Result]]
]

SECOND_FLUSH_DELAY_SECONDS = 0.004
"""A flight under way for so long is waited for no longer: another may take off beside it."""

BATCH_WIDE_ERRORS = (StorageUnavailable, StorageFull, OutcomeUnknown)


@dataclass(slots=True)
class BatchCounts:
    """What has gone through, for metrics: ``items / batches`` is the mean batch.

    ``last_at`` is when the newest batch took off, by this process's monotonic clock; None where there was none.
    """

    items: int = 0
    batches: int = 0
    rerun: int = 0
    refused: int = 0
    last_at: float | None = None


class Batcher(Generic[Item, Result]):
    """Hands items to ``flush`` in batches, at most ``flights`` at once, each at most ``limit`` items.

    A lone item is flushed at once. What comes while a flight is under way waits for it to land, since each flight costs as much
    as several items; once that flight is late, what waits takes off beside it, if one more may.
    ``choose`` takes the next batch, one item or more, out of
    those that wait. By ``weigh``, a batch of more than one item is no heavier than ``max_batch_weight``, and what waits no
    heavier than ``max_waiting_weight``, unless it is one item. Log lines about batches that failed call them ``name``.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result]]],
        *,
        flights: int,
        limit: int,
        max_waiting: int,
        choose: Choose[Item, Result] | None = None,
        weigh: Callable[[Item], int] | None = None,
        max_batch_weight: int = sys.maxsize,
        max_waiting_weight: int = sys.maxsize,
        name: str = "batch",
        second_flush_delay_seconds: float = SECOND_FLUSH_DELAY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._flush = flush
        self._flights = flights
        self._limit = limit
        self._max_waiting = max_waiting
        self._choose = choose or take_first
        self._weigh = weigh or zero_size
        self._max_batch_weight = max_batch_weight
        self._max_waiting_weight = max_waiting_weight
        self._second_flush_delay_seconds = second_flush_delay_seconds
        self._monotonic = monotonic
        self._waiting_weight = 0
        self._waiting: deque[Waiting[Item, Result]] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._departures: dict[object, float] = {}
        self._reminder: asyncio.TimerHandle | None = None
        self._failures = FailureLog(name)
        self.counts = BatchCounts()

    @property
    def waiting(self) -> int:
        """How many items wait for a flight."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Result:
        """Return what ``flush`` answers for this item.

        Raises:
            Overloaded: too many are waiting, or too heavy ones.
            VaultError: whatever became of this item's batch or, where the batch failed on one of many, of this item.
        """
        future = self._enqueued(item)
        self._take_off_if_due()
        return await future

    async def submit_all(self, items: Sequence[Item]) -> list[Result | VaultError]:
        """Return what ``submit`` would of each item, in order; an error is returned, not raised."""
        futures: list[asyncio.Future[Result]] = []
        refused: VaultError | None = None
        for item in items:
            try:
                futures.append(self._enqueued(item))
            except Overloaded as error:
                refused = error
                break
        if futures:
            self._take_off_if_due()
            await asyncio.wait(futures)
        outcomes: list[Result | VaultError] = []
        for future in futures:
            try:
                outcomes.append(future.result())
            except VaultError as error:
                outcomes.append(error)
        if refused:
            outcomes += [refused] * (len(items) - len(futures))
        return outcomes

    def _enqueued(self, item: Item) -> asyncio.Future[Result]:
        weight = self._weigh(item)
        too_heavy = self._waiting and self._waiting_weight + weight > self._max_waiting_weight
        if len(self._waiting) >= self._max_waiting or too_heavy:
            self.counts.refused += 1
            raise Overloaded
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        self._waiting_weight += weight
        return future

    async def drain(self) -> None:
        """Return when nothing waits and nothing is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _take_off_if_due(self) -> None:
        """Let a flight take off for what waits: now, or once those under way are late."""
        if not self._departures:
            self._take_off()
        elif self._reminder is None and len(self._departures) < self._flights:
            left = max(self._departures.values()) + self._second_flush_delay_seconds - self._monotonic()
            if left <= 0:
                self._take_off()
            else:
                self._reminder = asyncio.get_running_loop().call_later(left, self._remind)

    def _remind(self) -> None:
        self._reminder = None
        if self._waiting:
            self._take_off_if_due()

    def _take_off(self) -> None:
        flight = object()
        self._departures[flight] = self._monotonic()
        task = asyncio.get_running_loop().create_task(self._fly(flight))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _fly(self, flight: object) -> None:
        try:
            while self._waiting:
                batch = self._next()
                self._departures[flight] = self._monotonic()
                if self._waiting:
                    self._take_off_if_due()
                await self._deliver(batch)
        finally:  # in the same step as the last look at what waits: whoever comes next takes off anew
            del self._departures[flight]

    def _next(self) -> list[Waiting[Item, Result]]:
        batch = self._choose(self._waiting, self._limit, self._weigh, self._max_batch_weight)
        self._waiting_weight -= sum(self._weigh(item) for item, _ in batch)
        return batch

    async def _deliver(self, batch: list[Waiting[Item, Result]]) -> None:
        self.counts.batches += 1
        self.counts.items += len(batch)
        self.counts.last_at = self._monotonic()
        try:
            results = await self._flush([item for item, _ in batch])
            if len(results) != len(batch):  # what it did with which item, only it knows
                raise OutcomeUnknown
        except Exception as error:  # noqa: BLE001 - it is handed to whoever waits
            self._failures.tell(error)
            await self._deliver_one_by_one(batch, error)
            return
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)

    async def _deliver_one_by_one(self, batch: list[Waiting[Item, Result]], error: Exception) -> None:
        """Give one caller's fault to that caller only; what would befall every item alike befalls them all at once."""
        if len(batch) > 1 and not isinstance(error, BATCH_WIDE_ERRORS):
            self.counts.rerun += 1
            for pair in batch:
                await self._deliver([pair])
            return
        for _, future in batch:
            if not future.done():
                future.set_exception(error if isinstance(error, VaultError) else _unexpected(error))


def zero_size(_: object) -> int:
    """Weigh nothing, whatever it is."""
    return 0


def take_first(
    waiting: deque[Waiting[Item, Result]], limit: int, weigh: Callable[[Item], int], max_weight: int
) -> list[Waiting[Item, Result]]:
    """Take whatever came first."""
    batch: list[Waiting[Item, Result]] = []
    weight = 0
    while waiting and len(batch) < limit:
        weight += weigh(waiting[0][0])
        if batch and weight > max_weight:
            break
        batch.append(waiting.popleft())
    return batch


def _unexpected(error: Exception) -> StorageUnavailable:
    wrapped = StorageUnavailable()
    wrapped.__cause__ = error
    return wrapped
