"""A flood in virtual time: it hardly delays another app, and keeps most of its rate; by the real queues."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tests.support.virtual_vault import GET_IN_PROCESS, PUT_IN_PROCESS, measure
from vsqlvault.http.metrics.registry import QueueCollector
from vsqlvault.interfaces.storage import Read, Snapshot
from vsqlvault.interfaces.writes import Committed, SeenWrite, Write
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.commit.fair_queue import FairQueue
from vsqlvault.service.commit.queue import SHORT_BATCH, CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.testing import T0, an_access_record, an_entry

KEPT = 0.8


@pytest.mark.parametrize(("costs", "most"), [(GET_IN_PROCESS, 3.1), (PUT_IN_PROCESS, 3.4)], ids=["GET", "PUT"])
def test_in_one_process_a_flood_delays_another_app_little_and_keeps_four_fifths_of_its_rate(costs, most) -> None:
    alone, flood, both = measure(costs, 1, flooding=0), measure(costs, 1, quiet=0), measure(costs, 1)
    assert both.p99 <= most * alone.p99
    assert both.flood >= KEPT * flood.flood


class Gated:
    """A storage whose batches wait until they are released, by the apps of their rows or the ids of their keys."""

    def __init__(self, flights: int) -> None:
        self.flights = flights
        self.batches: list[list[str | None]] = []
        self.gates: list[asyncio.Event] = []

    async def _wait(self, names: list[str | None]) -> None:
        self.batches.append(names)
        self.gates.append(gate := asyncio.Event())
        await gate.wait()

    async def commit(self, writes: Sequence[Write]) -> Sequence[Committed]:
        await self._wait([write.access[0].app for write in writes])
        return [Committed()] * len(writes)

    async def commit_seen(self, writes: Sequence[SeenWrite]) -> Sequence[Snapshot | None]:
        await self._wait([each.write.access[0].app for each in writes])
        return [Snapshot(T0, 1, None, None)] * len(writes)

    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        await self._wait([each.key.external_id if each.key else None for each in reads])
        return [Snapshot(T0, 1, None, None)] * len(reads)


class Apps:
    """Requests of a flooding and a quiet app, which the fair queue lets run, in a commit queue."""

    def __init__(self, flights: int) -> None:
        self.storage = Gated(flights)
        self.fair = FairQueue(max_waiting=1000)
        storage: Any = self.storage
        self.queue = CommitQueue(storage, StorageClock(), max_batch=256, max_waiting=1000, fair_queue=self.fair)
        self.outcomes: list[asyncio.Future[Any]] = []

    def ask(self, way: str, app: str, count: int = 1) -> None:
        for _ in range(count):
            assert self.fair.enter(app) is None
            write = Write((an_access_record(app=app),))
            if way == "read":
                self.outcomes.append(self.queue.read(EntryKey("card", app), app=app))
            elif way == "commit":
                self.outcomes.append(self.queue.commit(write))
            else:
                self.outcomes.append(self.queue.commit_seen(SeenWrite(an_entry(), T0, write)))

    async def end(self) -> None:
        """Release every batch, and wait for all outcomes."""
        drained = asyncio.create_task(self.queue.drain())
        while not drained.done():
            for gate in self.storage.gates:
                gate.set()
            await asyncio.sleep(0)
        assert all(outcome.done() for outcome in self.outcomes)


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


WAYS = pytest.mark.parametrize("way", ["read", "commit", "seen"])


@WAYS
async def test_a_quiet_app_is_first_in_the_next_batch_of_a_storage_that_takes_one(way) -> None:
    apps = Apps(flights=1)
    for app in ("quiet", "flood"):
        apps.ask(way, app)
    apps.fair.leave("quiet")
    await settle()
    apps.ask(way, "flood", 30)
    apps.ask(way, "quiet", 2)
    apps.storage.gates[0].set()
    await settle()
    assert apps.storage.batches[1] == ["quiet", "quiet", *["flood"] * (SHORT_BATCH - 2)]
    await apps.end()


@WAYS
@pytest.mark.parametrize(("at_once", "most"), [(1, SHORT_BATCH), (2, 30)])
async def test_beside_another_app_the_batches_of_a_flood_are_short_where_there_is_one_at_a_time(
    way, at_once, most
) -> None:
    apps = Apps(at_once)
    apps.ask(way, "quiet")
    await settle()
    apps.ask(way, "flood", 30)
    await apps.end()
    assert max(map(len, apps.storage.batches)) == most


async def test_the_batches_of_an_app_that_is_alone_are_large() -> None:
    apps = Apps(flights=1)
    apps.ask("commit", "flood", 30)
    await apps.end()
    assert len(apps.storage.batches[0]) == 30


async def test_full_batches_of_an_app_that_is_alone_wait_for_the_one_in_progress() -> None:
    apps = Apps(flights=2)
    apps.ask("commit", "flood")
    await settle()
    apps.ask("commit", "flood", 20)
    await settle()
    assert [len(batch) for batch in apps.storage.batches] == [1]
    await apps.end()


@WAYS
async def test_a_queue_is_drained_when_the_batches_of_a_quiet_app_have_ended(way) -> None:
    apps = Apps(flights=2)
    apps.ask(way, "flood", 8)
    await settle()
    apps.ask(way, "quiet")
    await settle()
    apps.storage.gates[0].set()
    drained = asyncio.create_task(apps.queue.drain())
    await settle()
    assert not drained.done()
    await apps.end()
    await drained


@pytest.mark.parametrize("at_once", [1, 2])
@pytest.mark.parametrize(("way", "kind"), [("read", "read"), ("commit", "commit"), ("seen", "commit")])
async def test_the_metric_of_queued_requests_counts_those_of_an_app_that_goes_ahead(way, kind, at_once) -> None:
    apps = Apps(at_once)
    apps.ask(way, "quiet")
    apps.ask(way, "flood", 30)
    for count in (1, 1, 3):
        await settle()
        apps.ask(way, "quiet", count)
    await settle()
    begun = [name for batch in apps.storage.batches for name in batch]
    assert 0 < begun.count("quiet") < 6
    vault: Any = SimpleNamespace(queue=apps.queue, fair_queue=apps.fair)
    metrics = {metric.name: metric for metric in QueueCollector(vault).collect()}
    waiting = {each.labels["kind"]: each.value for each in metrics["vsqlvault_queue_waiting"].samples}
    assert waiting == {"read": 0, "commit": 0} | {kind: 36 - len(begun)}
    await apps.end()


async def test_two_floods_share_large_batches() -> None:
    apps = Apps(flights=1)
    for _ in range(10):
        apps.ask("commit", "one")
        apps.ask("commit", "two")
    await apps.end()
    assert apps.storage.batches[0] == ["one", "two"] * 10


@pytest.mark.parametrize(("quiet", "goes_ahead"), [(1, True), (8, True), (10, True), (11, False), (30, False)])
def test_an_app_goes_ahead_with_half_of_an_equal_share_of_what_runs(quiet, goes_ahead) -> None:
    fair = FairQueue(max_waiting=100, max_running=100)
    for app in ["flood"] * 30 + ["quiet"] * quiet:
        fair.enter(app)
    assert (fair.goes_ahead("quiet"), fair.goes_ahead("flood")) == (goes_ahead, False)


def test_an_app_that_is_alone_or_unknown_or_none_does_not_go_ahead() -> None:
    fair = FairQueue(max_waiting=100)
    fair.enter("one")
    assert not fair.goes_ahead("one")
    fair.enter("two")
    assert not any(fair.goes_ahead(name) for name in ("three", None))
