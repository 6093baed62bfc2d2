"""Counts of entries, by paging over ``entries``. A storage that can count overrides them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import field, replace
from datetime import datetime, timedelta

from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse, PurposeStatistics
from vsqlvault.interfaces.storage import (
    EntryQuery,
    KeyRefQuery,
    LogQuery,
    RetentionLimitChange,
    RetentionLimitEffect,
)
from vsqlvault.model.entry import Entry, EntryState
from vsqlvault.model.purge import PurgeReason
from vsqlvault.model.transparency import LogName
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.storage_defaults.filters import end_of
from vsqlvault.storage_defaults.logs import LogDefaults
from vsqlvault.storage_defaults.required import PAGE

PAGE_BYTES = 16 * 2**20
PROOF_DIGITS = 64
_THIRTY_DAYS = timedelta(days=30)
_TICK = timedelta(microseconds=1)


@dataclass
class _Counts:
    active: int = 0
    expired: int = 0
    soon: int = 0
    key_refs: Counter[str] = field(default_factory=Counter)
    without_key_ref: int = 0


class CountDefaults(LogDefaults):
    """Derives the counts. Other commits may happen between two pages."""

    async def expired_entries(self, query: ExpiredQuery) -> Sequence[Entry]:
        """See ``PurgeStorage.expired_entries``."""
        found: list[Entry] = []
        query = replace(query, byte_limit=PAGE_BYTES)
        while len(found) < query.limit and (page := await self.expired(replace(query, limit=query.limit - len(found)))):
            found += [entry for entry, _ in page]
            query = replace(query, after=query.place_of(found[-1]))
        return found

    async def count_expired(self, at: datetime, retention_limits: Mapping[str, datetime]) -> int:
        """See ``PurgeStorage.count_expired``. Its time depends on how ``entries`` finds expired ones."""
        total = 0
        for purpose, limit in retention_limits.items():
            async for _ in self.entries_of(purpose, at, limit, EntryState.EXPIRED):
                total += 1
        return total

    async def entry_statistics(
        self, as_of: datetime, retention_limits: Mapping[str, datetime], known_policies: Sequence[str]
    ) -> EntryStatistics:
        """See ``Storage.entry_statistics``. Counts only the purposes of ``retention_limits``."""
        by_purpose: dict[str, PurposeStatistics] = {}
        undefined: Counter[str] = Counter()
        for purpose, limit in retention_limits.items():
            counts = _Counts()
            async for entry in self.entries_of(purpose, as_of, limit):
                if entry.access_policy not in known_policies:
                    undefined[entry.access_policy] += 1
                if entry.created_at <= as_of:
                    _count(counts, entry, end_of(entry, as_of, limit), as_of)
            by_purpose[purpose] = PurposeStatistics(
                counts.active, counts.expired, counts.soon, dict(counts.key_refs), counts.without_key_ref
            )
        purged, without_proof = 0, 0
        async for row in self.log_rows(LogName.PURGE, LogQuery(limit=PAGE, oldest_first=True)):
            record = row.record
            is_in_period = as_of - _THIRTY_DAYS < record.purged_at <= as_of
            purged += is_in_period and record.reason is not PurgeReason.REPLACED
            without_proof += len(record.proof_hash) != PROOF_DIGITS
        return EntryStatistics(by_purpose, purged, without_proof, dict(undefined))

    async def key_refs(self, query: KeyRefQuery) -> Sequence[KeyRefUse]:
        """See ``Storage.key_refs``."""
        members: dict[str | None, list[Entry]] = defaultdict(list)
        async for entry in self.entries_of(query.purpose, query.now, query.created_before, key_ref=query.key_ref):
            if entry.created_at <= query.now and _comes_after(entry.key_ref, query.after):
                members[entry.key_ref].append(entry)
        order = sorted(members, key=lambda ref: (ref is not None, (ref or "").encode()))
        return [_use(ref, members[ref], query) for ref in order[: query.limit]]

    async def retention_limit_effect(self, change: RetentionLimitChange) -> RetentionLimitEffect:
        """See ``Storage.retention_limit_effect``."""
        ending: list[datetime] = []
        revived = changed = 0
        async for entry in self.entries_of(change.purpose, change.now):
            before = min(entry.expires_at, entry.created_at + change.before)
            after = min(entry.expires_at, entry.created_at + change.after)
            if after <= change.now < before:
                ending.append(entry.created_at)
            revived += before <= change.now < after
            changed += before != after and max(before, after) > change.now
        return RetentionLimitEffect(len(ending), revived, changed, min(ending, default=None))

    async def entries_of(
        self,
        purpose: str,
        now: datetime,
        created_before: datetime | None = None,
        state: EntryState | None = None,
        *,
        key_ref: str | None = None,
    ) -> AsyncIterator[Entry]:
        """Yield the entries of a purpose that are not purged: all, or those in one state."""
        query = EntryQuery(
            purpose=purpose, now=now, limit=PAGE, created_before=created_before, state=state, key_ref=key_ref
        )
        while True:
            page = await self.entries(query)
            for entry in page:
                if entry.purged_at is None:
                    yield entry
            if len(page) < query.limit:
                return
            query = replace(query, after=page[-1].external_id)


def _count(counts: _Counts, entry: Entry, end: datetime, as_of: datetime) -> None:
    if end <= as_of:
        counts.expired += 1
        return
    counts.active += 1
    counts.soon += end <= as_of + _THIRTY_DAYS
    if entry.key_ref:
        counts.key_refs[entry.key_ref] += 1
    else:
        counts.without_key_ref += 1


def _comes_after(key_ref: str | None, after: str | None) -> bool:
    return after is None or (key_ref is not None and key_ref.encode() > after.encode())


def _use(key_ref: str | None, members: Sequence[Entry], query: KeyRefQuery) -> KeyRefUse:
    active = sum(end_of(entry, query.now, query.created_before) > query.now for entry in members)
    stored = [entry.updated_at for entry in members]
    return KeyRefUse(key_ref, active, len(members) - active, min(stored), max(stored))
