"""The one way to the storage for everything that a request reads and writes."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import TypeVar

from vsqlvault.errors import AuditUnavailable, OutcomeUnknown, StorageFull, StorageUnavailable, Unavailable, VaultError
from vsqlvault.interfaces.storage import Read, Snapshot, Storage
from vsqlvault.interfaces.writes import (
    Committed,
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    OverwriteEntry,
    RemoveEntry,
    RetrievalsBelow,
    StoreEntry,
    Write,
    WriteOutcome,
)
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.service.commit.batcher import Batcher, Waiting, zero_size
from vsqlvault.service.commit.storage_clock import StorageClock

Result = TypeVar("Result")
Observer = Callable[[AccessRecord], None]
PurgeObserver = Callable[[PurgeRecord], None]
_LOOK_AHEAD = 2
BATCH_BYTES = 8 * 1024 * 1024
WAITING_BYTES = 64 * 1024 * 1024
BATCH_VALUES = 64
"""How many values one batch of reads asks for: their sizes are known only once they are there, and then they are in memory."""

_MUTATIONS = (RemoveEntry, OverwriteEntry, CountRetrieval)
_ENTRY_EXPECTATIONS = (EntryIs, EntryAbsent, RetrievalsBelow)


class CommitQueue:
    """Joins reads and writes of concurrent requests into batches (docs/decisions/0001-group-commit.md).

    What is committed is told to the observers afterwards, before the caller goes on.
    """

    def __init__(
        self,
        storage: Storage,
        clock: StorageClock,
        *,
        max_batch: int,
        max_waiting: int,
        observers: Sequence[Observer] = (),
        purge_observers: Sequence[PurgeObserver] = (),
        follow: Callable[[int], Awaitable[object]] | None = None,
    ) -> None:
        """``follow`` is told the revision that a read has brought, and awaited before the read is answered."""
        self._storage = storage
        self._follow = follow
        self._max_waiting = max_waiting
        self._clock = clock
        self._observers = tuple(observers)
        self._purge_observers = tuple(purge_observers)
        self.reads: Batcher[Read, Snapshot] = Batcher(
            self._read_batch,
            flights=storage.flights,
            limit=max_batch,
            max_waiting=max_waiting,
            weigh=_values_of,
            max_batch_weight=BATCH_VALUES,
            name="reads",
        )
        self.writes: Batcher[Write, WriteOutcome] = Batcher(
            self._commit_batch,
            flights=storage.flights,
            limit=max_batch,
            max_waiting=max_waiting,
            choose=take_non_conflicting,
            weigh=_bytes_of,
            max_batch_weight=BATCH_BYTES,
            max_waiting_weight=WAITING_BYTES,
            name="commits",
        )

    @property
    def slice(self) -> int:
        """How many commits one user may have under way at once, so that requests find room beside it."""
        return max(1, self._max_waiting // 2)

    async def read(self, key: EntryKey | None = None, *, with_value: bool = False) -> Snapshot:
        """Return the storage's clock, the rulebook's revision and, where asked for, an entry.

        Raises:
            Unavailable: the storage cannot answer.
        """
        try:
            return await self.reads.submit(Read(key, with_value))
        except StorageFull as error:  # even a read may need room, for a file beside the database
            raise StorageUnavailable from error

    def time_within(self, seconds: float) -> datetime | None:
        """Return the storage's time without asking it; None where its last word is older than that."""
        return self._clock.now() if self._clock.age_seconds() <= seconds else None

    async def commit(self, write: Write) -> WriteOutcome:
        """Return once the write is durable, or once it is known that it was left out.

        Raises:
            AuditUnavailable: it could not be committed, and nothing of it was.
            OutcomeUnknown: nobody can say.
            StorageFull: there is no room for the entry it stores, and nothing of it was committed.
        """
        try:
            return await self.writes.submit(write)
        except (StorageFull, Unavailable) as error:
            told = _uncommitted(error, write)
            raise told from told.__cause__

    async def commit_all(self, writes: Sequence[Write]) -> list[WriteOutcome | VaultError]:
        """Return what ``commit`` would of each write, in order; an error is returned, not raised."""
        outcomes = await self.writes.submit_all(writes)
        return [
            _uncommitted(outcome, write) if isinstance(outcome, VaultError) else outcome
            for outcome, write in zip(outcomes, writes, strict=True)
        ]

    async def record(self, *access: AccessRecord) -> None:
        """Commit rows that stand alone: nothing changed, or nothing was allowed to."""
        await self.commit(Write(access))

    async def drain(self) -> None:
        """Return when everything under way has landed."""
        await asyncio.gather(self.reads.drain(), self.writes.drain())

    async def _read_batch(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        asked_at = self._clock.asked()
        snapshots = await _contained(self._storage.read(reads))
        self._clock.set(snapshots[0].now, asked_at)
        if self._follow is not None:
            try:
                await self._follow(snapshots[0].revision)
            except StorageUnavailable:
                raise
            except VaultError:  # a rule that cannot be read is told to what rests on the rules, and to nothing else
                pass
        return snapshots

    async def _commit_batch(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        """Commit, and tell the observers at once: whoever asked may be gone by now, what happened has happened."""
        outcomes = await _contained(self._storage.commit(writes))
        if self._observers or self._purge_observers:
            for write, outcome in zip(writes, outcomes, strict=False):
                if isinstance(outcome, Committed):
                    self._tell(write)
        return outcomes

    def _tell(self, write: Write) -> None:
        for observer in self._observers:
            for record in write.access:
                observer(record)
        for purge_observer in self._purge_observers:
            for purge in write.purges:
                purge_observer(purge)


async def _contained(work: Awaitable[Result]) -> Result:
    """Return what the storage returns. What no storage may raise, such as SystemExit, becomes StorageUnavailable."""
    try:
        return await work
    except (asyncio.CancelledError, GeneratorExit) as error:
        task = asyncio.current_task()
        if isinstance(error, GeneratorExit) or (task is not None and task.cancelling()):
            raise
        raise StorageUnavailable from error
    except (KeyboardInterrupt, SystemExit) as error:
        raise StorageUnavailable from error


def take_non_conflicting(
    waiting: deque[Waiting[Write, WriteOutcome]],
    limit: int,
    weigh: Callable[[Write], int] = zero_size,
    max_weight: int = 0,
) -> list[Waiting[Write, WriteOutcome]]:
    """Take the next writes of which none changes an entry that another one changes or expects something of.

    One that gets in another's way is left at the front of what waits; only ``limit`` times two are looked at, and none beyond
    the first that is too heavy.
    """
    batch: list[Waiting[Write, WriteOutcome]] = []
    left: list[Waiting[Write, WriteOutcome]] = []
    changed: set[EntryKey] = set()
    expected: set[EntryKey] = set()
    looks = limit * _LOOK_AHEAD
    weight = 0
    while waiting and len(batch) < limit and looks > 0:
        looks -= 1
        pair = waiting.popleft()
        changes, expects = _keys(pair[0])
        if changed.isdisjoint(changes) and changed.isdisjoint(expects) and expected.isdisjoint(changes):
            weight += weigh(pair[0])
            if batch and weight > max_weight:
                left.append(pair)
                break
            batch.append(pair)
            changed.update(changes)
            expected.update(expects)
        else:
            left.append(pair)
    waiting.extendleft(reversed(left))
    return batch


def _uncommitted(error: VaultError, write: Write) -> VaultError:
    """Return what a storage's error means to whoever wanted the write committed."""
    if isinstance(error, (OutcomeUnknown, AuditUnavailable)) or not isinstance(error, (StorageFull, Unavailable)):
        return error
    if isinstance(error, StorageFull) and any(isinstance(change, StoreEntry) for change in write.changes):
        return error
    wrapped = AuditUnavailable()
    wrapped.__cause__ = error
    return wrapped


def _bytes_of(write: Write) -> int:
    """Return the bytes of the values that the write carries; what else it has is small, and bounded by its number."""
    weight = 0
    for change in write.changes:
        if isinstance(change, StoreEntry):
            weight += len(change.value)
        elif isinstance(change, OverwriteEntry):
            weight += len(change.filler)
    return weight


def _values_of(read: Read) -> int:
    return int(read.with_value)


def _keys(write: Write) -> tuple[list[EntryKey], list[EntryKey]]:
    changes: list[EntryKey] = []
    for change in write.changes:
        if isinstance(change, StoreEntry):
            changes.append(change.entry.key)
        elif isinstance(change, _MUTATIONS):
            changes.append(change.key)
    return changes, [expect.key for expect in write.expects if isinstance(expect, _ENTRY_EXPECTATIONS)]
