"""Batches: a lone item at once, a batch while a flush runs, and everybody's outcome to whom it belongs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

import pytest

from vsqlvault.errors import AuditUnavailable, OutcomeUnknown, Overloaded, StorageFull, StorageUnavailable, VaultError
from vsqlvault.service.commit.batcher import SECOND_FLUSH_DELAY_SECONDS, Batcher
from vsqlvault.steps import Steps

SOON = 5


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class Flushes:
    """A flush that waits until it is released, doubles numbers, and fails on configured items."""

    def __init__(self, *, gated: bool = False) -> None:
        self.batches: list[list[int]] = []
        self.under_way = 0
        self.most_under_way = 0
        self.bad: dict[int, BaseException] = {}
        self.gate = asyncio.Event()
        if not gated:
            self.gate.set()

    async def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.gate.wait()
            for item in items:
                if item in self.bad:
                    raise self.bad[item]
            return [item * 2 for item in items]
        finally:
            self.under_way -= 1


def batcher(flush: Any, **limits: Any) -> Batcher[int, int]:
    return Batcher(flush, **{"max_in_flight": 1, "limit": 256, "max_waiting": 1000} | limits)


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def submit_behind_a_flight(one: Batcher[int, int], flushes: Flushes, count: int) -> list[Any]:
    """Submit 0, and the other numbers while its flush runs; return all results and errors."""
    first = asyncio.create_task(one.submit(0))
    await settle()
    rest = [asyncio.create_task(one.submit(number)) for number in range(1, count)]
    await settle()
    assert (flushes.batches, one.waiting) == ([[0]], count - 1)
    flushes.gate.set()
    return await asyncio.wait_for(asyncio.gather(first, *rest, return_exceptions=True), SOON)


async def test_a_lone_item_is_flushed_at_once() -> None:
    flushes = Flushes(gated=True)
    item = asyncio.create_task(batcher(flushes).submit(1))
    await settle()
    assert flushes.batches == [[1]]
    flushes.gate.set()
    assert await item == 2


async def test_what_arrives_while_a_flush_runs_goes_as_one_batch() -> None:
    flushes = Flushes(gated=True)
    results = await submit_behind_a_flight(batcher(flushes), flushes, 10)
    assert results == [n * 2 for n in range(10)]
    assert flushes.batches == [[0], list(range(1, 10))]


@pytest.mark.parametrize(("limit", "lengths"), [(1, [1] * 11), (4, [1, 4, 4, 2]), (10, [1, 10])])
async def test_a_batch_is_no_longer_than_the_limit(limit, lengths) -> None:
    flushes = Flushes(gated=True)
    await submit_behind_a_flight(batcher(flushes, limit=limit), flushes, 11)
    assert [len(batch) for batch in flushes.batches] == lengths


@pytest.mark.parametrize("at_once", [1, 2, 3])
async def test_no_more_flights_than_allowed_are_under_way(at_once) -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, max_in_flight=at_once, limit=2, second_flush_delay_seconds=0.0)
    items = [asyncio.create_task(one.submit(n)) for n in range(40)]
    await settle()
    flushes.gate.set()
    await asyncio.gather(*items)
    assert flushes.most_under_way == at_once


@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize(("seconds", "batches"), [(0.0, [[0]]), (SECOND_FLUSH_DELAY_SECONDS * 1.2, [[0], [1, 2]])])
async def test_beside_a_flight_that_is_late_another_takes_off(seconds, batches, together) -> None:
    flushes, clock = Flushes(gated=True), Clock()
    one = batcher(flushes, max_in_flight=2, monotonic=clock)
    first = asyncio.create_task(one.submit(0))
    await settle()
    clock.at += seconds
    rest = [asyncio.create_task(one.submit_all([1, 2]) if together else submit_both(one))]
    await settle()
    assert flushes.batches == batches
    flushes.gate.set()
    assert await asyncio.wait_for(asyncio.gather(first, *rest), SOON) == [0, [2, 4]]


async def test_what_waits_behind_a_late_flight_takes_off_though_nothing_more_comes() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, max_in_flight=2)
    items = [asyncio.create_task(one.submit(0))]
    await settle()
    items.append(asyncio.create_task(one.submit(1)))
    await asyncio.sleep(SECOND_FLUSH_DELAY_SECONDS * 3)
    assert flushes.batches == [[0], [1]]
    flushes.gate.set()
    assert await asyncio.wait_for(asyncio.gather(*items), SOON) == [0, 2]


async def test_what_one_batch_has_no_room_for_takes_off_beside_it_once_that_is_late() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, max_in_flight=2, limit=2)
    together = asyncio.create_task(one.submit_all([0, 1, 2]))
    await asyncio.sleep(SECOND_FLUSH_DELAY_SECONDS * 3)
    assert flushes.batches == [[0, 1], [2]]
    flushes.gate.set()
    assert await asyncio.wait_for(together, SOON) == [0, 2, 4]


async def test_a_flight_that_has_landed_makes_no_other_less_late() -> None:
    clock = Clock()
    hanging = asyncio.Event()
    begun: list[int] = []

    async def flush(items: Sequence[int]) -> Sequence[int]:
        begun.extend(items)
        if 0 in items:
            await hanging.wait()
        return items

    one = batcher(flush, max_in_flight=2, monotonic=clock)
    first = asyncio.create_task(one.submit(0))
    await settle()
    clock.at += SECOND_FLUSH_DELAY_SECONDS * 1.2
    for number in (1, 2):
        item = asyncio.create_task(one.submit(number))
        await settle()
        assert (item.done(), begun[-1]) == (True, number)
    hanging.set()
    assert await asyncio.wait_for(first, SOON) == 0


async def test_a_batch_that_is_run_again_item_by_item_is_as_late_as_it_is_long() -> None:
    begun: list[int] = []

    async def flush(items: Sequence[int]) -> Sequence[int]:
        if len(items) > 1:
            raise ValueError("one of them")
        begun.extend(items)
        await asyncio.sleep(SECOND_FLUSH_DELAY_SECONDS / 8)
        return items

    one = batcher(flush, max_in_flight=2)
    together = asyncio.create_task(one.submit_all(range(40)))
    await settle()
    assert await asyncio.wait_for(one.submit(40), SOON) == 40
    assert begun.index(40) < 39
    await together


async def submit_both(one: Batcher[int, int]) -> list[int]:
    return await asyncio.gather(one.submit(1), one.submit(2))


async def test_the_counts_tell_what_went_through() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes)
    await submit_behind_a_flight(one, flushes, 11)
    assert (one.counts.items, one.counts.batches, one.counts.rerun, one.counts.refused) == (11, 2, 0, 0)


async def test_it_tells_when_the_newest_batch_took_off() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes)
    assert one.counts.last_at is None
    began = time.monotonic()
    waits = asyncio.create_task(one.submit(1))
    await asyncio.sleep(0.01)
    assert began <= one.counts.last_at < time.monotonic()
    flushes.gate.set()
    await waits


@pytest.mark.parametrize(
    "error", [AuditUnavailable(), ValueError("bad row"), KeyError("k")], ids=lambda e: type(e).__name__
)
async def test_one_bad_item_fails_alone(error) -> None:
    flushes = Flushes()
    flushes.bad[5] = error
    one = batcher(flushes)
    results = await asyncio.gather(*(one.submit(n) for n in range(10)), return_exceptions=True)
    assert [n for n, result in enumerate(results) if isinstance(result, BaseException)] == [5]
    assert isinstance(results[5], VaultError)
    assert one.counts.rerun == 1


async def test_an_error_that_is_not_the_vaults_comes_as_one_of_its_own_with_its_cause() -> None:
    flushes = Flushes()
    flushes.bad[1] = cause = ValueError("driver's words")
    with pytest.raises(StorageUnavailable) as refused:
        await batcher(flushes).submit(1)
    assert refused.value.__cause__ is cause
    assert "driver" not in str(refused.value)


@pytest.mark.parametrize("kind", [StorageUnavailable, StorageFull, OutcomeUnknown])
async def test_a_misfortune_of_all_befalls_all_and_is_not_tried_again(kind) -> None:
    flushes = Flushes(gated=True)
    flushes.bad[5] = kind()
    results = await submit_behind_a_flight(batcher(flushes), flushes, 10)
    assert results[0] == 0
    assert [type(result) for result in results[1:]] == [kind] * 9
    assert len(flushes.batches) == 2


async def test_it_goes_on_after_a_misfortune() -> None:
    flushes = Flushes()
    flushes.bad[1] = StorageUnavailable()
    one = batcher(flushes)
    with pytest.raises(StorageUnavailable):
        await one.submit(1)
    assert await one.submit(2) == 4


async def test_beyond_the_limit_of_waiting_an_item_is_refused_at_once() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, max_waiting=3)
    first = asyncio.create_task(one.submit(0))
    await settle()
    waiting = [asyncio.create_task(one.submit(n)) for n in range(1, 4)]
    await settle()
    with pytest.raises(Overloaded):
        await one.submit(4)
    assert one.counts.refused == 1
    flushes.gate.set()
    assert await asyncio.gather(first, *waiting) == [0, 2, 4, 6]
    assert await one.submit(4) == 8


async def test_of_many_items_each_one_beyond_the_limit_is_refused() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, max_waiting=3)
    first = asyncio.create_task(one.submit(0))
    await settle()
    many = asyncio.create_task(one.submit_all([1, 2, 3, 4, 5]))
    await settle()
    flushes.gate.set()
    *done, refused, last = await asyncio.wait_for(many, SOON)
    assert (await first, done) == (0, [2, 4, 6])
    assert [type(refused), type(last)] == [Overloaded, Overloaded]


@pytest.mark.parametrize(
    ("max_batch_size", "batches"),
    [(9, [[1, 2, 3], [4, 5], [6], [7]]), (1, [[1], [2], [3], [4], [5], [6], [7]]), (100, [[1, 2, 3, 4, 5, 6, 7]])],
)
async def test_a_batch_is_no_heavier_than_the_limit_unless_it_is_one_item(max_batch_size, batches) -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, size_of=lambda item: item, max_batch_size=max_batch_size)
    await submit_behind_a_flight(one, flushes, 8)
    assert flushes.batches == [[0], *batches]


async def test_beyond_the_weight_of_waiting_an_item_is_refused_at_once() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, size_of=lambda item: item, max_waiting_size=10)
    tasks = [asyncio.create_task(one.submit(0))]
    await settle()
    tasks += [asyncio.create_task(one.submit(n)) for n in (4, 6)]
    await settle()
    with pytest.raises(Overloaded):
        await one.submit(1)
    assert one.counts.refused == 1
    flushes.gate.set()
    assert await asyncio.gather(*tasks) == [0, 8, 12]
    assert await asyncio.gather(*(one.submit(n) for n in (1, 4, 5))) == [2, 8, 10]


async def test_an_item_heavier_than_all_that_may_wait_goes_where_nothing_waits() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, size_of=lambda item: item, max_waiting_size=10, max_batch_size=5)
    tasks = []
    for item in (1, 50):
        tasks.append(asyncio.create_task(one.submit(item)))
        await settle()
    flushes.gate.set()
    assert await asyncio.gather(*tasks) == [2, 100]


async def test_a_caller_that_is_cancelled_does_not_lose_the_others() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes)
    items = [asyncio.create_task(one.submit(n)) for n in range(6)]
    await settle()
    items[0].cancel()
    items[3].cancel()
    await settle()
    flushes.gate.set()
    results = await asyncio.wait_for(asyncio.gather(*items, return_exceptions=True), SOON)
    assert [result for result in results if isinstance(result, int)] == [2, 4, 8, 10]
    assert isinstance(results[0], asyncio.CancelledError)
    assert isinstance(results[3], asyncio.CancelledError)


@pytest.mark.parametrize("kind", [StorageUnavailable, ValueError])
async def test_a_caller_that_is_cancelled_does_not_lose_the_others_when_the_flush_fails(kind) -> None:
    flushes = Flushes(gated=True)
    flushes.bad[2] = kind("x")
    one = batcher(flushes)
    items = [asyncio.create_task(one.submit(n)) for n in range(4)]
    await settle()
    items[1].cancel()
    await settle()
    flushes.gate.set()
    results = await asyncio.wait_for(asyncio.gather(*items, return_exceptions=True), SOON)
    assert isinstance(results[2], StorageUnavailable)
    assert await asyncio.wait_for(one.submit(7), SOON) == 14


async def test_what_a_cancelled_caller_submitted_is_flushed_all_the_same() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes)
    first = asyncio.create_task(one.submit(1))
    await settle()
    second = asyncio.create_task(one.submit(2))
    await settle()
    second.cancel()
    flushes.gate.set()
    await first
    await one.drain()
    assert flushes.batches == [[1], [2]]


async def test_draining_waits_for_all_that_waits_and_flies() -> None:
    flushes = Flushes(gated=True)
    one = batcher(flushes, limit=2)
    items = [asyncio.create_task(one.submit(n)) for n in range(7)]
    await settle()
    draining = asyncio.create_task(one.drain())
    await settle()
    assert not draining.done()
    flushes.gate.set()
    await asyncio.wait_for(draining, SOON)
    assert sum(len(batch) for batch in flushes.batches) == 7
    await asyncio.gather(*items)


@pytest.mark.parametrize("given", [[], [1], [1, 2, 3, 4, 5]], ids=["none", "too few", "too many"])
async def test_a_flush_that_answers_for_too_few_or_too_many_leaves_nobody_waiting(given) -> None:
    async def flush(items: Sequence[int]) -> list[int]:
        return given

    one = batcher(flush)
    first = asyncio.create_task(one.submit(0))
    rest = [asyncio.create_task(one.submit(n)) for n in range(1, 4)]
    done, pending = await asyncio.wait([first, *rest], timeout=2)
    for task in pending:
        task.cancel()
    await asyncio.gather(first, *rest, return_exceptions=True)
    one._tasks and await asyncio.gather(*one._tasks, return_exceptions=True)
    assert not pending
    assert any(isinstance(task.exception(), VaultError) for task in done)


class DecidesByUnfinishedTasks(Batcher[int, int]):
    """A former batcher: a flush counts until its task is seen to be finished, a step after its last check."""

    async def submit(self, item: int) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future, 0))
        if len(self._tasks) < self._max_in_flight:
            self._start_flush()
        return await future


async def submit_in_the_step_in_which_a_flight_ends(one: Batcher[int, int]) -> list[int]:
    """Submit again as soon as the last result is there: the flush has made its last check of the queue, and has not ended."""
    return [await asyncio.wait_for(one.submit(n), 1) for n in range(3)]


async def test_an_item_submitted_in_the_step_in_which_a_flight_ends_is_not_stranded() -> None:
    assert await submit_in_the_step_in_which_a_flight_ends(batcher(Flushes())) == [0, 2, 4]


async def test_that_test_fails_where_unfinished_tasks_decide() -> None:
    old = DecidesByUnfinishedTasks(Flushes(), max_in_flight=1, limit=256, max_waiting=1000)
    # Directly, for wait_for would put a step in between.
    chain = asyncio.create_task(_straight(old))
    _, pending = await asyncio.wait([chain], timeout=0.5)
    assert pending
    chain.cancel()


async def test_a_straight_chain_of_submissions_is_not_stranded() -> None:
    assert await asyncio.wait_for(_straight(batcher(Flushes())), SOON) == [n * 2 for n in range(50)]


async def _straight(one: Batcher[int, int]) -> list[int]:
    return [await one.submit(n) for n in range(50)]


@pytest.mark.parametrize("at_once", [1, 2])
async def test_many_chains_of_submissions_all_end(at_once) -> None:
    one = batcher(Flushes(), max_in_flight=at_once, limit=3)
    chains = await asyncio.wait_for(asyncio.gather(*(_straight(one) for _ in range(20))), SOON)
    assert chains == [[n * 2 for n in range(50)]] * 20


class TestAFlushThatDoesNotEnd:
    """It fails its own items after its time, and those that come later are flushed without it."""

    async def _hung(self, first: Any, **limits: Any) -> Any:
        calls = 0

        async def flush(items: Sequence[int]) -> list[int]:
            nonlocal calls
            calls += 1
            if calls == 1:
                await first()
            return [item * 2 for item in items]

        one = batcher(flush, **{"flush_seconds": 0.02} | limits)
        late, next_one = asyncio.create_task(one.submit(1)), None
        await settle()
        next_one = asyncio.create_task(one.submit(2))
        with pytest.raises(limits.get("unknown", OutcomeUnknown)) as raised:
            await asyncio.wait_for(late, SOON)
        assert await asyncio.wait_for(next_one, SOON) == 4
        assert await asyncio.wait_for(one.submit(3), SOON) == 6
        await asyncio.wait_for(one.drain(), SOON)
        return raised.value

    def test_its_items_have_an_unknown_outcome_and_the_next_are_flushed(self) -> None:
        error = asyncio.run(self._hung(lambda: asyncio.sleep(60)))
        assert isinstance(error.__cause__, TimeoutError)

    def test_of_reads_they_have_the_error_of_reads(self) -> None:
        asyncio.run(self._hung(lambda: asyncio.sleep(60), unknown=StorageUnavailable))

    def test_it_may_swallow_its_cancellation(self) -> None:
        async def swallow() -> None:
            for _ in range(3):
                try:
                    await asyncio.sleep(0.1)
                except asyncio.CancelledError:
                    continue

        asyncio.run(self._hung(swallow))

    def test_an_error_after_its_cancellation_is_no_reason_to_run_its_items_again(self) -> None:
        batches: list[int] = []

        async def run() -> None:
            async def flush(items: Sequence[int]) -> list[int]:
                batches.append(len(items))
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    raise ValueError from None
                return list(items)

            one = batcher(flush, flush_seconds=0.02)
            outcomes = await asyncio.wait_for(one.submit_all([1, 2, 3]), SOON)
            await settle()
            assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown] * 3

        asyncio.run(run())
        assert batches == [3]

    def test_draining_does_not_wait_for_it(self) -> None:
        async def run() -> None:
            swallowed, release = asyncio.Event(), asyncio.Event()

            async def flush(items: Sequence[int]) -> list[int]:
                try:
                    await asyncio.sleep(60)
                except asyncio.CancelledError:
                    swallowed.set()
                    await release.wait()
                return list(items)

            one = batcher(flush, flush_seconds=0.02)
            with pytest.raises(OutcomeUnknown):
                await asyncio.wait_for(one.submit(1), SOON)
            await asyncio.wait_for(swallowed.wait(), SOON)
            try:
                await asyncio.wait_for(one.drain(), SOON)
            finally:
                release.set()
                await settle()

        asyncio.run(run())

    def test_every_item_is_answered_where_one_of_a_batch_run_again_hangs(self) -> None:
        async def run() -> None:
            async def flush(items: Sequence[int]) -> list[int]:
                if len(items) > 1:
                    raise ValueError
                if items[0] == 2:
                    await asyncio.sleep(60)
                return list(items)

            one = batcher(flush, flush_seconds=0.02)
            outcomes = await asyncio.wait_for(one.submit_all([1, 2, 3]), SOON)
            assert [type(outcome) for outcome in outcomes] == [int, OutcomeUnknown, OutcomeUnknown]

        asyncio.run(run())

    def test_the_time_of_each_batch_counts_alone(self) -> None:
        async def run() -> None:
            async def flush(items: Sequence[int]) -> list[int]:
                await asyncio.sleep(0.05)
                return list(items)

            one = batcher(flush, flush_seconds=0.01, monotonic=Clock())  # no batch ever takes time by this clock
            assert await asyncio.wait_for(one.submit(7), SOON) == 7

        asyncio.run(run())


def test_results_that_are_no_sequence_leave_the_outcome_unknown_and_nothing_is_committed_twice() -> None:
    calls = 0

    async def flush(_: Sequence[int]) -> Any:
        nonlocal calls
        calls += 1

    async def run() -> list[Any]:
        return await batcher(flush).submit_all([1, 2])

    outcomes = asyncio.run(run())
    assert [type(outcome) for outcome in outcomes] == [OutcomeUnknown, OutcomeUnknown]
    assert calls == 1


async def test_a_coroutine_without_a_task_gets_the_error_of_its_batch() -> None:
    flushes, found = Flushes(), list[str]()
    flushes.bad[1] = StorageUnavailable()
    one = batcher(flushes)

    async def caller() -> None:
        try:
            await one.enqueue(1)
        except StorageUnavailable:
            found.append("the error")

    Steps(caller(), lambda _: found.append("ended")).go_on()
    await settle()
    assert found == ["the error", "ended"]
