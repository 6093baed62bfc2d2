"""The storage's clock between two readings."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from vsqlvault.model.times import utc_now

TICK_SECONDS = 0.001


class StorageClock:
    """Returns the storage's time without a read, for the rows of requests that never read.

    Between two readings it advances by milliseconds, and is never ahead. Rows of about the same time therefore have the
    same time, like those of one read.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told: tuple[datetime, float] | None = None
        self._shown: tuple[datetime, float] | None = None
        self._asked_at = float("-inf")

    def asked(self) -> float:
        """Return the time at which the storage is asked, for ``set``."""
        return self._monotonic()

    def set(self, now: datetime, asked_at: float | None = None) -> None:
        """Remember a reading of the storage's clock, and when it was requested: the reading may be that old."""
        heard_at = self._monotonic()
        self._told = self._shown = (now, heard_at)
        self._asked_at = heard_at if asked_at is None else asked_at

    def age_seconds(self) -> float:
        """Return the maximum age of the last reading; infinity before the first."""
        return self._monotonic() - self._asked_at

    def now_within(self, seconds: float) -> datetime | None:
        """Return ``now``, or None if the last reading is older than ``seconds``."""
        return self.now() if self._monotonic() - self._asked_at <= seconds else None

    def now(self) -> datetime:
        """Return the last reading plus the time since, or this machine's clock before the first reading."""
        if self._told is None or self._shown is None:
            return utc_now()
        monotonic = self._monotonic()
        shown, at = self._shown
        if monotonic - at >= TICK_SECONDS:
            said, heard_at = self._told
            shown = said + timedelta(seconds=monotonic - heard_at)
            self._shown = (shown, monotonic)
        return shown
