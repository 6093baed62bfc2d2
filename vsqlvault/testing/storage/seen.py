"""Commits about entries that were read before: all that was decided on is checked again, or nothing is committed."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from vsqlvault.interfaces.storage import LogQuery, Snapshot, Storage
from vsqlvault.interfaces.writes import (
    Change,
    CountRetrieval,
    EntryIs,
    OverwriteEntry,
    RemoveEntry,
    RevisionIs,
    SaveAccessPolicy,
    SeenWrite,
    StoreEntry,
    Write,
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


class SeenConformance(StorageKit):
    """``commit_seen``. A storage that always returns None passes, too."""

    @driven
    async def test_a_retrieval_returns_the_value_and_commits_its_row(self, storage: Storage) -> None:
        seen = await _seen(storage)
        (found,) = await storage.commit_seen([_retrieval(seen)])
        if found is not None:
            assert (found.value, found.entry, found.revision) == (VALUE, seen.entry, seen.revision)
            assert found.now >= seen.now
        assert await _rows(storage) == (0 if found is None else 1)

    @driven
    async def test_an_inspection_returns_no_value(self, storage: Storage) -> None:
        seen = await _seen(storage)
        (found,) = await storage.commit_seen([replace(_retrieval(seen), with_value=False)])
        assert found is None or found.value is None
        assert await _rows(storage) == (0 if found is None else 1)

    @pytest.mark.parametrize("change", CHANGES)
    @driven
    async def test_nothing_is_committed_where_something_has_changed(self, storage: Storage, change: str) -> None:
        seen = await _seen(storage)
        purges = (a_purge_record(ENTRY),) if change in {"removed", "overwritten"} else ()
        await committed(storage, a_write(*CHANGES[change], purges=purges))
        assert await storage.commit_seen([_retrieval(seen)]) == [None]
        assert await _rows(storage) == 0

    @pytest.mark.parametrize("change", CHANGES)
    @driven
    async def test_nothing_is_replaced_where_something_has_changed(self, storage: Storage, change: str) -> None:
        seen = await _seen(storage)
        purges = (a_purge_record(ENTRY),) if change in {"removed", "overwritten"} else ()
        await committed(storage, a_write(*CHANGES[change], purges=purges))
        before = await look(storage, "seen")
        beside = an_entry("beside", VALUE)
        await committed(storage, a_write(StoreEntry(beside, VALUE)))
        batch = [_replacing(seen), _retrieval(replace(seen, entry=beside))]
        assert (await storage.commit_seen(batch))[0] is None
        after = await look(storage, "seen")
        assert (after.entry, after.value) == (before.entry, before.value)

    @driven
    async def test_nothing_is_committed_at_the_instant_that_ends_it(self, storage: Storage) -> None:
        seen = await _seen(storage)
        assert await storage.commit_seen([_retrieval(seen, until=seen.now)]) == [None]
        assert await _rows(storage) == 0

    @driven
    async def test_the_instant_ends_one_write_of_a_batch(self, storage: Storage) -> None:
        seen = await _seen(storage)
        assert (await storage.commit_seen([_retrieval(seen, until=seen.now), _retrieval(seen)]))[0] is None
        assert await _rows(storage) <= 1

    @driven
    async def test_nothing_is_committed_for_an_entry_that_was_never_there(self, storage: Storage) -> None:
        seen = await look(storage)
        assert await storage.commit_seen([_retrieval(replace(seen, entry=ENTRY))]) == [None]
        assert await _rows(storage) == 0

    @driven
    async def test_a_replacement_stores_the_value_and_its_purge_row(self, storage: Storage) -> None:
        seen = await _seen(storage)
        (found,) = await storage.commit_seen([_replacing(seen)])
        now = await look(storage, "seen")
        assert (now.value, found is None or found.value is None) == (VALUE if found is None else b"new", True)
        assert len(await storage.purge_log(LogQuery(limit=5))) == (0 if found is None else 1)

    @driven
    async def test_a_purge_removes_the_entry_and_commits_its_row(self, storage: Storage) -> None:
        seen = await _seen(storage)
        write = replace(_replacing(seen).write, changes=(RemoveEntry(KEY),))
        (found,) = await storage.commit_seen([replace(_replacing(seen), write=write)])
        assert ((await look(storage, "seen")).entry is None) is (found is not None)

    @driven
    async def test_what_has_changed_is_left_out_and_the_rest_of_the_batch_is_committed(self, storage: Storage) -> None:
        seen = await _seen(storage)
        others = [an_entry(f"other-{number}", VALUE) for number in range(3)]
        for entry in others:
            await committed(storage, a_write(StoreEntry(entry, VALUE)))
        await committed(storage, a_write(StoreEntry(replace(others[1], version=2), VALUE)))
        batch = [_retrieval(replace(seen, entry=entry)) for entry in others]
        found = await storage.commit_seen(batch)
        assert [snapshot is not None for snapshot in found] in ([True, False, True], [False] * 3)
        assert await _rows(storage) == sum(snapshot is not None for snapshot in found)

    @driven
    async def test_each_of_a_batch_gets_its_own_value(self, storage: Storage) -> None:
        seen = await _seen(storage)
        entries = [an_entry(f"own-{number}", b"value %d" % number) for number in range(5)]
        for number, entry in enumerate(entries):
            await committed(storage, a_write(StoreEntry(entry, b"value %d" % number)))
        found = await storage.commit_seen([_retrieval(replace(seen, entry=entry)) for entry in reversed(entries)])
        values = [snapshot.value for snapshot in found if snapshot is not None]
        assert values in ([], [b"value %d" % number for number in reversed(range(5))])


async def _seen(storage: Storage) -> Snapshot:
    await committed(storage, a_write(StoreEntry(ENTRY, VALUE)))
    return await look(storage, "seen")


def _retrieval(seen: Snapshot, until: datetime | None = None) -> SeenWrite:
    entry: Entry | None = seen.entry
    assert entry is not None
    record = an_access_record(request_id=REQUEST_ID, external_id=entry.external_id, stamp=entry.stamp)
    write = Write((record,), (EntryIs(entry.key, entry.stamp), RevisionIs(seen.revision)))
    return SeenWrite(entry, until or seen.now + LATER, write, with_value=True)


def _replacing(seen: Snapshot) -> SeenWrite:
    """Return the write of another value, with the purge row of the present one."""
    retrieval = _retrieval(seen)
    following = replace(an_entry("seen", b"new"), entry_id=retrieval.entry.entry_id, version=2)
    changes = (StoreEntry(following, b"new"),)
    write = replace(retrieval.write, changes=changes, purges=(a_purge_record(retrieval.entry),))
    return replace(retrieval, write=write, with_value=False)


async def _rows(storage: Storage) -> int:
    return len(await storage.access_log(LogQuery(limit=10, equals={"request_id": REQUEST_ID})))
