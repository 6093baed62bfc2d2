"""Counts requests in plain numbers. They become metrics when metrics are requested."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import field

from vsqlvault.quick_dataclass import dataclass

BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


@dataclass(slots=True)
class Timings:
    """The histogram of one method on one route: requests per bucket (the last one unbounded), and their total seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


class RequestCounts:
    """Counts requests by method, route and status."""

    def __init__(self) -> None:
        self.answered: dict[tuple[str, str, int], int] = {}
        self.timings: dict[tuple[str, str], Timings] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        answered = (method, route, status)
        self.answered[answered] = self.answered.get(answered, 0) + 1
        timings = self.timings.get((method, route))
        if timings is None:
            timings = self.timings[method, route] = Timings()
        timings.buckets[bisect_left(BUCKETS, seconds)] += 1
        timings.seconds += seconds
