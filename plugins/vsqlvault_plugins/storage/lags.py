"""Percentiles of purge lags, from how many there are in each step and a look at the few steps that hold a percentile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from vsqlvault.interfaces.evidence import LAG_BOUNDS_SECONDS, PurgeLag

PERCENTS = (50, 99)


@dataclass(frozen=True, slots=True)
class LagStep:
    """How many lags of a purpose are no longer than ``up_to`` and longer than the step before, and the longest of them."""

    purpose: str | None
    up_to: timedelta
    count: int
    longest: timedelta


@dataclass(frozen=True, slots=True)
class LagPlace:
    """Which lag is a percentile: the ``rank``-th, counted from 0, of those in the step; of all purposes where it is None."""

    purpose: str | None
    up_to: timedelta
    rank: int


def by_purpose(steps: Sequence[LagStep]) -> dict[str | None, list[LagStep]]:
    """Return the steps of each purpose and, under None, those of all together; the shortest lags first."""
    found: dict[str | None, list[LagStep]] = defaultdict(list)
    together: dict[timedelta, LagStep] = {}
    for step in sorted(steps, key=lambda step: step.up_to):
        found[step.purpose].append(step)
        so_far = together.get(step.up_to, LagStep(None, step.up_to, 0, timedelta()))
        longest = max(so_far.longest, step.longest)
        together[step.up_to] = LagStep(None, step.up_to, so_far.count + step.count, longest)
    return {None: list(together.values()), **found} if together else {}


def places(steps: Sequence[LagStep]) -> list[LagPlace]:
    """Return, of one purpose's steps, where each of ``PERCENTS`` lies by nearest rank."""
    total = sum(step.count for step in steps)
    return [_place(steps, -(-total * percent // 100) - 1) for percent in PERCENTS]


def _place(steps: Sequence[LagStep], rank: int) -> LagPlace:
    for step in steps:
        if rank < step.count:
            return LagPlace(step.purpose, step.up_to, rank)
        rank -= step.count
    raise ValueError("there are fewer lags than the rank")


def purge_lag(steps: Sequence[LagStep], lags: Mapping[LagPlace, timedelta]) -> PurgeLag:
    """Return what the report says of one purpose's steps; ``lags`` has the lag at each of its ``places``."""
    p50, p99 = (lags[place] for place in places(steps))
    return PurgeLag(sum(step.count for step in steps), p50, p99, max(step.longest for step in steps))


def histogram(steps: Sequence[LagStep]) -> list[int]:
    """Return how many lags there are up to each of ``LAG_BOUNDS_SECONDS``, each of which ends a step, and beyond."""
    bounds = [timedelta(seconds=bound) for bound in LAG_BOUNDS_SECONDS]
    counts = [0] * (len(bounds) + 1)
    for step in steps:
        counts[sum(step.up_to > bound for bound in bounds)] += step.count
    return counts
