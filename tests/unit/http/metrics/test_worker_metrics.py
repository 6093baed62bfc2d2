"""What workers counted is added up, survives them, and never goes back."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Iterable

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from vsqlvault.http.metrics.workers import SLOT_BYTES, Share, SharedSamples, added, samples_of


class Worker:
    """What one worker measures, and its share."""

    def __init__(self, shared: SharedSamples, slot: int) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("requests", "Requests.", ["status"], registry=self.registry)
        self.open = Gauge("open", "Open.", registry=self.registry)
        self.seconds = Histogram("seconds", "Seconds.", buckets=(1, 2), registry=self.registry)
        self.share = Share(shared, slot)

    def totals(self) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
        metrics = list(self.share.total(self.registry).collect())
        assert len({metric.name for metric in metrics}) == len(metrics)
        return {(name, labels): value for (_, name, labels), value in samples_of(metrics).items()}


@pytest.fixture
def shared() -> SharedSamples:
    return SharedSamples(3)


def status(code: str) -> tuple[str, tuple[tuple[str, str], ...]]:
    return "requests_total", (("status", code),)


def test_each_worker_answers_for_all(shared: SharedSamples) -> None:
    first, second, third = (Worker(shared, slot) for slot in range(3))
    first.requests.labels("200").inc(2)
    second.requests.labels("200").inc(3)
    second.requests.labels("404").inc()
    second.seconds.observe(1.5)
    third.open.set(7)
    first.open.set(1)
    for worker in (first, second, third):
        worker.share.publish(worker.registry)
    for worker in (first, second, third):
        found = worker.totals()
        assert (found[status("200")], found[status("404")], found["open", ()]) == (5, 1, 8)
        assert found["seconds_bucket", (("le", "2.0"),)] == 1
        assert found["seconds_sum", ()] == 1.5
        assert found["vsqlvault_workers_replaced_total", ()] == 0


def test_instants_are_not_added_the_first_of_them_counts(shared: SharedSamples) -> None:
    first, second = Worker(shared, 0), Worker(shared, 1)
    for worker, at in ((first, 1_800_000_000.0), (second, 1_700_000_000.0)):
        Gauge("ends_timestamp_seconds", "An end.", registry=worker.registry).set(at)
        worker.share.publish(worker.registry)
    for worker in (first, second):
        assert worker.totals()["ends_timestamp_seconds", ()] == 1_700_000_000.0


def test_no_total_decreases_between_workers(shared: SharedSamples) -> None:
    workers = [Worker(shared, slot) for slot in range(3)]
    seen = 0.0
    for turn in range(60):
        workers[turn % 2].requests.labels("200").inc()
        now = workers[(turn * 7) % 3].totals().get(status("200"), 0.0)
        assert now >= seen
        seen = now


def test_counters_outlive_their_worker_and_gauges_do_not(shared: SharedSamples) -> None:
    first, second = Worker(shared, 0), Worker(shared, 1)
    first.requests.labels("200").inc(2)
    first.open.set(9)
    first.share.publish(first.registry)
    shared.retire(0)
    replacement = Worker(shared, 0)
    replacement.requests.labels("200").inc()
    replacement.share.publish(replacement.registry)
    found = second.totals()
    assert (found[status("200")], found["open", ()]) == (3, 0)
    assert found["vsqlvault_workers_replaced_total", ()] == 1


def test_what_is_too_large_leaves_the_slot_as_it_was(shared: SharedSamples) -> None:
    shared.write(0, {("a counter", "a_total", ()): 1.0})
    many = {("a counter", "a_total", (("n", f"{number:0100}"),)): 1.0 for number in range(SLOT_BYTES // 100)}
    shared.write(0, many)
    assert shared.others(1)["a counter", "a_total", ()] == 1.0


def _write_for_ever(shared: SharedSamples) -> None:
    number = 0
    while True:
        number += 1
        labels = tuple((f"n{place}", str(number)) for place in range(50))
        shared.write(0, {("a counter", "a_total", labels): float(number)})


def test_what_another_process_writes_is_read_whole(shared: SharedSamples) -> None:
    process = multiprocessing.get_context("fork").Process(target=_write_for_ever, args=(shared,), daemon=True)
    process.start()
    try:
        found: set[float] = set()
        deadline = time.monotonic() + 20
        rounds = 0
        while rounds < 2000 or (len(found) <= 10 and time.monotonic() < deadline):  # the writer may wait for its turn
            rounds += 1
            for (family, _, labels), value in shared.others(1).items():
                if family == "a counter":
                    assert {text for _, text in labels} == {str(int(value))}
                    found.add(value)
        assert len(found) > 10
    finally:
        process.kill()
        process.join()


def test_adding_is_sample_by_sample() -> None:
    one: Iterable[dict] = (
        {("a counter", "a", ()): 1.0},
        {("a counter", "a", ()): 2.0, ("b counter", "b", ()): 4.0},
        {},
    )
    assert added(*one) == {("a counter", "a", ()): 3.0, ("b counter", "b", ()): 4.0}
