"""Counts entries for the report by their days of creation and expiry, and one by one on the days of the report's times."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import field
from datetime import datetime, timedelta
from itertools import islice

from vsqlvault.interfaces.evidence import ENDING_WITHIN_DAYS, MAX_LISTED_KEYS, EvidenceQuery, Holding
from vsqlvault.interfaces.statistics import KeyRefUse, PurposeStatistics
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Times:
    """The times that an entry's expiry and creation are compared with.

    ``due`` and ``limit_due`` decide whether an entry is overdue. ``ends`` and ``retention_limits`` decide whether it
    expires within each of ``ENDING_WITHIN_DAYS``.
    """

    as_of: datetime
    retention_limit: datetime
    due: datetime
    limit_due: datetime
    ends: tuple[datetime, ...]
    retention_limits: tuple[datetime, ...]

    @property
    def of_expiry(self) -> tuple[datetime, ...]:
        """The times that expiries are compared with. For any other day, all expiries on it are on one side of each time."""
        return (self.as_of, self.due, *self.ends)

    @property
    def of_creation(self) -> tuple[datetime, ...]:
        """The times that creations are compared with."""
        return (self.as_of, self.retention_limit, self.limit_due, *self.retention_limits)


def times_of(query: EvidenceQuery, purpose: str) -> Times:
    """Return the times for the entries of a purpose."""
    retention_limit = query.retention_limits[purpose]
    spans = [timedelta(days=days) for days in ENDING_WITHIN_DAYS]
    return Times(
        as_of=query.as_of,
        retention_limit=retention_limit,
        due=query.as_of - query.grace,
        limit_due=retention_limit - query.grace,
        ends=tuple(query.as_of + span for span in spans),
        retention_limits=tuple(retention_limit + span for span in spans),
    )


HoldingName = tuple[str, str | None, str, str]
"""Purpose, algorithm_hint, access policy, owner."""
KeyName = tuple[str, str | None, str]
"""Purpose, key_ref, access policy."""


@dataclass(slots=True)
class EntryCounts:
    """The number of entries by name.

    For holdings: active, expired, overdue, and active but expiring within each of ``ENDING_WITHIN_DAYS``. For keys:
    active and expired.
    """

    by_holding: dict[HoldingName, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * 6))
    by_key: dict[KeyName, list[int]] = field(default_factory=lambda: defaultdict(lambda: [0] * 2))

    def add_holding(self, name: HoldingName, sums: Sequence[int | None]) -> None:
        """Add to the counts of a holding. None counts as zero."""
        _add(self.by_holding[name], sums)

    def add_key(self, name: KeyName, states: Sequence[int | None]) -> None:
        """Add to the counts of a key. None counts as zero."""
        _add(self.by_key[name], states)

    def holdings(self) -> list[Holding]:
        """Return the holdings."""
        return [
            Holding(
                purpose=purpose, algorithm_hint=hint, access_policy=policy, owner_app=owner, active=sums[0],
                expired=sums[1], overdue=sums[2], ending=(sums[3], sums[4], sums[5]),
            )
            for (purpose, hint, policy, owner), sums in self.by_holding.items()
            if sums[0] or sums[1]
        ]  # fmt: skip

    def purposes(self, purposes: Iterable[str]) -> dict[str, PurposeStatistics]:
        """Return the statistics of each purpose."""
        totals: dict[str, list[int]] = defaultdict(lambda: [0] * 6)
        for (purpose, *_), sums in self.by_holding.items():
            _add(totals[purpose], sums)
        refs: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
        without: dict[str, int] = defaultdict(int)
        for (purpose, ref, _), (active, _) in self.by_key.items():
            if not ref:
                without[purpose] += active
            elif active:
                refs[purpose][ref] += active
        return {
            purpose: PurposeStatistics(
                active=totals[purpose][0],
                expired_pending_purge=totals[purpose][1],
                expiring_next_30_days=totals[purpose][3],
                key_refs=dict(refs[purpose]),
                without_key_ref=without[purpose],
            )
            for purpose in purposes
        }

    def listed_keys(self) -> dict[tuple[str, str | None], list[str]]:
        """Return purposes and key_refs in list order, with the policies of their entries.

        Entries without a key come first. If there are more keys than a report lists, one more is returned.
        """
        found: dict[tuple[str, str | None], list[str]] = defaultdict(list)
        for (purpose, ref, policy), (active, expired) in self.by_key.items():
            if active or expired:
                found[purpose, ref].append(policy)
        order = sorted(found, key=lambda name: (name[0].encode(), name[1] is not None, (name[1] or "").encode()))
        return {name: found[name] for name in order[: MAX_LISTED_KEYS + 1]}

    def keys_in_use(self) -> list[tuple[str, str]]:
        """Return purposes and key_refs with entries, at most as many as a report lists."""
        known = ((name[0], name[1]) for name, states in self.by_key.items() if name[1] is not None and any(states))
        return list(islice(known, MAX_LISTED_KEYS))

    def key_use(self, name: tuple[str, str | None], policies: Iterable[str], used: Sequence[datetime]) -> KeyRefUse:
        """Return the use of a listed key. ``used`` are times of its values, including the first and the last."""
        states = [self.by_key[(*name, policy)] for policy in policies]
        return KeyRefUse(name[1], sum(of[0] for of in states), sum(of[1] for of in states), min(used), max(used))


def _add(total: list[int], numbers: Sequence[int | None]) -> None:
    for place, number in enumerate(numbers):
        total[place] += number or 0
