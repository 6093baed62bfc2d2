"""Percentiles of purge lags, from the counts per step and from the lags of the few steps with a percentile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import timedelta

from vsqlvault.interfaces.evidence import LAG_BOUNDS_SECONDS, PurgeLag
from vsqlvault.quick_dataclass import dataclass

PERCENTS = (50, 99)


@dataclass(frozen=True, slots=True)
class LagStep:
    """The number of lags of a purpose up to ``up_to`` and longer than the previous step, and the longest of them."""

    purpose: str | None
    up_to: timedelta
    count: int
    longest: timedelta


@dataclass(frozen=True, slots=True)
class LagPlace:
    """The lag of a percentile: number ``rank``, counted from 0, in its step. ``purpose`` None means all purposes."""

    purpose: str | None
    up_to: timedelta
    rank: int


def by_purpose(steps: Sequence[LagStep]) -> dict[str | None, list[LagStep]]:
    """Return the steps of each purpose and, under None, of all purposes, shortest lags first."""
    found: dict[str | None, list[LagStep]] = defaultdict(list)
    together: dict[timedelta, LagStep] = {}
    for step in sorted(steps, key=lambda step: step.up_to):
        found[step.purpose].append(step)
        so_far = together.get(step.up_to, LagStep(None, step.up_to, 0, timedelta()))
        longest = max(so_far.longest, step.longest)
        together[step.up_to] = LagStep(None, step.up_to, so_far.count + step.count, longest)
    return {None: list(together.values()), **found} if together else {}


def places(steps: Sequence[LagStep]) -> list[LagPlace]:
    """Return the place of each of ``PERCENTS`` in the steps of one purpose, by nearest rank."""
    total = sum(step.count for step in steps)
    return [_place(steps, -(-total * percent // 100) - 1) for percent in PERCENTS]


def _place(steps: Sequence[LagStep], rank: int) -> LagPlace:
    for step in steps:
        if rank < step.count:
            return LagPlace(step.purpose, step.up_to, rank)
        rank -= step.count
    raise ValueError("there are fewer lags than the rank")


def purge_lag(steps: Sequence[LagStep], lags: Mapping[LagPlace, timedelta]) -> PurgeLag:
    """Return the report's lag figures of one purpose. ``lags`` has the lag at each of its ``places``."""
    p50, p99 = (lags[place] for place in places(steps))
    return PurgeLag(sum(step.count for step in steps), p50, p99, max(step.longest for step in steps))


def histogram(steps: Sequence[LagStep]) -> list[int]:
    """Return the number of lags up to each of ``LAG_BOUNDS_SECONDS``, each of which ends a step, and of those beyond."""
    bounds = [timedelta(seconds=bound) for bound in LAG_BOUNDS_SECONDS]
    counts = [0] * (len(bounds) + 1)
    for step in steps:
        counts[sum(step.up_to > bound for bound in bounds)] += step.count
    return counts
