"""The fair queue: shares of apps, the order of what waits, and nothing that waits forever."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from vsqlvault.errors import Overloaded
from vsqlvault.service.commit.fair_queue import FairQueue


class Clock:
    """A monotonic clock that a test sets."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


class Requests:
    """Requests of apps in a fair queue for four, which run until a test ends them."""

    def __init__(self) -> None:
        self.clock = Clock()
        self.queue = FairQueue(
            max_waiting=10, max_running=4, max_wait_seconds=30.0, active_seconds=10.0, monotonic=self.clock
        )
        self.running: Counter[str] = Counter()
        self.started: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []

    async def come(self, names: str) -> None:
        """Let a request come for each letter, which is the app's name."""
        for name in names:
            self.tasks.append(asyncio.create_task(self._come(name)))
        await settle()

    async def _come(self, name: str) -> None:
        turn = self.queue.enter(name)
        if turn is not None:
            await self.queue.wait(name, turn)
        self.running[name] += 1
        self.started.append(name)

    async def end(self, names: str) -> None:
        """End a request for each letter."""
        for name in names:
            assert self.running[name] > 0
            self.running[name] -= 1
            self.queue.leave(name)
            await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


@pytest.fixture
def requests() -> Requests:
    return Requests()


async def test_the_requests_of_an_app_that_is_alone_all_run(requests) -> None:
    await requests.come("a" * 50)
    assert (requests.running, requests.queue.waiting, requests.queue.delayed) == ({"a": 50}, 0, 0)


async def test_beside_another_app_the_requests_beyond_the_limit_wait(requests) -> None:
    await requests.come("b" + "a" * 10)
    assert (requests.running, requests.queue.waiting, requests.queue.delayed) == ({"a": 3, "b": 1}, 7, 7)


async def test_a_request_within_the_share_of_its_app_does_not_wait(requests) -> None:
    await requests.come("a" * 50 + "bb")
    assert requests.running == {"a": 50, "b": 2}


async def test_a_request_beyond_the_share_waits_until_the_others_are_fewer_than_the_limit(requests) -> None:
    await requests.come("aaaabbb")
    assert requests.running == {"a": 4, "b": 2}
    await requests.end("aa")
    assert requests.running == {"a": 2, "b": 2}
    await requests.end("a")
    assert requests.running == {"a": 1, "b": 3}


async def test_capacity_that_other_apps_do_not_use_is_used(requests) -> None:
    await requests.come("b" + "a" * 10)
    await requests.end("b")
    assert requests.running["a"] == 4


async def test_what_is_free_goes_to_the_app_with_the_fewest_running_requests(requests) -> None:
    await requests.come("aaaa" + "bbbb" + "aa")
    assert requests.running == {"a": 4, "b": 2}
    await requests.end("aaa")
    assert (requests.running, requests.started[-1]) == ({"a": 2, "b": 2}, "a")


async def test_every_app_has_a_share_of_one_however_many_there_are(requests) -> None:
    await requests.come("aaaa" + "bcdefgh" * 2)
    assert requests.running == {"a": 4} | dict.fromkeys("bcdefgh", 1)


async def test_the_requests_of_one_app_run_in_the_order_in_which_they_came() -> None:
    queue, order = FairQueue(max_waiting=10, max_running=1), list[int]()

    async def run(number: int) -> None:
        if (turn := queue.enter("a")) is not None:
            await queue.wait("a", turn)
        order.append(number)
        await asyncio.sleep(0)
        queue.leave("a")

    assert queue.enter("b") is None
    await asyncio.gather(*(run(number) for number in range(6)))
    assert order == list(range(6))


async def test_an_app_counts_as_active_for_a_while_after_its_newest_request(requests) -> None:
    await requests.come("b")
    await requests.end("b")
    requests.clock.at += 9.9
    await requests.come("a" * 10)
    assert requests.running["a"] == 4


async def test_an_app_without_requests_is_forgotten_and_what_waited_for_it_runs(requests) -> None:
    await requests.come("b")
    await requests.end("b")
    await requests.come("a" * 10)
    requests.clock.at += 10
    await requests.come("a")
    assert (requests.running["a"], requests.queue.waiting) == (11, 0)
    assert list(requests.queue._apps) == ["a"]


async def test_an_app_with_running_requests_is_not_forgotten(requests) -> None:
    await requests.come("b" + "a" * 10)
    requests.clock.at += 1000
    await requests.come("a")
    assert requests.running["a"] == 3


async def test_too_many_waiting_requests_of_an_app_are_refused_and_those_of_another_are_not(requests) -> None:
    await requests.come("b" * 4 + "a" * 12)
    assert requests.queue.waiting == 10
    with pytest.raises(Overloaded):
        requests.queue.enter("a")
    await requests.come("b")
    assert requests.queue.waiting == 11


async def test_a_request_that_has_waited_too_long_is_refused_and_a_later_one_runs(requests) -> None:
    await requests.come("b" * 4 + "aaa")
    late = requests.tasks[-1]
    requests.clock.at += 20
    await requests.come("a")
    requests.clock.at += 11
    await requests.end("bbb")
    with pytest.raises(Overloaded):
        await late
    assert (requests.running["a"], requests.queue.waiting) == (3, 0)


async def test_a_cancelled_request_leaves_its_place_to_the_next(requests) -> None:
    await requests.come("b" * 4 + "aaaa")
    requests.tasks[-1].cancel()
    requests.tasks[-2].cancel()
    await settle()
    assert (requests.running["a"], requests.queue.waiting) == (2, 0)
    await requests.end("aa")
    assert requests.queue._running == 4


async def test_a_request_that_is_being_cancelled_is_passed_over(requests) -> None:
    await requests.come("b" * 4 + "aaaa")
    requests.tasks[-2].cancel()
    await requests.end("a")
    assert (requests.running["a"], requests.queue.waiting, requests.queue._running) == (2, 0, 6)


async def test_a_request_that_is_cancelled_when_its_turn_has_come_passes_it_on(requests) -> None:
    await requests.come("b" * 4 + "aaaa")
    requests.queue.leave("a")
    requests.running["a"] -= 1
    requests.tasks[-2].cancel()  # its turn has come, and it has not gone on
    await settle()
    assert (requests.running["a"], requests.queue.waiting) == (2, 0)
    assert requests.tasks[-2].cancelled()
