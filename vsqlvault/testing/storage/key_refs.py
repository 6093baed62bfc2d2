"""What lies under which key, compared with what a plain loop over the same entries finds."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from datetime import timedelta

import pytest

from vsqlvault.interfaces.statistics import KeyRefUse
from vsqlvault.interfaces.storage import KeyRefQuery, Storage
from vsqlvault.interfaces.writes import OverwriteEntry, RemoveEntry, StoreEntry
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import T0, a_write, an_entry, storing

DAY = timedelta(days=1)
MAX_DAYS = 40
REFS = (None, "K", "akv:kv:k", "akv:kv:k-2", "k", "k1", "k10", "k2", "unspecified", "\u00e9", "\U0001f510")


def _population() -> list[Entry]:
    chance = random.Random(5)  # noqa: S311 - the same each time
    entries = []
    for number in range(300):
        created_at = T0 - DAY * chance.randrange(60)
        purged_at = T0 if number % 10 == 0 else None
        entries.append(
            an_entry(
                f"e{number}",
                purpose=chance.choice(["card", "ach"]),
                key_ref=chance.choice(REFS),
                created_at=created_at,
                updated_at=created_at + timedelta(microseconds=chance.randrange(10**9)),
                expires_at=created_at + DAY * chance.choice([20, 60, 90]),
                purged_at=purged_at,
                purge_method="crypto-shred" if purged_at else None,
            )
        )
    return entries


def _recount(entries: Sequence[Entry], purpose: str) -> list[KeyRefUse]:
    by_ref: dict[str | None, list[Entry]] = defaultdict(list)
    for entry in entries:
        if entry.purpose == purpose and entry.purged_at is None:
            by_ref[entry.key_ref].append(entry)
    uses = []
    for ref in sorted(by_ref, key=lambda ref: (ref is not None, (ref or "").encode("utf-8"))):
        under = by_ref[ref]
        active = sum(entry.state(T0, MAX_DAYS) is EntryState.ACTIVE for entry in under)
        stored = [entry.updated_at for entry in under]
        uses.append(KeyRefUse(ref, active, len(under) - active, min(stored), max(stored)))
    return uses


def _query(
    purpose: str = "card", limit: int = 1000, after: str | None = None, key_ref: str | None = None
) -> KeyRefQuery:
    retention_limit = T0 - DAY * MAX_DAYS
    return KeyRefQuery(
        purpose=purpose, now=T0, created_before=retention_limit, limit=limit, after=after, key_ref=key_ref
    )


class KeyRefConformance(StorageKit):
    """Knowing keys by what lies under them."""

    @pytest.mark.parametrize("purpose", ["card", "ach", "empty"])
    @driven
    async def test_the_uses_of_each_key_are_those_of_a_plain_loop(self, storage: Storage, purpose: str) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        assert list(await storage.key_refs(_query(purpose))) == _recount(entries, purpose)

    @pytest.mark.parametrize("limit", [1, 2, 3, len(REFS)])
    @driven
    async def test_the_pages_of_key_refs_are_the_whole_in_order(self, storage: Storage, limit: int) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        found: list[KeyRefUse] = []
        after = None
        while page := await storage.key_refs(_query(limit=limit, after=after)):
            found += page
            after = page[-1].key_ref or ""
            if len(page) < limit:
                break
        assert found == _recount(entries, "card")

    @pytest.mark.parametrize("ref", ["k1", "k", "\u00e9", "nowhere", "k%", "K1"])
    @driven
    async def test_one_key_ref_alone_can_be_asked_for(self, storage: Storage, ref: str) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        wanted = [use for use in _recount(entries, "card") if use.key_ref == ref]
        assert list(await storage.key_refs(_query(key_ref=ref))) == wanted

    @driven
    async def test_what_was_stored_after_the_instant_does_not_count(self, storage: Storage) -> None:
        later = T0 + timedelta(microseconds=1)
        await committed(
            storage, storing("a", key_ref="k1"), storing("b", key_ref="k2", created_at=later, updated_at=later)
        )
        assert [use.key_ref for use in await storage.key_refs(_query())] == ["k1"]

    @driven
    async def test_a_key_is_in_use_until_its_last_entry_is_gone_replaced_or_overwritten(self, storage: Storage) -> None:
        await committed(storage, *(storing(external_id, key_ref="old") for external_id in ("a", "b", "c")))
        await committed(
            storage,
            storing("a", key_ref="new"),
            a_write(RemoveEntry(EntryKey("card", "b"))),
        )
        assert [(use.key_ref, use.active) for use in await storage.key_refs(_query())] == [("new", 1), ("old", 1)]
        await committed(storage, a_write(OverwriteEntry(EntryKey("card", "c"), b"\0" * 6, T0, "crypto-shred")))
        assert [(use.key_ref, use.active) for use in await storage.key_refs(_query())] == [("new", 1)]
