"""The census, compared with what a plain loop over the same entries counts."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest

from vsqlvault.interfaces.statistics import PurposeStatistics
from vsqlvault.interfaces.storage import RetentionLimitChange, RetentionLimitEffect, Storage
from vsqlvault.interfaces.writes import OverwriteEntry, StoreEntry, Write
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import T0, a_purge_record, a_write, an_entry, storing

DAY = timedelta(days=1)
DAYS = {"card": 40, "ach": 365, "empty": 10}
KNOWN = ("owner-only", "tellers")


def _population() -> list[Entry]:
    chance = random.Random(3)  # noqa: S311 - the same each time
    entries = []
    for number in range(300):
        created_at = T0 - DAY * chance.randrange(60)
        purged_at = T0 if number % 10 == 0 else None
        entries.append(
            an_entry(
                f"e{number}",
                purpose=chance.choice(["card", "ach"]),
                created_at=created_at,
                expires_at=created_at
                + DAY * chance.choice([1, 20, 60, 90])
                + timedelta(microseconds=chance.randrange(3)),
                key_ref=chance.choice(["k1", "k2", "k3"]),
                access_policy=chance.choice([*KNOWN, "undefined-1", "undefined-2"]),
                purged_at=purged_at,
                purge_method="crypto-shred" if purged_at else None,
            )
        )
    return entries


def _purges() -> list[PurgeRecord]:
    chance = random.Random(4)  # noqa: S311 - the same each time
    return [
        a_purge_record(purged_at=T0 - DAY * chance.randrange(60), reason=chance.choice(list(PurgeReason)))
        for _ in range(200)
    ]


def _retention_limits(as_of: datetime) -> dict[str, datetime]:
    return {purpose: as_of - DAY * days for purpose, days in DAYS.items()}


def _recount(entries: Sequence[Entry], purpose: str, as_of: datetime) -> PurposeStatistics:
    there = [entry for entry in entries if entry.purpose == purpose and entry.created_at <= as_of]
    by_state = Counter(entry.state(as_of, DAYS[purpose]) for entry in there)
    active = [entry for entry in there if entry.state(as_of, DAYS[purpose]) is EntryState.ACTIVE]
    return PurposeStatistics(
        active=len(active),
        expired_pending_purge=by_state[EntryState.EXPIRED],
        expiring_next_30_days=sum(entry.effective_expires_at(DAYS[purpose]) <= as_of + DAY * 30 for entry in active),
        key_refs=dict(Counter(entry.key_ref for entry in active if entry.key_ref)),
        without_key_ref=sum(not entry.key_ref for entry in active),
    )


class EntryStatisticsConformance(StorageKit):
    """Counting."""

    @pytest.mark.parametrize("days", [0, 5, 30, 59, 200], ids=lambda days: f"{days} days ago")
    @driven
    async def test_the_census_of_each_purpose_is_that_of_a_plain_loop(self, storage: Storage, days: int) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        as_of = T0 - DAY * days
        entry_statistics = await storage.entry_statistics(as_of, _retention_limits(as_of), KNOWN)
        assert dict(entry_statistics.by_purpose) == {purpose: _recount(entries, purpose, as_of) for purpose in DAYS}

    @driven
    async def test_a_key_called_unspecified_is_counted_apart_from_entries_without_a_key(self, storage: Storage) -> None:
        refs = [None, None, "", "unspecified", "none", "None", "null", "k1"]
        await committed(storage, *(storing(f"e{number}", key_ref=ref) for number, ref in enumerate(refs)))
        entry_statistics = await storage.entry_statistics(T0, _retention_limits(T0), KNOWN)
        found = entry_statistics.by_purpose["card"]
        assert found.active == len(refs)
        assert dict(found.key_refs) == {"unspecified": 1, "none": 1, "None": 1, "null": 1, "k1": 1}
        assert found.without_key_ref == 3

    @driven
    async def test_what_was_purged_in_thirty_days_counts_no_replaced_versions(self, storage: Storage) -> None:
        records = _purges()
        await committed(storage, *(a_write(purges=(record,)) for record in records))
        entry_statistics = await storage.entry_statistics(T0, _retention_limits(T0), KNOWN)
        wanted = [r for r in records if r.purged_at > T0 - DAY * 30 and r.reason is not PurgeReason.REPLACED]
        assert entry_statistics.purged_last_30_days == len(wanted)

    @driven
    async def test_a_purge_after_the_instant_is_not_counted(self, storage: Storage) -> None:
        await committed(storage, *(a_write(purges=(a_purge_record(purged_at=T0 + DAY * n),)) for n in range(3)))
        assert (await storage.entry_statistics(T0, {}, ())).purged_last_30_days == 1

    @driven
    async def test_no_purge_is_without_proof(self, storage: Storage) -> None:
        await committed(storage, *(a_write(purges=(record,)) for record in _purges()))
        assert (await storage.entry_statistics(T0, {}, ())).purges_without_proof == 0

    @driven
    async def test_entries_under_undefined_policies_are_counted_while_they_have_their_values(
        self, storage: Storage
    ) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        found = (await storage.entry_statistics(T0, _retention_limits(T0), KNOWN)).entries_by_undefined_policy
        wanted = Counter(e.access_policy for e in entries if e.purged_at is None and e.access_policy not in KNOWN)
        assert dict(found) == dict(wanted)

    @driven
    async def test_an_overwritten_entry_is_counted_no_more(self, storage: Storage) -> None:
        await committed(storage, storing(access_policy="nowhere"))
        await committed(storage, a_write(OverwriteEntry(EntryKey("card", "pay-1"), b"\0" * 6, T0, "crypto-shred")))
        entry_statistics = await storage.entry_statistics(T0, _retention_limits(T0), KNOWN)
        assert dict(entry_statistics.entries_by_undefined_policy) == {}
        assert entry_statistics.by_purpose["card"] == PurposeStatistics(0, 0, 0, {})

    @driven
    async def test_an_empty_vault_counts_nothing(self, storage: Storage) -> None:
        entry_statistics = await storage.entry_statistics(T0, _retention_limits(T0), ())
        assert dict(entry_statistics.by_purpose) == dict.fromkeys(DAYS, PurposeStatistics(0, 0, 0, {}))
        assert (entry_statistics.purged_last_30_days, entry_statistics.purges_without_proof) == (0, 0)

    @driven
    async def test_a_vault_without_policies_has_no_purposes(self, storage: Storage) -> None:
        await committed(storage, Write((), changes=(StoreEntry(an_entry(), b"cipher"),)))
        assert dict((await storage.entry_statistics(T0, {}, ())).by_purpose) == {}

    @pytest.mark.parametrize(("before", "after"), [(40, 10), (10, 40), (40, 39), (36_500, 1), (1, 36_500)])
    @driven
    async def test_the_effect_of_another_maximum_is_what_a_loop_counts(
        self, storage: Storage, before: int, after: int
    ) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        for purpose in ("card", "ach", "empty"):
            change = RetentionLimitChange(purpose=purpose, now=T0, before=DAY * before, after=DAY * after)
            assert await storage.retention_limit_effect(change) == _effect(entries, purpose, before, after)


def _effect(entries: Sequence[Entry], purpose: str, before: int, after: int) -> RetentionLimitEffect:
    mine = [entry for entry in entries if entry.purpose == purpose and entry.purged_at is None]
    lives = {entry for entry in mine if entry.state(T0, before) is EntryState.ACTIVE}
    will_live = {entry for entry in mine if entry.state(T0, after) is EntryState.ACTIVE}
    changed = [e for e in lives | will_live if e.effective_expires_at(before) != e.effective_expires_at(after)]
    oldest = min((entry.created_at for entry in lives - will_live), default=None)
    return RetentionLimitEffect(len(lives - will_live), len(will_live - lives), len(changed), oldest)
