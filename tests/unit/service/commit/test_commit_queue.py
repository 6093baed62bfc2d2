"""The commit queue: which writes share a batch, and which errors its users get."""

from __future__ import annotations

import asyncio
from collections import deque
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vsqlvault.errors import AuditUnavailable, OutcomeUnknown, Overloaded, StorageFull, StorageUnavailable
from vsqlvault.interfaces.storage import Read, Snapshot
from vsqlvault.interfaces.writes import (
    Committed,
    Conflict,
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    OverwriteEntry,
    RemoveEntry,
    RetrievalsBelow,
    RevisionIs,
    SaveRetentionPolicy,
    SeenWrite,
    StoreEntry,
    Write,
)
from vsqlvault.model.entry import EntryKey, EntryVersion
from vsqlvault.service.commit.batcher import Batcher
from vsqlvault.service.commit.queue import CommitQueue, take_non_conflicting
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.testing import T0, a_retention_policy, a_write, an_entry, storing

KEYS = [EntryKey("card", name) for name in "abcd"]
SEEN = SeenWrite(an_entry(), T0, a_write())
STAMP = EntryVersion("0" * 32, 1)
CHANGES = st.sampled_from(KEYS).flatmap(
    lambda key: st.sampled_from(
        [
            StoreEntry(an_entry(key.external_id), b"cipher"),
            RemoveEntry(key),
            OverwriteEntry(key, b"\0", T0, "crypto-shred"),
            CountRetrieval(key),
        ]
    )
)
EXPECTATIONS = st.sampled_from(KEYS).flatmap(
    lambda key: st.sampled_from([EntryIs(key, STAMP), EntryAbsent(key), RetrievalsBelow(key, 1), RevisionIs(1)])
)
WRITES = st.lists(
    st.builds(
        lambda changes, expects: a_write(*changes, expects=tuple(expects)),
        st.lists(CHANGES, max_size=2),
        st.lists(EXPECTATIONS, max_size=2),
    ),
    max_size=20,
)


def changed(write: Write) -> set[EntryKey]:
    return {change.entry.key if isinstance(change, StoreEntry) else change.key for change in write.changes}


def expected(write: Write) -> set[EntryKey]:
    return {expect.key for expect in write.expects if not isinstance(expect, RevisionIs)}


def waiting(writes: list[Write]) -> deque[Any]:
    return deque((write, number, len(write.changes) * 5) for number, write in enumerate(writes))


@given(WRITES, st.integers(1, 25))
def test_in_a_batch_no_write_changes_what_another_changes_or_expects(writes, limit) -> None:
    batch = [write for write, _, _ in take_non_conflicting(waiting(writes), limit)]
    for place, one in enumerate(batch):
        for other in batch[:place] + batch[place + 1 :]:
            assert not changed(one) & (changed(other) | expected(other))


@given(WRITES, st.integers(1, 25))
def test_taking_a_batch_loses_nothing_and_keeps_the_order(writes, limit) -> None:
    queue = waiting(writes)
    batch = [number for _, number, _ in take_non_conflicting(queue, limit)]
    rest = [number for _, number, _ in queue]
    assert sorted(batch + rest) == list(range(len(writes)))
    assert batch == sorted(batch)
    assert rest == sorted(rest)


@given(WRITES.filter(bool), st.integers(1, 25))
def test_the_longest_waiting_item_is_always_taken(writes, limit) -> None:
    assert take_non_conflicting(waiting(writes), limit)[0][1] == 0


@given(WRITES, st.integers(1, 25))
def test_a_batch_is_no_longer_than_its_limit(writes, limit) -> None:
    assert len(take_non_conflicting(waiting(writes), limit)) <= limit


@given(WRITES.filter(bool), st.integers(1, 25), st.integers(0, 20))
def test_a_batch_is_no_heavier_than_its_limit_unless_it_is_one_write(writes, limit, max_weight) -> None:
    queue = waiting(writes)
    batch = take_non_conflicting(queue, limit, max_weight)
    assert len(batch) == 1 or sum(size for _, _, size in batch) <= max_weight
    assert batch[0][1] == 0
    rest = [number for _, number, _ in queue]
    assert rest == sorted(rest)
    assert sorted([number for _, number, _ in batch] + rest) == list(range(len(writes)))


@given(WRITES)
def test_what_gets_in_each_others_way_not_at_all_goes_as_one_batch(writes) -> None:
    alone = [a_write(RemoveEntry(EntryKey("card", str(number)))) for number, _ in enumerate(writes)]
    assert len(take_non_conflicting(waiting(alone), 25)) == len(alone)


@pytest.mark.parametrize(("conflicting", "taken"), [(2, [0, 3]), (3, [0])])
def test_of_what_waits_twice_the_limit_is_examined(conflicting, taken) -> None:
    writes = [a_write(RemoveEntry(KEYS[0]))] * (1 + conflicting) + [a_write(RemoveEntry(KEYS[1]))] * 2
    queue = waiting(writes)
    assert [number for _, number, _ in take_non_conflicting(queue, 2)] == taken
    assert [number for _, number, _ in queue] == [each for each in range(len(writes)) if each not in taken]


def test_writes_that_only_expect_share_a_batch() -> None:
    reads = [a_write(expects=(EntryIs(KEYS[0], STAMP), RevisionIs(1))) for _ in range(10)]
    assert len(take_non_conflicting(waiting(reads), 25)) == 10


@given(WRITES, st.integers(1, 5))
def test_batch_after_batch_everything_is_taken(writes, limit) -> None:
    queue = waiting(writes)
    taken = []
    while queue:
        taken += [number for _, number, _ in take_non_conflicting(queue, limit)]
    assert sorted(taken) == list(range(len(writes)))


class FakeStorage:
    """Commits what is configured, and remembers it."""

    flights = 1

    def __init__(self) -> None:
        self.batches: list[list[Write]] = []
        self.reads: list[int] = []
        self.error: BaseException | None = None
        self.busy: asyncio.Event | None = None

    async def read(self, reads: Any) -> list[Snapshot]:
        self.reads.append(len(reads))
        if self.busy:
            await self.busy.wait()
        if self.error:
            raise self.error
        return [Snapshot(T0 + timedelta(days=5), 7, None, None) for _ in reads]

    async def commit_seen(self, writes: Any) -> list[Snapshot]:
        return await self.read(writes)

    async def commit(self, writes: Any) -> list[Any]:
        if self.error:
            raise self.error
        self.batches.append(list(writes))
        await (self.busy.wait() if self.busy else asyncio.sleep(0))
        return [Conflict(write.expects[0]) if write.expects else Committed() for write in writes]


@pytest.fixture
def storage() -> FakeStorage:
    return FakeStorage()


def queue_on(storage: FakeStorage, **more: Any) -> CommitQueue:
    return CommitQueue(storage, more.pop("clock", StorageClock()), **{"max_batch": 256, "max_waiting": 1000} | more)


@pytest.mark.parametrize(
    ("error", "stated"),
    [
        (StorageUnavailable(), AuditUnavailable),
        (AuditUnavailable(), AuditUnavailable),
        (ValueError("driver"), AuditUnavailable),
        (OutcomeUnknown(), OutcomeUnknown),
        (StorageFull(), AuditUnavailable),
    ],
    ids=lambda value: getattr(value, "__name__", type(value).__name__),
)
async def test_a_failed_commit_raises_its_error(storage, error, stated) -> None:
    storage.error = error
    with pytest.raises(stated) as refused:
        await queue_on(storage).commit(a_write())
    assert type(refused.value) is stated


async def test_only_a_store_raises_storage_full(storage) -> None:
    storage.error = StorageFull()
    queue = queue_on(storage)
    stores = [storing(), a_write(CountRetrieval(KEYS[0])), a_write(SaveRetentionPolicy(a_retention_policy()))]
    results = await asyncio.gather(*(queue.commit(write) for write in stores), return_exceptions=True)
    assert [type(result) for result in results] == [StorageFull, AuditUnavailable, AuditUnavailable]


async def test_a_read_never_raises_storage_full(storage) -> None:
    storage.error = StorageFull()
    with pytest.raises(StorageUnavailable):
        await queue_on(storage).read()


async def test_a_commit_for_which_there_is_no_place_was_not_audited(storage) -> None:
    with pytest.raises(AuditUnavailable) as refused:
        await queue_on(storage, max_waiting=0).commit(a_write())
    assert isinstance(refused.value.__cause__, Overloaded)


async def test_a_failed_read_raises_its_error(storage) -> None:
    storage.error = StorageUnavailable()
    with pytest.raises(StorageUnavailable):
        await queue_on(storage).read()


@pytest.mark.parametrize("ask", [CommitQueue.read, lambda queue: queue.commit_seen(SEEN)], ids=["read", "commit"])
async def test_a_reading_of_the_clock_is_as_old_as_its_request(storage, ask) -> None:
    seconds = [100.0]
    storage.busy = asyncio.Event()
    clock = StorageClock(lambda: seconds[0])
    asked = asyncio.ensure_future(ask(queue_on(storage, clock=clock)))
    for _ in range(20):
        await asyncio.sleep(0)
    assert storage.reads
    seconds[0] += 7
    storage.busy.set()
    await asked
    assert clock.age_seconds() == 7


async def test_a_read_sets_the_clock(storage) -> None:
    clock = StorageClock(lambda: 0.0)
    await queue_on(storage, clock=clock).read()
    assert clock.now() == T0 + timedelta(days=5)


async def test_writes_of_one_entry_go_one_after_another_and_others_together(storage) -> None:
    queue = queue_on(storage)
    writes = [a_write(RemoveEntry(KEYS[0])) for _ in range(4)] + [a_write(RemoveEntry(key)) for key in KEYS[1:]]
    await asyncio.gather(*(queue.commit(write) for write in writes))
    assert [len(batch) for batch in storage.batches] == [4, 1, 1, 1]


async def outcomes_behind_a_flight(storage: FakeStorage, one: Batcher[Any, Any], items: list[Any]) -> list[Any]:
    """Submit the items while the storage is busy with one batch, and return what became of them."""
    storage.busy = asyncio.Event()
    first = asyncio.create_task(one.submit(items[0]))
    await asyncio.sleep(0.01)
    rest = [asyncio.create_task(one.submit(item)) for item in items[1:]]
    await asyncio.sleep(0.01)
    storage.busy.set()
    return await asyncio.gather(first, *rest, return_exceptions=True)


MIB = 1024 * 1024


@pytest.mark.parametrize("size", [MIB, 3 * MIB, 20 * MIB])
@pytest.mark.parametrize("change", [storing, "shred"], ids=["stores", "shreds"])
async def test_large_values_go_in_bounded_batches_and_no_more_wait_than_fit(storage, size, change) -> None:
    value = bytes(size)

    def write(name: str) -> Write:
        overwrite = OverwriteEntry(EntryKey("card", name), value, T0, "crypto-shred")
        return a_write(overwrite) if change == "shred" else a_write(StoreEntry(an_entry(name), value))

    queue = queue_on(storage)
    outcomes = await outcomes_behind_a_flight(storage, queue.writes, [write(f"e{n}") for n in range(100)])
    waited = 64 * MIB // size
    assert outcomes[: waited + 1] == [Committed()] * (waited + 1)
    assert {(type(outcome), type(outcome.__cause__)) for outcome in outcomes[waited + 1 :]} == {
        (AuditUnavailable, Overloaded)
    }
    assert max(len(batch) for batch in storage.batches) == max(1, 8 * MIB // size)


async def test_a_batch_of_reads_asks_for_a_bounded_number_of_values(storage) -> None:
    queue = queue_on(storage)
    reads = [Read(EntryKey("card", f"e{n}"), with_value=True) for n in range(200)]
    await outcomes_behind_a_flight(storage, queue.reads, reads)
    assert storage.reads == [1, 64, 64, 64, 7]


async def test_reads_without_values_share_a_batch_with_no_such_bound(storage) -> None:
    queue = queue_on(storage)
    await outcomes_behind_a_flight(storage, queue.reads, [Read(EntryKey("card", f"e{n}")) for n in range(200)])
    assert storage.reads == [1, 199]


def test_the_clock_goes_on_by_itself_after_a_reading() -> None:
    ticks = iter([100.0, 103.5])
    clock = StorageClock(lambda: next(ticks))
    clock.set(T0)
    assert clock.now() == T0 + timedelta(seconds=3.5)


def test_between_two_readings_the_clock_shows_one_instant_for_a_millisecond() -> None:
    ticks = iter([100.0, 100.0004, 100.0009, 100.0011, 100.0012, 100.0015, 100.0016])
    clock = StorageClock(lambda: next(ticks))
    clock.set(T0)
    shown = [clock.now() for _ in range(4)]
    assert shown == [T0, T0, *[T0 + timedelta(milliseconds=1.1)] * 2]
    clock.set(later := T0 + timedelta(days=1))
    assert clock.now() is later
