"""The pace of a sweep: large commits while it is alone, and such as take a millisecond beside requests."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from vsqlvault.service.commit.batcher import BatchCounts
from vsqlvault.service.purge.throttle import ALONE_SECONDS, COMMIT_SECONDS, LEAST, MOST, PAGE, REST, SweepThrottle


class Line:
    """A queue that counts what goes through, and a clock that a test sets."""

    def __init__(self) -> None:
        self.writes = SimpleNamespace(counts=BatchCounts())
        self.now = 100.0

    def pace(self) -> SweepThrottle:
        queue: Any = self
        return SweepThrottle(queue, 0.0, self.writes.counts.last_at, lambda: self.now)

    def others(self, number: int = 1) -> None:
        self.writes.counts.items += number

    def commit(self, pace: SweepThrottle, purges: int, seconds: float) -> None:
        with pace.committing(purges, 1):
            self.writes.counts.items += 1
            self.now += seconds


def test_what_the_sweep_commits_itself_is_no_request() -> None:
    line = Line()
    pace = line.pace()
    for _ in range(5):
        line.commit(pace, pace.size, 0.02)
        assert (pace.has_other_traffic, pace.size) == (False, MOST)


@pytest.mark.parametrize(
    ("seconds_ago", "has_other_traffic"), [(ALONE_SECONDS * 0.9, True), (ALONE_SECONDS * 1.1, False)]
)
def test_traffic_just_before_the_sweep_counts_as_other_traffic(seconds_ago: float, has_other_traffic: bool) -> None:
    line = Line()
    line.others(1000)
    line.writes.counts.last_at = line.now
    line.now += seconds_ago
    assert line.pace().has_other_traffic is has_other_traffic


def test_a_queue_through_which_nothing_went_has_nobody_beside_it() -> None:
    assert not Line().pace().has_other_traffic


def test_beside_requests_it_begins_small_and_is_alone_again_after_some_seconds() -> None:
    line = Line()
    pace = line.pace()
    line.others()
    assert (pace.has_other_traffic, pace.size) == (True, LEAST)
    line.now += ALONE_SECONDS * 0.9
    assert pace.has_other_traffic
    line.now += ALONE_SECONDS * 0.2
    assert (pace.has_other_traffic, pace.size) == (False, MOST)


@pytest.mark.parametrize(
    ("seconds_each", "size"),
    [(COMMIT_SECONDS / 50, 50), (COMMIT_SECONDS / 100, 100), (COMMIT_SECONDS, LEAST), (COMMIT_SECONDS / 10_000, MOST)],
)
def test_beside_requests_a_commit_comes_to_take_what_it_may(seconds_each: float, size: int) -> None:
    line = Line()
    pace = line.pace()
    for _ in range(40):
        line.others()
        line.commit(pace, pace.size, pace.size * seconds_each)
    assert abs(pace.size - size) <= 1


def test_a_commit_that_waits_for_its_turn_is_still_its_own() -> None:
    line = Line()
    pace = line.pace()
    with pace.committing(64, 1):
        assert not pace.has_other_traffic
        line.writes.counts.items += 1
        assert not pace.has_other_traffic
    assert not pace.has_other_traffic


def test_pages_are_small_beside_requests_and_as_large_as_is_set_otherwise() -> None:
    line = Line()
    pace = line.pace()
    assert (pace.page(PAGE * 4), pace.page(3)) == (PAGE * 4, 3)
    line.others()
    assert (pace.page(PAGE * 4), pace.page(3)) == (PAGE, 3)


async def test_beside_requests_it_gives_way_after_each_commit_for_a_multiple_of_what_that_took(monkeypatch) -> None:
    line = Line()
    pace = line.pace()
    rests: list[float] = []

    async def rest(seconds: float) -> None:
        rests.append(seconds)

    monkeypatch.setattr("vsqlvault.service.purge.throttle.asyncio.sleep", rest)
    line.commit(pace, 8, 0.25)
    await pace.yield_to_requests()
    assert rests == []
    line.others()
    line.commit(pace, 8, 0.5)
    await pace.yield_to_requests()
    assert rests == [0.5 * REST]
