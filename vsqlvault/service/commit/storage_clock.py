"""The storage's clock, known between two readings of it."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta

from vsqlvault.model.times import utc_now

TICK_SECONDS = 0.001


class StorageClock:
    """Tells the storage's time where no read has just told it: for the rows of requests that never got to a read.

    Between two words of the storage it goes on by the millisecond, never ahead: what is written of about the same time is
    then written of the same instant, as what one read has told is.
    """

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._told: tuple[datetime, float] | None = None
        self._shown: tuple[datetime, float] | None = None
        self._asked_at = float("-inf")

    def asked(self) -> float:
        """Return when the storage is asked, for ``set``."""
        return self._monotonic()

    def set(self, now: datetime, asked_at: float | None = None) -> None:
        """Remember what the storage has just said, and when it was asked: its word may be as old as that."""
        heard_at = self._monotonic()
        self._told = self._shown = (now, heard_at)
        self._asked_at = heard_at if asked_at is None else asked_at

    def age_seconds(self) -> float:
        """Return how old the storage's last word is at most; infinity before the first."""
        return self._monotonic() - self._asked_at

    def now(self) -> datetime:
        """Return the storage's last word plus the time since, or this machine's clock before the first word."""
        if self._told is None or self._shown is None:
            return utc_now()
        monotonic = self._monotonic()
        shown, at = self._shown
        if monotonic - at >= TICK_SECONDS:
            said, heard_at = self._told
            shown = said + timedelta(seconds=monotonic - heard_at)
            self._shown = (shown, monotonic)
        return shown
