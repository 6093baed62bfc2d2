"""Statistics of stored entries, for the report and metrics."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PurposeStatistics:
    """Counts of the entries of one purpose as of a time.

    ``key_refs`` counts active entries by key_ref, and ``without_key_ref`` counts the active entries without one.
    """

    active: int
    expired_pending_purge: int
    expiring_next_30_days: int
    key_refs: Mapping[str, int]
    without_key_ref: int = 0


@dataclass(frozen=True, slots=True)
class EntryStatistics:
    """Counts of the entries of the vault as of a time. ``purged_last_30_days`` counts entries, not replaced versions."""

    by_purpose: Mapping[str, PurposeStatistics]
    purged_last_30_days: int
    purges_without_proof: int
    entries_by_undefined_policy: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class KeyRefUse:
    """The entries of one key_ref (None: without one): counts, and when their values were stored.

    ``first_used_at`` and ``last_used_at`` are the oldest and the newest ``updated_at`` of the current values.
    """

    key_ref: str | None
    active: int
    expired_pending_purge: int
    first_used_at: datetime
    last_used_at: datetime
