"""The counts of the compliance report, by paging over entries and logs."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import field, replace
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple

from vsqlvault.interfaces.evidence import (
    ENDING_WITHIN_DAYS,
    LAG_BOUNDS_SECONDS,
    MAX_LISTED_CHANGES,
    MAX_LISTED_KEYS,
    AccessCount,
    DayCount,
    Evidence,
    EvidenceQuery,
    Holding,
    PolicyChange,
    PurgeCount,
    PurgeLag,
    RetiredKey,
)
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import LogName
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.storage_defaults.basic import ItemRange
from vsqlvault.storage_defaults.codec import decode
from vsqlvault.storage_defaults.counts import CountDefaults
from vsqlvault.storage_defaults.filters import end_of
from vsqlvault.storage_defaults.lowering import ACCESS_POLICY, RETENTION_POLICY
from vsqlvault.storage_defaults.required import PAGE

_OF_ENTRIES = frozenset({Operation.STORE, Operation.RETRIEVE, Operation.INSPECT, Operation.PURGE})
_SUMS = ("rows", "events", "without_app", "without_origin", "without_subject", "without_identity")
_BOUNDS = tuple(timedelta(seconds=bound) for bound in LAG_BOUNDS_SECONDS)


class _Group(NamedTuple):
    purpose: str
    algorithm_hint: str | None
    access_policy: str
    owner_app: str


class _AccessGroup(NamedTuple):
    operation: str
    outcome: str
    reason: str | None
    purpose: str | None
    app: str | None
    role: str | None


@dataclass
class _Entries:
    ends: dict[_Group, list[datetime]] = field(default_factory=lambda: defaultdict(list))
    oldest: dict[str, datetime] = field(default_factory=dict)
    keys: set[tuple[str, str | None]] = field(default_factory=set)


@dataclass
class _Purges:
    counts: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    lags: dict[str | None, list[timedelta]] = field(default_factory=lambda: defaultdict(list))
    keys: dict[tuple[str, str], datetime] = field(default_factory=dict)
    days: Counter[date] = field(default_factory=Counter)


class EvidenceDefaults(CountDefaults):
    """Derives the evidence. Other commits may happen between two pages, so it is not of one state."""

    async def evidence(self, query: EvidenceQuery) -> Evidence:
        """See ``Storage.evidence``."""
        entries, purges = await self._entries_of_vault(query), await self._purges(query)
        access, kinds = await self._access(query)
        changes = await self._policy_changes(query)
        retired = sorted((*name, at) for name, at in purges.keys.items() if name not in entries.keys)
        return Evidence(
            holdings=[_holding(group, ends, query) for group, ends in entries.ends.items()],
            oldest_expired_at=entries.oldest,
            purges=[PurgeCount(*names, count) for names, count in purges.counts.items()],
            lags={purpose: _lag(lags) for purpose, lags in purges.lags.items()},
            lag_histogram=_histogram(purges.lags.get(None, [])),
            retired_keys=[RetiredKey(*key) for key in retired[:MAX_LISTED_KEYS]],
            access=list(access.values()),
            days=_days(kinds, purges.days),
            policy_changes=changes[:MAX_LISTED_CHANGES],
            policy_changes_count=len(changes),
            oldest_access_at=await self._oldest(LogName.ACCESS),
            oldest_purge_at=await self._oldest(LogName.PURGE),
        )

    async def _entries_of_vault(self, query: EvidenceQuery) -> _Entries:
        found = _Entries()
        for purpose, limit in query.retention_limits.items():
            async for entry in self.entries_of(purpose, query.as_of, limit):
                if entry.created_at <= query.as_of:
                    _add_entry(found, entry, end_of(entry, query.as_of, limit), query.as_of)
        return found

    async def _purges(self, query: EvidenceQuery) -> _Purges:
        found = _Purges()
        span = LogQuery(limit=PAGE, since=query.since, until=query.until, oldest_first=True)
        async for row in self.log_rows(LogName.PURGE, span):
            _add_purge(found, row.record)
        return found

    async def _access(self, query: EvidenceQuery) -> tuple[dict[_AccessGroup, AccessCount], Counter[tuple[date, str]]]:
        kinds: Counter[tuple[date, str]] = Counter()
        groups: dict[_AccessGroup, AccessCount] = {}
        span = LogQuery(limit=PAGE, since=query.since, until=query.until, oldest_first=True)
        async for row in self.log_rows(LogName.ACCESS, span):
            group = _access_group(row.record, query.retention_limits)
            groups[group] = _with_row(group, groups.get(group), row.record)
            if (kind := _kind_of(row.record)) is not None:
                kinds[_day(row.record.at), kind] += row.record.count if kind == "denied" else 1
        return groups, kinds

    async def _policy_changes(self, query: EvidenceQuery) -> list[PolicyChange]:
        changes: list[PolicyChange] = []
        async for item in self.all_items(ItemRange(table=f"{ACCESS_POLICY}-version", limit=PAGE)):
            policy = decode(AccessPolicy, item.value)
            changes += _changes("access", policy.name, policy, query, dropped=policy.dropped)
        async for item in self.all_items(ItemRange(table=f"{RETENTION_POLICY}-version", limit=PAGE)):
            retention = decode(RetentionPolicy, item.value)
            changes += _changes("retention", retention.purpose, retention, query)
        return sorted(changes, key=lambda change: (change.changed_at, change.kind, change.name, change.version))

    async def _oldest(self, log: LogName) -> datetime | None:
        page = await self.log(log, LogQuery(limit=1, oldest_first=True))
        record = page[0].record if page else None
        return record.at if isinstance(record, AccessRecord) else record.purged_at if record else None


def _changes(
    kind: str, name: str, version: AccessPolicy | RetentionPolicy, query: EvidenceQuery, *, dropped: bool = False
) -> list[PolicyChange]:
    at = version.created_at
    if at is None or not query.since <= at < query.until:
        return []
    return [PolicyChange(kind, name, version.version, dropped, version.created_by or "", at)]


def _add_entry(found: _Entries, entry: Entry, end: datetime, as_of: datetime) -> None:
    group = _Group(entry.purpose, entry.algorithm_hint, entry.access_policy, entry.owner_app)
    found.ends[group].append(end)
    found.keys.add((entry.purpose, entry.key_ref))
    if end <= as_of:
        found.oldest[entry.purpose] = min(end, found.oldest.get(entry.purpose, end))


def _holding(group: _Group, ends: Sequence[datetime], query: EvidenceQuery) -> Holding:
    as_of = query.as_of
    within = [sum(as_of < end <= as_of + timedelta(days=days) for end in ends) for days in ENDING_WITHIN_DAYS]
    expired = sum(end <= as_of for end in ends)
    return Holding(
        **group._asdict(),
        active=len(ends) - expired,
        expired=expired,
        overdue=sum(end <= as_of - query.grace for end in ends),
        ending=(within[0], within[1], within[2]),
    )


def _add_purge(found: _Purges, record: PurgeRecord) -> None:
    found.counts[record.purpose, record.reason.value, record.method] += 1
    found.days[_day(record.purged_at)] += 1
    if (lag := record.purged_at - record.expired_at) >= timedelta():
        found.lags[None].append(lag)
        found.lags[record.purpose].append(lag)
    if record.key_ref is not None:
        name = record.purpose, record.key_ref
        found.keys[name] = max(record.purged_at, found.keys.get(name, record.purged_at))


def _kind_of(record: AccessRecord) -> str | None:
    """Return the member of ``DayCount`` that counts a row."""
    if record.outcome is Outcome.DENIED:
        return "denied"
    return {Operation.STORE: "stored", Operation.RETRIEVE: "retrieved"}.get(record.operation)


def _day(at: datetime) -> date:
    return at.astimezone(UTC).date()


def _days(kinds: Mapping[tuple[date, str], int], purges: Mapping[date, int]) -> list[DayCount]:
    counts: dict[date, dict[str, int]] = {}
    for (day, kind), count in kinds.items():
        counts.setdefault(day, {})[kind] = count
    for day, count in purges.items():
        counts.setdefault(day, {})["purged"] = count
    return [DayCount(day, **counts[day]) for day in sorted(counts)]


def _lag(lags: Sequence[timedelta]) -> PurgeLag:
    ranked = sorted(lags)
    p50, p99 = (ranked[-(-len(ranked) * percent // 100) - 1] for percent in (50, 99))
    return PurgeLag(len(ranked), p50, p99, ranked[-1])


def _histogram(lags: Sequence[timedelta]) -> list[int]:
    places = Counter(bisect_left(_BOUNDS, lag) for lag in lags)
    return [places[place] for place in range(len(_BOUNDS) + 1)]


def _access_group(record: AccessRecord, purposes: Mapping[str, datetime]) -> _AccessGroup:
    purpose = record.purpose if record.purpose in purposes else None
    return _AccessGroup(record.operation.value, record.outcome.value, record.reason, purpose, record.app, record.role)


def _with_row(group: _AccessGroup, so_far: AccessCount | None, record: AccessRecord) -> AccessCount:
    has_caller = record.method != "system"
    has_subject = record.external_id is not None or record.detail is not None
    one = AccessCount(
        **group._asdict(),
        rows=1,
        events=record.count,
        first_at=record.at,
        last_at=record.at,
        without_app=record.app is None,
        without_origin=record.client_address is None and has_caller,
        without_subject=record.operation in _OF_ENTRIES and not has_subject,
        without_identity=record.app is not None and record.identity is None and has_caller,
    )
    if so_far is None:
        return one
    sums = {name: getattr(so_far, name) + getattr(one, name) for name in _SUMS}
    first_at, last_at = min(so_far.first_at, one.first_at), max(so_far.last_at, one.last_at)
    return replace(one, first_at=first_at, last_at=last_at, **sums)
