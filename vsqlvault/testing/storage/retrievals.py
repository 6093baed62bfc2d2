"""Retrievals in one round trip: all that was decided on is checked again, or nothing is committed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from vsqlvault.interfaces.storage import LogQuery, Snapshot, Storage
from vsqlvault.interfaces.writes import (
    Change,
    CountRetrieval,
    OverwriteEntry,
    RemoveEntry,
    Retrieval,
    SaveAccessPolicy,
    StoreEntry,
)
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.testing.driving import StorageKit, committed, driven, look
from vsqlvault.testing.samples import T0, a_purge_record, a_write, an_access_policy, an_access_record, an_entry

KEY = EntryKey("card", "seen")
VALUE = b"cipher"
REQUEST_ID = "e" * 32
ENTRY = an_entry("seen", VALUE)
LATER = timedelta(days=1)

CHANGES: dict[str, tuple[Change, ...]] = {
    "another version": (StoreEntry(replace(ENTRY, version=2), VALUE),),
    "another entry": (StoreEntry(an_entry("seen", VALUE), VALUE),),
    "another expiry": (StoreEntry(replace(ENTRY, expires_at=ENTRY.expires_at + LATER), VALUE),),
    "a retrieval that was counted": (CountRetrieval(KEY),),
    "removed": (RemoveEntry(KEY),),
    "overwritten": (OverwriteEntry(KEY, b"random", T0, "crypto-shred"),),
    "another value": (StoreEntry(ENTRY, b"forged"),),
    "a rule": (SaveAccessPolicy(an_access_policy()),),
}
"""What may happen to an entry, or to the rules, after it was seen."""


class RetrievalConformance(StorageKit):
    """``retrieve``. A storage that always returns None passes, too."""

    @driven
    async def test_a_retrieval_returns_the_value_and_commits_its_row(self, storage: Storage) -> None:
        seen = await _seen(storage)
        found = await storage.retrieve(_retrieval(seen))
        if found is not None:
            assert (found.value, found.entry, found.revision) == (VALUE, seen.entry, seen.revision)
            assert found.now >= seen.now
        assert await _rows(storage) == (0 if found is None else 1)

    @driven
    async def test_an_inspection_returns_no_value(self, storage: Storage) -> None:
        seen = await _seen(storage)
        found = await storage.retrieve(replace(_retrieval(seen), with_value=False))
        assert found is None or found.value is None
        assert await _rows(storage) == (0 if found is None else 1)

    @pytest.mark.parametrize("change", CHANGES)
    @driven
    async def test_nothing_is_committed_where_something_has_changed(self, storage: Storage, change: str) -> None:
        seen = await _seen(storage)
        purges = (a_purge_record(ENTRY),) if change in {"removed", "overwritten"} else ()
        await committed(storage, a_write(*CHANGES[change], purges=purges))
        assert await storage.retrieve(_retrieval(seen)) is None
        assert await _rows(storage) == 0

    @driven
    async def test_nothing_is_committed_at_the_instant_that_ends_it(self, storage: Storage) -> None:
        seen = await _seen(storage)
        assert await storage.retrieve(_retrieval(seen, until=seen.now)) is None
        assert await _rows(storage) == 0

    @driven
    async def test_nothing_is_committed_for_an_entry_that_was_never_there(self, storage: Storage) -> None:
        seen = await look(storage)
        assert await storage.retrieve(_retrieval(replace(seen, entry=ENTRY))) is None
        assert await _rows(storage) == 0


async def _seen(storage: Storage) -> Snapshot:
    await committed(storage, a_write(StoreEntry(ENTRY, VALUE)))
    return await look(storage, "seen")


def _retrieval(seen: Snapshot, until: datetime | None = None) -> Retrieval:
    entry: Entry | None = seen.entry
    assert entry is not None
    record = an_access_record(request_id=REQUEST_ID, external_id="seen", stamp=entry.stamp)
    return Retrieval(entry, True, seen.revision, until or seen.now + LATER, record)


async def _rows(storage: Storage) -> int:
    return len(await storage.access_log(LogQuery(limit=10, equals={"request_id": REQUEST_ID})))
