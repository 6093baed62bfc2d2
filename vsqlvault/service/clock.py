"""The storage's clock, known between two readings of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from vsqlvault.model.times import utc_now


class StorageClock:
    """Tells the storage's time where no read has just told it: for the rows of requests that never got to a read."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told: tuple[datetime, float] | None = None

    def set(self, now: datetime) -> None:
        """Remember what the storage has just said."""
        self._told = (now, self._monotonic())

    def age_seconds(self) -> float:
        """Return how long ago the storage has said anything; infinity before its first word."""
        return float("inf") if self._told is None else self._monotonic() - self._told[1]

    def now(self) -> datetime:
        """Return the storage's last word plus the time since, or this machine's clock before the first word."""
        if self._told is None:
            return utc_now()
        said, at = self._told
        return said + timedelta(seconds=self._monotonic() - at)
