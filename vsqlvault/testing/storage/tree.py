"""The transparency log's tables: rows become leaves once each, in order, and the tree grows as a whole or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from itertools import chain

import pytest

from vsqlvault.errors import Unavailable
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.interfaces.tree_storage import LeafRow, PendingLeaf, TreeGrowth
from vsqlvault.interfaces.writes import EntryIs, Write
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import EntryKey, EntryVersion
from vsqlvault.model.times import utc_now
from vsqlvault.model.transparency import Checkpoint, LogName, TileKey
from vsqlvault.proof.leaf import row_hash
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import T0, a_purge_record, a_write, an_access_record

LIMIT = 1_000


def _checkpoint(size: int) -> Checkpoint:
    return Checkpoint("vault.example/log", size, bytes([size % 256]) * 32, f"note of {size}\n", T0)


async def _rows(storage: Storage, count: int) -> list[AccessRecord]:
    records = [an_access_record(at=T0 + timedelta(seconds=number)) for number in range(count)]
    for record in records:
        await committed(storage, Write((record,)))
    return records


async def _grow(storage: Storage, pending: Sequence[PendingLeaf], **fields: object) -> bool:
    size = await storage.tree_size()
    made = {"tiles": {}, "checkpoint": None, **fields}
    return await storage.grow_tree(TreeGrowth(size, [leaf.place for leaf in pending], **made))  # type: ignore[arg-type]


async def _sequence(storage: Storage, limit: int = LIMIT) -> list[PendingLeaf]:
    """Give every row an index, and return the leaves in their order."""
    leaves: list[PendingLeaf] = []
    while pending := await storage.unsequenced(limit):
        assert await _grow(storage, pending)
        leaves += pending
    return leaves


class TreeConformance(StorageKit):
    """Keeping the transparency log."""

    @driven
    async def test_a_new_storage_has_an_empty_tree(self, storage: Storage) -> None:
        assert await storage.tree_size() == 0
        assert list(await storage.unsequenced(LIMIT)) == []
        assert await storage.newest_checkpoint() is None
        assert list(await storage.checkpoints(0, LIMIT)) == []
        assert list(await storage.leaf_rows(0, LIMIT)) == []
        assert dict(await storage.tiles([TileKey(0, 0)])) == {}
        assert await storage.purge_index("0" * 32) is None

    @driven
    async def test_rows_of_both_logs_wait_for_their_index_with_the_hash_of_their_leaf(self, storage: Storage) -> None:
        records = await _rows(storage, 3)
        purges = [a_purge_record(), a_purge_record()]
        writes = [a_write(purges=(purge,)) for purge in purges]
        await committed(storage, *writes)
        pending = await storage.unsequenced(LIMIT)
        access = [leaf.leaf_hash for leaf in pending if leaf.place.log is LogName.ACCESS]
        assert access == [row_hash(record) for record in (*records, *(write.access[0] for write in writes))]
        purged = [leaf.leaf_hash for leaf in pending if leaf.place.log is LogName.PURGE]
        assert purged == [row_hash(purge) for purge in purges]

    @driven
    async def test_hashes_that_come_with_a_write_are_kept_in_the_order_of_its_rows(self, storage: Storage) -> None:
        made = [bytes([number]) * 32 for number in range(4)]
        rows = (an_access_record(), an_access_record())
        purges = (a_purge_record(), a_purge_record())
        write = Write(rows, purges=purges, access_leaves=tuple(made[:2]), purge_leaves=tuple(made[2:]))
        await committed(storage, a_write(), write)
        pending = await storage.unsequenced(LIMIT)
        kept = {log: [leaf.leaf_hash for leaf in pending if leaf.place.log is log] for log in LogName}
        assert kept[LogName.ACCESS][1:] == made[:2]
        assert kept[LogName.PURGE] == made[2:]

    @driven
    async def test_what_was_left_out_of_a_commit_never_becomes_a_leaf(self, storage: Storage) -> None:
        conflicting = Write(
            (an_access_record(),), expects=(EntryIs(EntryKey("card", "none"), EntryVersion("0" * 32, 1)),)
        )
        await storage.commit([conflicting, Write((an_access_record(request_id="kept"),))])
        (leaf,) = await storage.unsequenced(LIMIT)
        assert await _grow(storage, [leaf])
        (row,) = await storage.leaf_rows(0, LIMIT)
        assert isinstance(row.record, AccessRecord)
        assert row.record.request_id == "kept"

    @driven
    async def test_a_row_that_has_its_index_waits_no_longer(self, storage: Storage) -> None:
        records = await _rows(storage, 5)
        pending = await storage.unsequenced(LIMIT)
        assert await _grow(storage, pending[:3])
        assert await storage.tree_size() == 3
        rest = await storage.unsequenced(LIMIT)
        assert [leaf.leaf_hash for leaf in rest] == [row_hash(record) for record in records[3:]]

    @pytest.mark.parametrize("limit", [1, 2, 7])
    @driven
    async def test_a_limit_counts_for_each_log_and_loses_nothing(self, storage: Storage, limit: int) -> None:
        purges = [a_purge_record() for _ in range(5)]
        for purge in purges:
            await committed(storage, a_write(purges=(purge,)))
        assert len(await storage.unsequenced(limit)) == 2 * min(limit, 5)
        leaves = await _sequence(storage, limit)
        assert [leaf.leaf_hash for leaf in leaves if leaf.place.log is LogName.PURGE] == [row_hash(p) for p in purges]
        assert len({leaf.place for leaf in leaves}) == 10

    @driven
    async def test_a_tree_of_another_size_does_not_grow(self, storage: Storage) -> None:
        await _rows(storage, 4)
        pending = await storage.unsequenced(LIMIT)
        assert await _grow(storage, pending[:2])
        growth = TreeGrowth(0, [leaf.place for leaf in pending], {TileKey(0, 0): b"x" * 32}, _checkpoint(4))
        assert not await storage.grow_tree(growth)
        assert await storage.tree_size() == 2
        assert dict(await storage.tiles([TileKey(0, 0)])) == {}
        assert await storage.newest_checkpoint() is None

    @driven
    async def test_the_incarnation_stays_while_nothing_happens_to_the_storage(self, storage: Storage) -> None:
        incarnation = storage.incarnation
        await _rows(storage, 2)
        await _sequence(storage)
        assert storage.incarnation == incarnation != ""

    @driven
    async def test_a_tree_read_in_this_incarnation_grows_and_one_of_another_does_not(self, storage: Storage) -> None:
        await _rows(storage, 2)
        first, second = await storage.unsequenced(LIMIT)
        other = TreeGrowth(0, [first.place], {}, _checkpoint(1), "another incarnation")
        assert not await storage.grow_tree(other)
        assert await storage.tree_size() == 0
        assert await storage.newest_checkpoint() is None
        assert await storage.grow_tree(replace(other, incarnation=storage.incarnation))
        assert await _grow(storage, [second], incarnation=storage.incarnation)

    @driven
    async def test_a_tile_that_has_grown_takes_the_place_of_what_it_was(self, storage: Storage) -> None:
        await _rows(storage, 2)
        first, second = await storage.unsequenced(LIMIT)
        assert await _grow(storage, [first], tiles={TileKey(0, 0): b"a" * 32, TileKey(1, 0): b"c" * 32})
        assert await _grow(storage, [second], tiles={TileKey(0, 0): b"a" * 32 + b"b" * 32})
        found = await storage.tiles([TileKey(0, 0), TileKey(1, 0), TileKey(0, 1), TileKey(2, 0)])
        assert dict(found) == {TileKey(0, 0): b"a" * 32 + b"b" * 32, TileKey(1, 0): b"c" * 32}

    @driven
    async def test_checkpoints_are_kept_by_size(self, storage: Storage) -> None:
        await _rows(storage, 5)
        for leaf in await storage.unsequenced(LIMIT):
            size = await storage.tree_size() + 1
            assert await _grow(storage, [leaf], checkpoint=_checkpoint(size) if size != 4 else None)
        assert await storage.newest_checkpoint() == _checkpoint(5)
        assert list(await storage.checkpoints(0, LIMIT)) == [_checkpoint(size) for size in (1, 2, 3, 5)]
        assert list(await storage.checkpoints(1, 2)) == [_checkpoint(2), _checkpoint(3)]

    @driven
    async def test_of_old_checkpoints_only_those_go_for_which_the_next_one_stands(self, storage: Storage) -> None:
        hour, long_ago = utc_now().replace(minute=0, second=0, microsecond=0), utc_now() - timedelta(days=200)
        day = long_ago.replace(hour=5, minute=0, second=0, microsecond=0)
        week = hour - timedelta(days=7)
        signed = [
            *(day + timedelta(hours=number) for number in range(3)),
            *(week + timedelta(minutes=10 * number) for number in range(3)),
            week + timedelta(hours=1),
            *(utc_now() - timedelta(seconds=2 - number) for number in range(2)),
        ]
        await _rows(storage, len(signed))
        for at, leaf in zip(signed, await storage.unsequenced(LIMIT), strict=True):
            size = await storage.tree_size() + 1
            assert await _grow(storage, [leaf], checkpoint=replace(_checkpoint(size), signed_at=at))
        for last_of_its_day_or_hour_or_young in (3, 6, 7, 8, 9):
            with pytest.raises(Unavailable):
                await storage.thin_checkpoints([1, last_of_its_day_or_hour_or_young])
        assert [one.size for one in await storage.checkpoints(0, LIMIT)] == list(range(1, 10))
        await storage.thin_checkpoints([5, 1, 4, 2, 77])
        await storage.thin_checkpoints([4])
        assert [one.size for one in await storage.checkpoints(0, LIMIT)] == [3, 6, 7, 8, 9]
        newest = await storage.newest_checkpoint()
        assert newest is not None
        assert newest.size == await storage.tree_size() == 9

    @driven
    async def test_a_tree_is_signed_later_without_growing(self, storage: Storage) -> None:
        await _rows(storage, 1)
        assert await _grow(storage, await storage.unsequenced(LIMIT))
        assert await _grow(storage, [], checkpoint=_checkpoint(1))
        assert await storage.newest_checkpoint() == _checkpoint(1)
        assert await storage.tree_size() == 1

    @driven
    async def test_leaves_come_with_their_rows_in_the_order_of_their_indexes(self, storage: Storage) -> None:
        purge = a_purge_record(policy_reference="card v1", identity="joe", key_ref=None)
        write = a_write(purges=(purge,))
        record = an_access_record(purpose=None, external_id=None, app=None, detail="x", count=3, old_value="{}")
        await committed(storage, write, Write((record,)))
        leaves = await _sequence(storage)
        records = {
            leaf: one for one in (purge, record, write.access[0]) for leaf in leaves if leaf.leaf_hash == row_hash(one)
        }
        wanted = [LeafRow(index, leaf.place, records[leaf], leaf.leaf_hash) for index, leaf in enumerate(leaves)]
        assert list(await storage.leaf_rows(0, LIMIT)) == wanted
        assert list(await storage.leaf_rows(1, 1)) == wanted[1:2]
        assert list(await storage.leaf_rows(3, LIMIT)) == []

    @driven
    async def test_a_purge_is_found_by_its_id(self, storage: Storage) -> None:
        purges = [a_purge_record() for _ in range(3)]
        await committed(storage, *(a_write(purges=(purge,)) for purge in purges))
        assert await storage.purge_index(purges[1].purge_id) is None
        leaves = await _sequence(storage)
        for purge in purges:
            index = await storage.purge_index(purge.purge_id)
            assert index is not None
            assert leaves[index].leaf_hash == row_hash(purge)

    @driven
    async def test_positions_of_rows_are_told_by_ranges(self, storage: Storage) -> None:
        await _rows(storage, 5)
        await committed(storage, a_write(purges=(a_purge_record(),)))
        access = [row.position for row in await storage.access_log(LogQuery(limit=LIMIT, oldest_first=True))]
        assert list(await storage.row_positions(LogName.ACCESS, None, None, LIMIT)) == access
        assert list(await storage.row_positions(LogName.ACCESS, access[1], access[3], LIMIT)) == access[2:4]
        assert list(await storage.row_positions(LogName.ACCESS, access[1], None, 2)) == access[2:4]
        assert list(await storage.row_positions(LogName.ACCESS, None, access[0], LIMIT)) == access[:1]
        assert len(await storage.row_positions(LogName.PURGE, None, None, LIMIT)) == 1

    @driven
    async def test_rows_that_are_committed_meanwhile_get_their_index_once_each(self, storage: Storage) -> None:
        done = False
        leaves: list[PendingLeaf] = []

        async def write(number: int) -> list[bytes]:
            made: list[bytes] = []
            for turn in range(40):
                record = an_access_record(request_id=f"{number}.{turn}")
                purges = (a_purge_record(),) if turn % 4 == 0 else ()
                await committed(storage, Write((record,), purges=purges))
                made += map(row_hash, (record, *purges))
            return made

        async def sequence() -> None:
            while not done:
                leaves.extend(await _sequence(storage, 7))
                await asyncio.sleep(0)

        sequencing = asyncio.create_task(sequence())
        written = await asyncio.gather(*(write(number) for number in range(3)))
        done = True
        await sequencing
        leaves += await _sequence(storage)
        assert sorted(leaf.leaf_hash for leaf in leaves) == sorted(chain.from_iterable(written))
        places = [leaf.place for leaf in leaves]
        assert [row.place for row in await storage.leaf_rows(0, len(leaves) + 1)] == places
        for log in LogName:
            positions = [place.position for place in places if place.log is log]
            assert positions == sorted(positions)

    @driven
    async def test_leaves_of_both_logs_may_alternate(self, storage: Storage) -> None:
        for _ in range(3):
            await committed(storage, a_write(purges=(a_purge_record(),)))
        pending = await storage.unsequenced(LIMIT)
        logs = [[leaf for leaf in pending if leaf.place.log is log] for log in LogName]
        mixed = [leaf for pair in zip(*logs, strict=True) for leaf in pair]
        assert len(mixed) == 6
        assert await _grow(storage, mixed)
        assert [(row.index, row.place) for row in await storage.leaf_rows(0, 9)] == [
            (index, leaf.place) for index, leaf in enumerate(mixed)
        ]
        assert not await storage.unsequenced(LIMIT)

    @driven
    async def test_of_two_that_sequence_at_once_one_gives_the_indexes(self, storage: Storage) -> None:
        self.needs("shared")
        await _rows(storage, 20)
        async with self.another() as other:
            pending = await storage.unsequenced(LIMIT)
            assert [leaf.place for leaf in await other.unsequenced(LIMIT)] == [leaf.place for leaf in pending]
            growth = TreeGrowth(0, [leaf.place for leaf in pending], {}, None)
            answers = await asyncio.gather(*(one.grow_tree(growth) for one in (storage, other, storage, other)))
            assert sorted(answers) == [False, False, False, True]
            assert await other.tree_size() == 20

    @driven
    async def test_the_tree_is_there_when_the_storage_is_opened_again(self) -> None:
        self.needs("durable")
        async with self.another() as storage:
            await _rows(storage, 3)
            pending = await storage.unsequenced(LIMIT)
            tiles = {TileKey(0, 0): b"".join(leaf.leaf_hash for leaf in pending)}
            assert await _grow(storage, pending, tiles=tiles, checkpoint=_checkpoint(3))
        async with self.another() as again:
            assert await again.tree_size() == 3
            assert dict(await again.tiles([TileKey(0, 0)])) == tiles
            assert await again.newest_checkpoint() == _checkpoint(3)
            assert not await again.unsequenced(LIMIT)
            assert [row.place for row in await again.leaf_rows(0, 9)] == [leaf.place for leaf in pending]
