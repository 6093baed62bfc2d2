"""The commit queue: the only access to the storage for reads and writes of requests."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from vsqlvault.errors import (
    AuditUnavailable,
    OutcomeUnknown,
    StorageFull,
    StorageUnavailable,
    Unavailable,
    VaultError,
)
from vsqlvault.interfaces.storage import Read, Snapshot, Storage
from vsqlvault.interfaces.writes import (
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    OverwriteEntry,
    RemoveEntry,
    RetrievalsBelow,
    SeenWrite,
    StoreEntry,
    Write,
    WriteOutcome,
)
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.commit.batcher import Batcher, Waiting
from vsqlvault.service.commit.fair_queue import FairQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.steps import Outcome

_LOOK_AHEAD = 2
BATCH_SECONDS = 30.0
BATCH_BYTES = 8 * 1024 * 1024
WAITING_BYTES = 64 * 1024 * 1024
SHORT_BATCH = 14
"""The maximum number of requests in a batch while an app goes ahead of others, if the storage takes one batch at a time."""

BATCH_VALUES = 64
"""The maximum number of values in one batch of reads, because their sizes are unknown until they are in memory."""

Item = TypeVar("Item", Write, SeenWrite)
Result = TypeVar("Result")
_MUTATIONS = (RemoveEntry, OverwriteEntry, CountRetrieval)
_ENTRY_EXPECTATIONS = (EntryIs, EntryAbsent, RetrievalsBelow)


class CommitQueue:
    """Joins reads and writes of concurrent requests into batches (docs/decisions/0001-group-commit.md)."""

    def __init__(
        self,
        storage: Storage,
        clock: StorageClock,
        *,
        max_batch: int,
        max_waiting: int,
        batch_seconds: float = BATCH_SECONDS,
        follow: Callable[[int], Awaitable[object]] | None = None,
        fair_queue: FairQueue | None = None,
    ) -> None:
        """``batch_seconds``: how long one batch may take before its requests get 503.

        ``follow`` is called with the revision of a read, and awaited before the read is answered. ``fair_queue`` names the
        apps that go ahead; by default none does.
        """
        self._storage = storage
        self._follow = follow
        self._max_waiting = max_waiting
        self._clock = clock
        self.time_within = clock.now_within
        """Returns the storage's time without reading it, or None if the last reading is older than the given seconds."""
        self.fair_queue = fair_queue or FairQueue(max_waiting=max_waiting)
        """Decides which apps go ahead."""
        self._takes_one = storage.flights == 1
        """Whether requests of an app that goes ahead are first in the next batch, which is short."""
        limits = self._limits(batch_seconds)
        commits = limits | {
            "choose": take_non_conflicting,
            "max_batch_size": BATCH_BYTES,
            "max_waiting_size": WAITING_BYTES,
        }
        self.reads: Batcher[Read, Snapshot] = Batcher(
            self._read_batch,
            limit=max_batch,
            size_of=_values_of,
            max_batch_size=BATCH_VALUES,
            translate=_unread,
            unknown=StorageUnavailable,
            name="reads",
            **limits,
        )
        self.writes: Batcher[Write, WriteOutcome] = Batcher(
            self._commit_batch,
            limit=max_batch,
            size_of=_bytes_of,
            translate=_uncommitted,
            name="commits",
            **commits,
        )
        self._seen: Batcher[SeenWrite, Snapshot | None] = Batcher(
            self._commit_seen_batch,
            limit=min(max_batch, BATCH_VALUES),
            translate=_uncommitted_seen,
            name="commits without a read",
            **commits,
        )
        self._seen.counts = self.writes.counts  # they are commits too: background work gives way to them

    def _limits(self, batch_seconds: float) -> dict[str, Any]:
        return {
            "max_in_flight": self._storage.flights,
            "max_waiting": self._max_waiting,
            "short_limit": SHORT_BATCH if self._takes_one else None,
            "is_short": self.fair_queue.has_quiet_app,
            "flush_seconds": batch_seconds,
        }

    @property
    def slice(self) -> int:
        """The maximum number of concurrent commits of one user of the queue, to leave capacity for requests."""
        return max(1, self._max_waiting // 2)

    def count_waiting(self) -> dict[str, int]:
        """Return the numbers of queued reads and commits."""
        return {"read": self.reads.waiting, "commit": self.writes.waiting + self._seen.waiting}

    def _goes_first(self, write: Write) -> bool:
        return bool(write.access) and self.fair_queue.goes_ahead(write.access[0].app)

    def commit_seen(self, seen: SeenWrite) -> Outcome[Snapshot | None]:
        """Commit a write about an entry that was read before. None: nothing was committed, so read first.

        Raises as ``commit``.
        """
        write = seen.write
        size = _bytes_of(write) if write.changes else 0
        return self._seen.enqueue(seen, size, goes_first=self._takes_one and self._goes_first(write))

    def read(
        self, key: EntryKey | None = None, *, with_value: bool = False, app: str | None = None
    ) -> Outcome[Snapshot]:
        """Return the storage's clock, the revision of the policies and, where ``key`` is given, an entry.

        ``app``: the app that asks for an entry, for its place in the fair queue.

        Raises:
            Unavailable: the storage cannot answer.
        """
        size = 1 if with_value else 0
        goes_first = self._takes_one and self.fair_queue.goes_ahead(app)
        return self.reads.enqueue(Read(key, with_value), size, goes_first=goes_first)

    def commit(self, write: Write) -> Outcome[WriteOutcome]:
        """Return once the write is durable, or once it is known that it was left out.

        Raises:
            AuditUnavailable: it could not be committed, and nothing of it was.
            OutcomeUnknown: the result cannot be determined.
            StorageFull: there is no room for the entry that it stores, and nothing of it was committed.
        """
        size = _bytes_of(write) if write.changes else 0
        return self.writes.enqueue(write, size, goes_first=self._takes_one and self._goes_first(write))

    async def commit_all(self, writes: Sequence[Write]) -> list[WriteOutcome | VaultError]:
        """Return the result of ``commit`` for each write, in order. An error is returned, not raised."""
        return await self.writes.submit_all(writes)

    async def record(self, *access: AccessRecord) -> None:
        """Commit rows without changes."""
        await self.commit(Write(access))

    async def drain(self) -> None:
        """Return when all batches in progress have ended."""
        await asyncio.gather(self.reads.drain(), self.writes.drain(), self._seen.drain())

    async def _read_batch(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        asked_at = self._clock.asked()
        snapshots = await self._storage.read(reads)
        if not snapshots:
            return snapshots
        self._clock.set(snapshots[0].now, asked_at)
        if self._follow is not None:
            try:
                await self._follow(snapshots[0].revision)
            except StorageUnavailable:
                raise
            except VaultError:  # an error of reading the rules concerns only what depends on them
                pass
        return snapshots

    async def _commit_seen_batch(self, writes: Sequence[SeenWrite]) -> Sequence[Snapshot | None]:
        asked_at = self._clock.asked()
        snapshots = await self._storage.commit_seen(writes)
        for snapshot in snapshots:
            if snapshot is not None:
                self._clock.set(snapshot.now, asked_at)
                break
        return snapshots

    async def _commit_batch(self, writes: Sequence[Write]) -> Sequence[WriteOutcome | VaultError]:
        return await self._storage.commit(writes)


def take_non_conflicting(
    waiting: deque[Waiting[Item, Result]], limit: int, max_size: int = sys.maxsize
) -> list[Waiting[Item, Result]]:
    """Take the next writes of which none changes an entry that another one changes or expects something of.

    A write that conflicts stays at the front of what waits. At most ``limit`` times two writes are examined, and none beyond
    the first that is too large.
    """
    if len(waiting) <= limit and not any(item[0].changes for item in waiting):  # rows of retrievals
        every = list(waiting)
        waiting.clear()
        return every
    batch: list[Waiting[Item, Result]] = []
    left: list[Waiting[Item, Result]] = []
    changed: set[EntryKey] = set()
    expected: set[EntryKey] = set()
    examinations = limit * _LOOK_AHEAD
    total = 0
    while waiting and len(batch) < limit and examinations > 0:
        examinations -= 1
        item = waiting.popleft()
        changes, expects = _keys(item[0])
        if changed.isdisjoint(changes) and changed.isdisjoint(expects) and expected.isdisjoint(changes):
            total += item[2]
            if batch and total > max_size:
                left.append(item)
                break
            batch.append(item)
            changed.update(changes)
            expected.update(expects)
        else:
            left.append(item)
    waiting.extendleft(reversed(left))
    return batch


def _unread(error: VaultError, _: Read) -> VaultError:
    """Return a read's error: even a read may need room, for a file beside the database."""
    if not isinstance(error, StorageFull):
        return error
    wrapped = StorageUnavailable()
    wrapped.__cause__ = error
    return wrapped


def _uncommitted(error: VaultError, write: Write) -> VaultError:
    """Return the error for the caller of a write, for an error of the storage."""
    if isinstance(error, StorageFull) and any(isinstance(change, StoreEntry) for change in write.changes):
        return error
    return _without_row(error)


def _uncommitted_seen(error: VaultError, seen: SeenWrite) -> VaultError:
    return _uncommitted(error, seen.write)


def _without_row(error: VaultError) -> VaultError:
    """Return the error for a caller whose row could not be committed, for an error of the storage."""
    if isinstance(error, (OutcomeUnknown, AuditUnavailable)) or not isinstance(error, (StorageFull, Unavailable)):
        return error
    wrapped = AuditUnavailable()
    wrapped.__cause__ = error
    return wrapped


def _bytes_of(write: Write) -> int:
    """Return the bytes of the write's values. The rest of it is small, and limited by the number of writes."""
    size = 0
    for change in write.changes:
        if isinstance(change, StoreEntry):
            size += len(change.value)
        elif isinstance(change, OverwriteEntry):
            size += len(change.filler)
    return size


def _values_of(read: Read) -> int:
    return 1 if read.with_value else 0


def _keys(write: Write | SeenWrite) -> tuple[Sequence[EntryKey], Sequence[EntryKey]]:
    """Return the keys that a write changes, and those that it expects something of."""
    if isinstance(write, SeenWrite):  # it is about one entry
        about = (write.entry.key,)
        return about if write.write.changes else (), about
    changes: list[EntryKey] = []
    for change in write.changes:
        if isinstance(change, StoreEntry):
            changes.append(change.entry.key)
        elif isinstance(change, _MUTATIONS):
            changes.append(change.key)
    return changes, [expect.key for expect in write.expects if isinstance(expect, _ENTRY_EXPECTATIONS)]
