"""Archives of the log: their records, and the drop of archived rows that nothing needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import SettingsInvalid, Unavailable
from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.interfaces.tree_storage import TreeGrowth
from vsqlvault.interfaces.writes import Conflict, OverwriteEntry, RemoveEntry, StoreEntry, Write
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.transparency import LogName
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import T0, a_purge_record, an_access_record, an_entry

LIMIT = 1_000
ARCHIVED = ("archived-1", "archived-2")


def an_archive(number: int = 1, **fields: Any) -> LogArchive:
    """Return a record of an archive of two leaves."""
    made = LogArchive(
        number=number, first=2 * number - 2, end=2 * number, access_through=0, purge_through=0, at=T0,
        document=f'{{"number":{number},"place":"\u00fc"}}',
    )  # fmt: skip
    return replace(made, **fields)


def _saving(archive: LogArchive) -> Write:
    row = an_access_record(request_id=f"archive-{archive.number}", operation=Operation.ARCHIVE_LOG)
    return Write((row,), (NewestArchiveIs(archive.number - 1),), (SaveArchive(archive),))


def _row_of(entry: Entry, operation: Operation = Operation.STORE, **fields: object) -> AccessRecord:
    return an_access_record(
        operation=operation, purpose=entry.purpose, external_id=entry.external_id, stamp=entry.stamp, **fields
    )


async def _in_tree(storage: Storage) -> None:
    """Give every row its leaf."""
    pending = await storage.unsequenced(LIMIT)
    growth = TreeGrowth(await storage.tree_size(), [leaf.place for leaf in pending], {}, None)
    assert await storage.grow_tree(growth)


async def _positions(storage: Storage, log: LogName) -> list[int]:
    return list(await storage.row_positions(log, None, None, LIMIT))


async def _archive_all(storage: Storage, **fields: Any) -> LogArchive:
    """Record an archive of every leaf but those of one more row, which is committed first."""
    await _in_tree(storage)
    through = {log: max(await _positions(storage, log), default=0) for log in LogName}
    made = an_archive(
        first=0, end=await storage.tree_size(), access_through=through[LogName.ACCESS],
        purge_through=through[LogName.PURGE], **fields,
    )  # fmt: skip
    await committed(storage, _saving(made))
    await _in_tree(storage)
    return made


async def _drop_all(storage: Storage, limit: int = LIMIT) -> None:
    for log in LogName:
        place: int | None = 0
        while place is not None:
            place = await storage.drop_archived(log, place, limit)


async def _requests(storage: Storage) -> list[str]:
    return [row.record.request_id for row in await storage.access_log(LogQuery(limit=LIMIT, oldest_first=True))]


async def _purged(storage: Storage) -> Sequence[str]:
    return [row.record.purge_id for row in await storage.purge_log(LogQuery(limit=LIMIT, oldest_first=True))]


class ArchiveConformance(StorageKit):
    """Records of archives, and the drop of archived rows."""

    @driven
    async def test_a_new_storage_has_no_archive(self, storage: Storage) -> None:
        assert list(await storage.archives()) == []

    @driven
    async def test_archives_come_back_as_they_were_recorded_the_oldest_first(self, storage: Storage) -> None:
        made = [an_archive(1), an_archive(2, at=T0 + timedelta(microseconds=1))]
        for archive in made:
            await committed(storage, _saving(archive))
        assert list(await storage.archives()) == made
        assert await _requests(storage) == ["archive-1", "archive-2"]

    @driven
    async def test_of_two_who_record_the_same_archive_one_does(self, storage: Storage) -> None:
        await committed(storage, _saving(an_archive(1)))
        again = _saving(an_archive(1))
        assert list(await storage.commit([again])) == [Conflict(again.expects[0])]
        assert await _requests(storage) == ["archive-1"]

    @driven
    async def test_a_storage_that_cannot_drop_rows_refuses_with_a_reason(self, storage: Storage) -> None:
        if self.capabilities.drops_archived_rows:
            assert storage.describe().get("drops_archived_rows") is True, "or declare drops_archived_rows=False"
            return
        assert not storage.describe().get("drops_archived_rows")
        with pytest.raises(SettingsInvalid, match="expected a storage that can drop archived rows"):
            await storage.drop_archived(LogName.ACCESS, 0, 1)
        assert await storage.reclaim() is False

    @driven
    async def test_nothing_is_dropped_without_a_recorded_archive(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        await committed(storage, Write((an_access_record(operation=Operation.RETRIEVE),)))
        await _in_tree(storage)
        assert await storage.drop_archived(LogName.ACCESS, 0, LIMIT) is None
        assert len(await _positions(storage, LogName.ACCESS)) == 1

    @driven
    async def test_archived_rows_are_dropped_and_later_ones_stay(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        for request_id in ARCHIVED:
            await committed(storage, Write((an_access_record(request_id=request_id, operation=Operation.RETRIEVE),)))
        made = await _archive_all(storage)
        size = await storage.tree_size()
        await committed(storage, Write((an_access_record(request_id="later", operation=Operation.RETRIEVE),)))
        await _drop_all(storage)
        assert await _requests(storage) == ["archive-1", "later"]
        assert [row.index for row in await storage.leaf_rows(0, LIMIT)] == [made.end]
        assert await storage.tree_size() == size

    @driven
    async def test_a_drop_in_steps_drops_the_same_rows(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        for number in range(7):
            await committed(storage, Write((an_access_record(request_id=f"{number}", operation=Operation.LIST),)))
        await _archive_all(storage)
        await _drop_all(storage, limit=2)
        assert await _requests(storage) == ["archive-1"]
        await _drop_all(storage, limit=2)
        assert await _requests(storage) == ["archive-1"]

    @driven
    async def test_new_rows_become_leaves_after_a_drop(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        await committed(storage, Write((an_access_record(operation=Operation.RETRIEVE),)))
        await committed(storage, Write((), purges=(a_purge_record(an_entry("gone")), a_purge_record(an_entry("new")))))
        await _archive_all(storage)
        await _drop_all(storage)
        await committed(
            storage, Write((an_access_record(request_id="later"),), purges=(a_purge_record(an_entry("b")),))
        )
        pending = await storage.unsequenced(LIMIT)
        assert sorted(leaf.place.log.value for leaf in pending) == ["access", "purge"]
        await _in_tree(storage)
        assert list(await storage.unsequenced(LIMIT)) == []

    @driven
    @pytest.mark.parametrize("operation", [Operation.REVOKE_API_KEY, Operation.CHANGE_LEGAL_HOLD, Operation.ATTEST])
    async def test_rows_that_changed_rules_stay(self, storage: Storage, operation: Operation) -> None:
        self.needs("drops_archived_rows")
        kept = an_access_record(request_id="kept", operation=operation)
        denied = an_access_record(request_id="denied", operation=operation, outcome=Outcome.DENIED, status=403)
        await committed(storage, Write((kept, denied)))
        await _archive_all(storage)
        await _drop_all(storage)
        assert await _requests(storage) == ["kept", "archive-1"]

    @driven
    async def test_the_rows_that_say_who_stored_an_entry_stay_while_it_exists(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        first = an_entry("lives")
        versions = [replace(first, version=number) for number in (1, 2, 3)]
        for entry in versions:
            row = _row_of(entry, request_id=f"v{entry.version}")
            await committed(storage, Write((row,), changes=(StoreEntry(entry, b"cipher"),)))
        gone = an_entry("gone")
        await committed(storage, Write((_row_of(gone, request_id="gone"),), changes=(StoreEntry(gone, b"x"),)))
        await committed(storage, Write((), changes=(RemoveEntry(gone.key),), purges=(a_purge_record(gone),)))
        await _archive_all(storage)
        await _drop_all(storage)
        assert await _requests(storage) == ["v1", "v3", "archive-1"]

    @driven
    async def test_a_retrieval_that_moved_the_expiry_of_an_entry_stays_while_it_exists(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        lives = an_entry("lives")
        moved = _row_of(
            lives, Operation.RETRIEVE, request_id="moved", detail="traceparent 00-1, access policy a, entry sha256:0"
        )
        usual = _row_of(lives, Operation.RETRIEVE, request_id="usual")
        await committed(storage, Write((moved, usual), changes=(StoreEntry(lives, b"cipher"),)))
        await _archive_all(storage)
        await _drop_all(storage)
        assert await _requests(storage) == ["moved", "archive-1"]

    @driven
    async def test_the_purge_of_an_entry_with_a_row_stays(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        shredded, gone = an_entry("shredded"), an_entry("gone")
        await committed(storage, Write((), changes=(StoreEntry(shredded, b"cipher"),)))
        overwrite = OverwriteEntry(shredded.key, bytes(6), T0, "crypto-shred")
        kept = a_purge_record(shredded, method="crypto-shred")
        dropped, newest = a_purge_record(gone), a_purge_record(an_entry("newest"))
        await committed(storage, Write((), changes=(overwrite,), purges=(kept,)))
        await committed(storage, Write((), purges=(dropped,)), Write((), purges=(newest,)))
        await _archive_all(storage)
        await _drop_all(storage)
        assert await _purged(storage) == [kept.purge_id, newest.purge_id]

    @driven
    async def test_reclaiming_ends(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        rows = tuple(an_access_record(detail="x" * 1_000, operation=Operation.RETRIEVE) for _ in range(200))
        await committed(storage, Write(rows))
        await _archive_all(storage)
        await _drop_all(storage)
        times = 0
        while await storage.reclaim():
            times += 1
            assert times < LIMIT
        assert await _requests(storage) == ["archive-1"]

    @driven
    async def test_archives_without_a_gap_only(self, storage: Storage) -> None:
        self.needs("drops_archived_rows")
        await committed(storage, _saving(an_archive(1)))
        with pytest.raises(Unavailable):
            await storage.commit([_saving(an_archive(2, first=3, end=9))])
        assert [made.number for made in await storage.archives()] == [1]
