"""The activity of each day, from the counts of the two logs."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any

from vsqlvault.interfaces.evidence import DayCount


def joined_days(access: Iterable[Any], purges: Iterable[Any]) -> list[DayCount]:
    """Return the days in order, from rows with the day and its counts. A day without any counted row is left out."""
    counts: dict[date, tuple[int, int, int]] = {row[0]: (row[1], row[2], row[3]) for row in access if any(row[1:])}
    purged: dict[date, int] = {row[0]: row[1] for row in purges}
    none = (0, 0, 0)
    return [DayCount(day, *counts.get(day, none), purged.get(day, 0)) for day in sorted(counts.keys() | purged.keys())]
