"""Pages of entries, and pages of what has expired, compared with what a plain loop over the same entries finds."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from vsqlvault.interfaces.purge_storage import ExpiredPlace, ExpiredQuery
from vsqlvault.interfaces.storage import EntryQuery, Storage
from vsqlvault.interfaces.writes import StoreEntry
from vsqlvault.model.entry import Entry, EntryState
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import T0, a_write, an_entry, storing

NOW = T0 + timedelta(days=1000)
MAXIMUM = timedelta(days=30)
RETENTION_LIMIT = NOW - MAXIMUM
TICK = timedelta(microseconds=1)
_LIVES = {
    "live": (NOW - timedelta(days=1), NOW + timedelta(days=10)),
    "ends-soon": (NOW - timedelta(days=1), NOW + timedelta(days=1)),
    "one-tick-left": (NOW - timedelta(days=1), NOW + TICK),
    "ends-now": (NOW - timedelta(days=1), NOW),
    "ended": (NOW - timedelta(days=9), NOW - timedelta(days=1)),
    "over-the-retention_limit": (RETENTION_LIMIT - TICK, NOW + timedelta(days=10)),
    "at-the-retention_limit": (RETENTION_LIMIT, NOW + timedelta(days=10)),
    "under-the-retention_limit": (RETENTION_LIMIT + TICK, NOW + timedelta(days=10)),
    "ended-and-over": (RETENTION_LIMIT - timedelta(days=1), NOW - timedelta(days=2)),
}
_FILTERS: dict[str, Any] = {
    "nothing": {},
    "key_ref": {"key_ref": "k1"},
    "key_ref that nobody has": {"key_ref": "k9"},
    "owner_app": {"owner_app": "payments"},
    "access_policy": {"access_policy": "tellers"},
    "expires_before": {"expires_before": NOW + timedelta(days=5)},
    "expires_before, at an end": {"expires_before": NOW + timedelta(days=1)},
    "expires_before, just after an end": {"expires_before": NOW + timedelta(days=1) + TICK},
    "expires_before, in the past": {"expires_before": NOW - timedelta(days=1, hours=12)},
    "all": {
        "key_ref": "k1",
        "owner_app": "payments",
        "access_policy": "tellers",
        "expires_before": NOW + timedelta(days=5),
    },
}


def _population(purpose: str = "card") -> list[Entry]:
    """One entry of each life, key, owner, policy, and of each whether purged or not."""
    entries = []
    choices = itertools.product(_LIVES.items(), ("k1", "k2", None), ("payments", "shop"), (None, NOW))
    for number, ((life, (created_at, expires_at)), key_ref, owner_app, purged_at) in enumerate(choices):
        entries.append(
            an_entry(
                f"{'aB-_.~:@9'[number % 9]}{number}-{life}",
                purpose=purpose,
                created_at=created_at,
                updated_at=created_at,
                expires_at=expires_at,
                key_ref=key_ref,
                owner_app=owner_app,
                access_policy="tellers" if number % 2 else "owner-only",
                purged_at=purged_at,
                purge_method="crypto-shred" if purged_at else None,
            )
        )
    return entries


def _wanted(entries: list[Entry], query: EntryQuery) -> Iterator[Entry]:
    days = MAXIMUM.days if query.created_before else None
    for entry in sorted(entries, key=lambda entry: entry.external_id):
        if (
            entry.purpose == query.purpose
            and entry.state(query.now, days) is query.state
            and query.key_ref in {None, entry.key_ref}
            and query.owner_app in {None, entry.owner_app}
            and query.access_policy in {None, entry.access_policy}
            and (query.expires_before is None or entry.effective_expires_at(days) < query.expires_before)
        ):
            yield entry


async def _all_pages(storage: Storage, query: EntryQuery) -> list[Entry]:
    found: list[Entry] = []
    while True:
        after = found[-1].external_id if found else None
        page = await storage.entries(_after(query, after))
        assert len(page) <= query.limit
        found += page
        if len(page) < query.limit:
            return found


def _after(query: EntryQuery, after: str | None) -> EntryQuery:
    return EntryQuery(**{name: getattr(query, name) for name in EntryQuery.__slots__} | {"after": after})


class EntryPagesConformance(StorageKit):
    """Listing entries, and finding what has expired."""

    @pytest.mark.parametrize(
        "retention_limit", [None, RETENTION_LIMIT], ids=["no retention limit", "a retention limit"]
    )
    @pytest.mark.parametrize("state", EntryState)
    @driven
    async def test_every_filter_finds_what_a_plain_loop_finds(
        self, storage: Storage, state: EntryState, retention_limit: datetime | None
    ) -> None:
        entries = _population() + _population("ach")
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries))
        for name, filters in _FILTERS.items():
            query = EntryQuery(purpose="card", now=NOW, limit=7, created_before=retention_limit, state=state, **filters)
            assert await _all_pages(storage, query) == list(_wanted(entries, query)), name

    @driven
    async def test_without_a_state_every_row_is_found(self, storage: Storage) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in entries + _population("ach")))
        query = EntryQuery(purpose="card", now=NOW, limit=7, created_before=RETENTION_LIMIT, state=None)
        assert await _all_pages(storage, query) == sorted(entries, key=lambda entry: entry.external_id)

    @pytest.mark.parametrize("limit", [1, 2, 5, 9, 10, 11])
    @driven
    async def test_pages_of_any_length_are_complete_without_repeating(self, storage: Storage, limit: int) -> None:
        await committed(storage, *(storing(f"e{n}") for n in range(10)))
        query = EntryQuery(purpose="card", now=T0, limit=limit)
        assert [entry.external_id for entry in await _all_pages(storage, query)] == [f"e{n}" for n in range(10)]

    @driven
    async def test_a_cursor_stands_though_its_entry_is_gone(self, storage: Storage) -> None:
        await committed(storage, storing("a"), storing("c"))
        page = await storage.entries(EntryQuery(purpose="card", now=T0, limit=5, after="b"))
        assert [entry.external_id for entry in page] == ["c"]

    @driven
    async def test_a_purpose_that_holds_nothing_has_an_empty_page(self, storage: Storage) -> None:
        await committed(storage, storing())
        assert not await storage.entries(EntryQuery(purpose="cardx", now=T0, limit=5))

    @driven
    async def test_everything_that_has_expired_is_found_with_its_value(self, storage: Storage) -> None:
        entries = _population()
        await committed(storage, *(a_write(StoreEntry(entry, entry.external_id.encode())) for entry in entries))
        await committed(storage, *(a_write(StoreEntry(entry, b"other")) for entry in _population("ach")))
        wanted = {entry for entry in entries if entry.state(NOW, MAXIMUM.days) is EntryState.EXPIRED}
        found: list[Entry] = []
        query = _expired(limit=7)
        while page := await storage.expired(query):
            assert len(page) <= 7
            assert [query.place_of(entry) for entry, _ in page] == sorted(query.place_of(entry) for entry, _ in page)
            query = replace(query, after=query.place_of(page[-1][0]))
            assert all(value == entry.external_id.encode() for entry, value in page)
            found += [entry for entry, _ in page]
        assert len(found) == len(wanted)
        assert set(found) == wanted

    @pytest.mark.parametrize("limit", [1, 7, 1000])
    @driven
    async def test_everything_that_has_expired_is_found_in_the_same_order_without_its_value(
        self, storage: Storage, limit: int
    ) -> None:
        await committed(
            storage, *(a_write(StoreEntry(entry, b"cipher")) for entry in _population() + _population("ach"))
        )
        found: list[Entry] = []
        query = _expired(limit=limit, byte_limit=0)
        while page := await storage.expired_entries(query):
            assert len(page) <= limit
            found += page
            query = replace(query, after=query.place_of(page[-1]))
        assert found == [entry for entry, _ in await storage.expired(_expired(limit=1000))]

    @driven
    async def test_an_entry_expired_on_both_counts_is_found_once(self, storage: Storage) -> None:
        await committed(storage, storing(created_at=RETENTION_LIMIT - TICK, expires_at=NOW - TICK))
        assert len(await storage.expired(_expired())) == 1

    @pytest.mark.parametrize(
        ("byte_limit", "pages"), [(1, [1, 1, 1, 1, 1]), (25, [3, 2]), (10_000, [5])], ids=["one", "25", "many"]
    )
    @driven
    async def test_a_page_ends_with_the_entry_that_passes_the_byte_limit(
        self, storage: Storage, byte_limit: int, pages: list[int]
    ) -> None:
        ended = NOW - timedelta(days=1)
        await committed(
            storage, *(storing(f"e{n}", b"ten bytes!", created_at=ended, expires_at=ended) for n in range(5))
        )
        query = _expired(byte_limit=byte_limit)
        lengths = []
        while page := await storage.expired(query):
            lengths.append(len(page))
            query = replace(query, after=query.place_of(page[-1][0]))
        assert lengths == pages

    @driven
    async def test_the_byte_limit_holds_for_what_the_retention_limit_ends_too(self, storage: Storage) -> None:
        old = RETENTION_LIMIT - timedelta(days=1)
        lasting = NOW + timedelta(days=400)
        ended = NOW - timedelta(days=1)
        await committed(
            storage, *(storing(f"c{n}", b"ten bytes!", created_at=old, expires_at=lasting) for n in range(4))
        )
        await committed(
            storage, *(storing(f"t{n}", b"ten bytes!", created_at=ended, expires_at=ended) for n in range(2))
        )
        assert len(await storage.expired(_expired(byte_limit=35))) == 4

    @driven
    async def test_a_limit_of_one_still_gets_on(self, storage: Storage) -> None:
        old = RETENTION_LIMIT - timedelta(days=1)
        await committed(storage, storing("a", created_at=old, expires_at=NOW + TICK))
        await committed(storage, storing("b", created_at=NOW - TICK, expires_at=NOW))
        query = _expired(limit=1)
        first = await storage.expired(query)
        second = await storage.expired(replace(query, after=query.place_of(first[0][0])))
        assert [first[0][0].external_id, second[0][0].external_id] == ["b", "a"]
        assert not await storage.expired(replace(query, after=query.place_of(second[0][0])))

    @driven
    async def test_what_ends_at_one_instant_is_told_apart_by_its_id(self, storage: Storage) -> None:
        ended = NOW - timedelta(days=1)
        ids = [f"{first}{second}" for first in "aB-_.~:@9" for second in "zZ0-"]
        await committed(storage, *(storing(name, created_at=ended, expires_at=ended) for name in ids))
        query = _expired(limit=5)
        found: list[str] = []
        while page := await storage.expired(query):
            found += [entry.external_id for entry, _ in page]
            query = replace(query, after=query.place_of(page[-1][0]))
        assert found == sorted(ids)

    @driven
    async def test_a_place_stands_though_its_entry_is_gone(self, storage: Storage) -> None:
        ended = NOW - timedelta(days=1)
        await committed(storage, *(storing(name, created_at=ended, expires_at=ended) for name in ("a", "c")))
        page = await storage.expired(_expired(after=ExpiredPlace(False, ended, "b")))
        assert [entry.external_id for entry, _ in page] == ["c"]


def _expired(*, limit: int = 100, byte_limit: int = 1_000_000, after: ExpiredPlace | None = None) -> ExpiredQuery:
    return ExpiredQuery(
        purpose="card", now=NOW, created_before=RETENTION_LIMIT, limit=limit, byte_limit=byte_limit, after=after
    )
