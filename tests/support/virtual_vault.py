"""The real fair queue and commit queue in virtual time: what a flood costs another app, without a clock or a machine.

The server has one processor. Its callbacks take the time that they add to the clock of the event loop, so what is ready
waits for what runs. The storage and the clients share a second processor equally. All figures are seconds of virtual time.
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from vsqlvault.interfaces.writes import Committed, Write
from vsqlvault.service.commit.fair_queue import FairQueue
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.testing import an_access_record

At = Callable[[float], None]
"""What happens at a time."""

NEVER = float("inf")
DONE = 1e-12
STEP = 0.05


class Costs(NamedTuple):
    """What a request costs the server before and after its commit, a batch and each of its items, and a client."""

    before: float
    after: float
    batch: float
    item: float
    stored_batch: float
    stored_item: float
    sync: float
    client: float = 40e-6


GET_IN_PROCESS = Costs(40e-6, 40e-6, 120e-6, 8e-6, 80e-6, 28e-6, 250e-6)
PUT_IN_PROCESS = Costs(60e-6, 45e-6, 120e-6, 10e-6, 80e-6, 50e-6, 250e-6)


@dataclass(slots=True, eq=False)
class Job:
    """Work of the second processor, and what happens when it is done."""

    left: float
    done: At


class SecondProcessor:
    """Works on all its jobs at once, equally fast, and knows what happens at later times."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._later: list[tuple[float, At]] = []
        self._now = 0.0

    def work(self, seconds: float, done: At) -> None:
        self._jobs.append(Job(seconds, done))

    def at(self, time: float, what: At) -> None:
        self._later.append((time, what))

    def next(self) -> float:
        """Return when something happens next, if nothing is added."""
        ends = (
            self._now + min((job.left for job in self._jobs), default=NEVER) * len(self._jobs) if self._jobs else NEVER
        )
        return min(ends, min((time for time, _ in self._later), default=NEVER))

    def advance(self, time: float) -> None:
        """Let everything happen that happens until a time."""
        while (following := self.next()) <= time:
            self._run(following)
            over = [job for job in self._jobs if job.left <= DONE]
            self._jobs = [job for job in self._jobs if job.left > DONE]
            due = [(when, what) for when, what in self._later if when <= following]
            self._later = [(when, what) for when, what in self._later if when > following]
            for what in [job.done for job in over] + [what for _, what in sorted(due, key=lambda each: each[0])]:
                what(following)
        self._run(time)

    def _run(self, time: float) -> None:
        for job in self._jobs:
            job.left -= (time - self._now) / len(self._jobs)
        self._now = max(self._now, time)


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time advances by what its callbacks say that they take, and to the next event if none is ready."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.others = SecondProcessor()
        self.arrived: deque[Callable[[], None]] = deque()
        self._selector: Any
        self._ready: Any
        self._selector.select = self._select

    def time(self) -> float:
        return self.now

    def takes(self, seconds: float) -> None:
        """Let the running callback take this long."""
        self.now += seconds
        self.others.advance(self.now)

    def _select(self, timeout: float | None = None) -> list[Any]:
        self.others.advance(self.now)
        ends = self.now + (NEVER if timeout is None else timeout)
        while not self.arrived and not self._ready and self.now < ends:
            self.now = max(self.now, min(self.others.next(), ends))
            self.others.advance(self.now)
        while self.arrived:
            self.call_soon(self.arrived.popleft())
        return []


class VirtualStorage:
    """Commits batches in virtual time, ``flights`` at once. Its sync takes between 0.7 and 1.6 of what is usual."""

    def __init__(self, loop: VirtualLoop, costs: Costs, flights: int, chance: random.Random) -> None:
        self._loop, self._costs, self.flights, self._chance = loop, costs, flights, chance

    async def commit(self, writes: Sequence[Write]) -> Sequence[Committed]:
        loop, costs = self._loop, self._costs
        here = (costs.batch + costs.item * len(writes)) / 2
        loop.takes(here)
        ended = loop.create_future()

        def sync(now: float) -> None:
            loop.others.at(now + costs.sync * self._chance.uniform(0.7, 1.6), answer)

        def answer(_: float) -> None:
            loop.arrived.append(lambda: ended.set_result(None))

        loop.others.work(costs.stored_batch + costs.stored_item * len(writes), sync)
        await ended
        loop.takes(here)
        return [Committed()] * len(writes)


@dataclass(slots=True)
class Figures:
    """The latencies of the quiet app, and how many requests of the flooding app were answered in a second."""

    latencies: list[float] = field(default_factory=list)
    flood: float = 0.0

    @property
    def p99(self) -> float:
        return sorted(self.latencies)[len(self.latencies) * 99 // 100]


class VirtualVault:
    """Requests of two apps in virtual time."""

    def __init__(self, loop: VirtualLoop, costs: Costs, flights: int) -> None:
        self._loop, self._costs = loop, costs
        self._chance = random.Random(1)
        self._fair = FairQueue(max_waiting=10_000, monotonic=loop.time)
        storage: Any = VirtualStorage(loop, costs, flights, self._chance)
        self._queue = CommitQueue(
            storage, StorageClock(loop.time), max_batch=256, max_waiting=10_000, fair_queue=self._fair
        )
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_over = False
        self.figures = Figures()

    async def _request(self, app: str, answered: At) -> None:
        self._loop.takes(self._costs.before / 2)
        if (turn := self._fair.enter(app)) is not None:
            await self._fair.wait(app, turn)
        self._loop.takes(self._costs.before / 2)
        row = an_access_record(app=app)
        await self._queue.commit(Write((row,)))
        self._loop.takes(self._costs.after)
        self._fair.leave(app)
        answered(self._loop.now)

    def _send(self, app: str, answered: At) -> None:
        if self._is_over:
            return

        def arrive() -> None:
            task = self._loop.create_task(self._request(app, answered))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        self._loop.arrived.append(arrive)

    async def run(self, seconds: float) -> None:
        """Let the callers go on until then, and wait for the last answers."""
        while self._loop.now < seconds:  # noqa: ASYNC110 - a sleep is what lets virtual time pass
            await asyncio.sleep(STEP)
        self.figures.flood /= self._loop.now
        self._is_over = True
        while self._tasks:  # noqa: ASYNC110 - the same
            await asyncio.sleep(STEP)

    def flood(self, _: float = 0.0) -> None:
        """Send requests of the flooding app, one after the other."""

        def answered(_: float) -> None:
            self.figures.flood += 1
            self._loop.others.work(self._costs.client, self.flood)

        self._send("flooding", answered)

    def be_quiet(self, now: float) -> None:
        """Send requests of the quiet app, with a pause of about 10 ms between two."""

        def answered(_: float) -> None:
            self._loop.others.work(self._costs.client / 2, pause)

        def pause(then: float) -> None:
            self.figures.latencies.append(then - now)
            self._loop.others.at(then + 0.01 * self._chance.uniform(0.95, 1.05), self.be_quiet)

        self._send("quiet", answered)


def measure(costs: Costs, flights: int, *, flooding: int = 64, quiet: int = 4, seconds: float = 1.0) -> Figures:
    """Return what this number of callers of each app measure in a second of virtual time."""
    loop = VirtualLoop()
    try:
        vault = VirtualVault(loop, costs, flights)
        for number in range(quiet):
            loop.others.at(0.001 + 0.0023 * number, vault.be_quiet)
        for number in range(flooding):
            loop.others.at(0.0001 * number, vault.flood)

        loop.run_until_complete(vault.run(seconds))
        return vault.figures
    finally:
        loop.close()
