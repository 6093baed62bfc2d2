"""Gathers concurrent items into batches."""

from __future__ import annotations

import asyncio
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from operator import itemgetter
from typing import Generic, TypeAlias, TypeVar

from vsqlvault.errors import OutcomeUnknown, Overloaded, StorageFull, StorageUnavailable, VaultError
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.commit.error_log import FailureLog
from vsqlvault.steps import Outcome, continue_soon

Item = TypeVar("Item")
Result = TypeVar("Result")
Waiting: TypeAlias = tuple[Item, Outcome[Result], int]
"""An item, the future of its result, and its size."""

Choose: TypeAlias = Callable[[deque[Waiting[Item, Result]], int, int], list[Waiting[Item, Result]]]
"""Takes what waits, the maximum number of items and the maximum size, and removes the next batch of at least one item."""

_item_of = itemgetter(0)
FLUSH_SECONDS = 30.0
SECOND_FLUSH_DELAY_SECONDS = 0.004
"""A second flush starts beside one that has been running for this long."""

BATCH_WIDE_ERRORS = (StorageUnavailable, StorageFull, OutcomeUnknown)
"""Errors of the storage as a whole: they fail every item of the batch."""


@dataclass(slots=True, eq=False)
class _Flush(Generic[Item, Result]):
    """A flush that runs: its batch, when the batch was taken, and since when it, or one item alone, is flushed."""

    started_at: float
    since: float = 0.0
    batch: list[Waiting[Item, Result]] = field(default_factory=list)
    task: asyncio.Task[None] | None = None
    watch: asyncio.TimerHandle | None = None
    is_abandoned: bool = False


@dataclass(slots=True)
class BatchCounts:
    """Counters for metrics: ``items / batches`` is the mean size of a batch.

    ``last_at`` is when the newest batch was flushed, by this process's monotonic clock; None before the first.
    """

    items: int = 0
    batches: int = 0
    rerun: int = 0
    refused: int = 0
    last_at: float | None = None


class Batcher(Generic[Item, Result]):
    """Hands items to ``flush`` in batches of at most ``limit`` items, with at most ``max_in_flight`` flushes at once.

    A lone item is flushed at once. Items that arrive during a flush are queued for the next one, because a flush costs as
    much as several items. If the flush takes longer than ``SECOND_FLUSH_DELAY_SECONDS``, another one starts beside it.

    While ``is_short()``, a batch has at most ``short_limit`` items.

    By ``size_of``, a batch of several items has at most ``max_batch_size``, and several waiting items have at most
    ``max_waiting_size``. ``translate`` turns an error of the batch into that of one item. Log lines about failed batches
    call them ``name``.

    A flush that takes longer than ``flush_seconds`` is cancelled and not waited for. Its items get the error ``unknown``, as
    do those of a flush that returns another number of results.
    """

    def __init__(
        self,
        flush: Callable[[Sequence[Item]], Awaitable[Sequence[Result | VaultError]]],
        *,
        max_in_flight: int,
        limit: int,
        max_waiting: int,
        short_limit: int | None = None,
        is_short: Callable[[], bool] | None = None,
        choose: Choose[Item, Result] | None = None,
        size_of: Callable[[Item], int] | None = None,
        max_batch_size: int = sys.maxsize,
        max_waiting_size: int = sys.maxsize,
        translate: Callable[[VaultError, Item], VaultError] | None = None,
        name: str = "batch",
        flush_seconds: float = FLUSH_SECONDS,
        unknown: type[VaultError] = OutcomeUnknown,
        second_flush_delay_seconds: float = SECOND_FLUSH_DELAY_SECONDS,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._flush = flush
        self._max_in_flight = max_in_flight
        self._limit = limit
        self._short_limit = min(limit, short_limit or limit)
        self._is_short = is_short or _never
        self._max_waiting = max_waiting
        self._choose = choose or take_first
        self._size_of = size_of
        self._max_batch_size = max_batch_size
        self._max_waiting_size = max_waiting_size
        self._translate = translate
        self._second_flush_delay_seconds = second_flush_delay_seconds
        self._monotonic = monotonic
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting_size = 0
        self._waiting: deque[Waiting[Item, Result]] = deque()
        self._at_front = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self.running: set[_Flush[Item, Result]] = set()
        """The flushes that run. While something waits, at least one runs."""
        self._flush_seconds = flush_seconds
        self._unknown = unknown
        self._timer: asyncio.TimerHandle | None = None
        self._failures = FailureLog(name)
        self.counts = BatchCounts()

    @property
    def waiting(self) -> int:
        """The number of items that wait for a flush."""
        return len(self._waiting)

    def enqueue(self, item: Item, size: int | None = None, *, goes_first: bool = False) -> Outcome[Result]:
        """Return the future of what ``flush`` answers for this item. ``size`` is its size, if the caller knows it.

        ``goes_first``: before all that waits, except earlier items that go first.

        Raises:
            Overloaded: too many items wait, or their size is too large; translated for the item.
        """
        if size is None:
            size = self._size_of(item) if self._size_of is not None else 0
        waiting = self._waiting
        if len(waiting) >= self._max_waiting or (waiting and self._waiting_size + size > self._max_waiting_size):
            self.counts.refused += 1
            refused = Overloaded()
            raise refused if self._translate is None else self._translate(refused, item)
        if not self.running:
            self._loop = asyncio.get_running_loop()
        outcome: Outcome[Result] = Outcome(loop=self._loop)  # to ask for the loop takes a system call
        if goes_first:
            waiting.insert(self._at_front, (item, outcome, size))
            self._at_front += 1
        else:
            waiting.append((item, outcome, size))
        self._waiting_size += size
        if not self.running:
            self._start_flush()
        elif self._timer is None and len(self.running) < self._max_in_flight:
            self._flush_beside()
        return outcome

    async def submit(self, item: Item) -> Result:
        """Return what ``flush`` answers for this item. Raises as ``enqueue``, and the error of the item's batch."""
        return await self.enqueue(item)

    async def submit_all(self, items: Sequence[Item]) -> list[Result | VaultError]:
        """Return the result of ``submit`` for each item, in order. An error is returned, not raised."""
        futures: list[Outcome[Result]] = []
        outcomes: list[Result | VaultError] = []
        refused: list[Result | VaultError] = []
        for place, item in enumerate(items):
            try:
                futures.append(self.enqueue(item))
            except VaultError as error:
                refused = [error] * (len(items) - place)
                break
        if futures:
            await asyncio.wait(futures)
        for future in futures:
            try:
                outcomes.append(future.result())
            except VaultError as error:
                outcomes.append(error)
        return outcomes + refused

    async def drain(self) -> None:
        """Return when nothing waits and no flush runs."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    def _start_if_due(self) -> None:
        """Start a flush of what waits: now, or once those that run are late."""
        if not self.running:
            self._start_flush()
        elif self._timer is None and len(self.running) < self._max_in_flight:
            self._flush_beside()

    def _flush_beside(self) -> None:
        newest = max(flush.started_at for flush in self.running)
        left = newest + self._second_flush_delay_seconds - self._monotonic()
        if left <= 0:
            self._start_flush()
        else:
            self._timer = asyncio.get_running_loop().call_later(left, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer = None
        if self._waiting:
            self._start_if_due()

    def _start_flush(self) -> None:
        flush: _Flush[Item, Result] = _Flush(self._monotonic())
        self.running.add(flush)
        loop = asyncio.get_running_loop()
        task = flush.task = loop.create_task(self._run(flush))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self, flush: _Flush[Item, Result]) -> None:
        waiting = self._waiting
        watch = asyncio.get_running_loop().call_later(self._flush_seconds, self._watch, flush)
        try:
            while waiting and not flush.is_abandoned:
                if len(waiting) == 1:
                    batch = [waiting.popleft()]
                    self._waiting_size = 0
                else:
                    limit = self._short_limit if self._is_short() else self._limit
                    batch = self._choose(waiting, limit, self._max_batch_size)
                    for _, _, size in batch:
                        self._waiting_size -= size
                if self._at_front:
                    self._at_front = max(0, self._at_front - len(batch))
                flush.batch = batch
                flush.started_at = self._monotonic()
                if waiting:
                    self._start_if_due()
                await self._deliver(batch, flush)
        finally:  # in the same step as the last check of what waits: the next item starts another flush
            self.running.discard(flush)
            (flush.watch or watch).cancel()

    def _watch(self, flush: _Flush[Item, Result]) -> None:
        """Abandon a flush that is late, or test it again when it would be."""
        left = flush.since + self._flush_seconds - self._monotonic()
        if left > 0:
            flush.watch = asyncio.get_running_loop().call_later(left, self._watch, flush)
            return
        flush.is_abandoned = True
        self.running.discard(flush)
        if flush.task is not None:
            self._tasks.discard(flush.task)
            flush.task.cancel()
        self._fail_all(flush.batch, self._unknown_from(TimeoutError()))
        if self._waiting:
            self._start_if_due()

    async def _deliver(self, batch: list[Waiting[Item, Result]], flush: _Flush[Item, Result]) -> None:
        counts = self.counts
        counts.batches += 1
        counts.items += len(batch)
        counts.last_at = flush.since = self._monotonic()
        try:
            results = await self._flush(list(map(_item_of, batch)))
        except Exception as error:  # noqa: BLE001 - it is raised to the callers
            if not flush.is_abandoned:
                await self._fail(batch, error, flush)
            return
        try:
            is_complete = len(results) == len(batch)
        except TypeError:
            is_complete = False
        if not is_complete:  # only the flush knows which result is missing
            self._fail_all(batch, self._unknown_from(None))
            return
        waiting: list[Callable[[], None]] = []
        for (item, outcome, _), result in zip(batch, results, strict=True):
            if outcome.done():
                continue
            if isinstance(result, VaultError):
                outcome.set_exception(result if self._translate is None else self._translate(result, item))
            else:
                outcome.set_result(result)
            if outcome.waiting is not None:
                waiting.append(outcome.waiting)
        continue_soon(waiting)

    async def _fail(self, batch: list[Waiting[Item, Result]], error: Exception, flush: _Flush[Item, Result]) -> None:
        """Flush each item alone, to find the one at fault. An error of the storage as a whole fails every item."""
        if len(batch) > 1 and not isinstance(error, BATCH_WIDE_ERRORS):
            self._failures.tell(error)
            self.counts.rerun += 1
            for waiting in batch:
                if not flush.is_abandoned:
                    await self._deliver([waiting], flush)
            return
        self._fail_all(batch, error)

    def _fail_all(self, batch: list[Waiting[Item, Result]], error: Exception) -> None:
        self._failures.tell(error)
        told = error if isinstance(error, VaultError) else _unexpected(error)
        waiting: list[Callable[[], None]] = []
        for item, outcome, _ in batch:
            if not outcome.done():
                outcome.set_exception(told if self._translate is None else self._translate(told, item))
                if outcome.waiting is not None:
                    waiting.append(outcome.waiting)
        continue_soon(waiting)

    def _unknown_from(self, cause: Exception | None) -> VaultError:
        error = self._unknown()
        error.__cause__ = cause
        return error


def take_first(waiting: deque[Waiting[Item, Result]], limit: int, max_size: int) -> list[Waiting[Item, Result]]:
    """Take the items that have waited longest."""
    batch: list[Waiting[Item, Result]] = []
    total = 0
    while waiting and len(batch) < limit:
        total += waiting[0][2]
        if batch and total > max_size:
            break
        batch.append(waiting.popleft())
    return batch


def _never() -> bool:
    return False


def _unexpected(error: Exception) -> StorageUnavailable:
    wrapped = StorageUnavailable()
    wrapped.__cause__ = error
    return wrapped
