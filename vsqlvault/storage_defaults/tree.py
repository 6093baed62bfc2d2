"""The transparency log, over items: the tree's state is one item, which every growth compares and sets."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Collection, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from itertools import chain
from typing import Any

from vsqlvault.errors import Unavailable
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.interfaces.tree_storage import LeafRow, PendingLeaf, TreeGrowth
from vsqlvault.model.transparency import Checkpoint, LogName, RowPlace, TileKey
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.storage_defaults.basic import ItemIs, ItemKey, ItemRange, PutItem, StoredRow, number_name
from vsqlvault.storage_defaults.codec import decode, encode
from vsqlvault.storage_defaults.logs import LogDefaults
from vsqlvault.storage_defaults.required import PAGE

CHECKPOINT, LEAF, PURGE_LEAF, TILE = "checkpoint", "leaf", "purge-leaf", "tile"
TREE = ItemKey("tree", b"")
LEAVES_PER_ITEM = 1_000
_PLACE = struct.Struct(">BQ")
_LOGS = tuple(LogName)
_HOUR, _DAY = timedelta(hours=1), timedelta(days=1)
_KEPT_BY_HOUR = timedelta(days=90)


@dataclass(frozen=True, slots=True)
class _Tree:
    """The number of leaves, and the last position with a leaf in each log."""

    size: int = 0
    access: int = -1
    purge: int = -1


class TreeDefaults(LogDefaults):
    """Derives the leaves, tiles and checkpoints.

    Leaves are stored in items of up to ``LEAVES_PER_ITEM`` places, under the index of the first. Positions start at 0 or above.
    """

    async def tree_size(self) -> int:
        """See ``TreeStorage.tree_size``."""
        return _tree_of(await self.item(TREE)).size

    async def unsequenced(self, limit: int) -> Sequence[PendingLeaf]:
        """See ``TreeStorage.unsequenced``. No row appears later below one that ``log`` has returned."""
        tree = _tree_of(await self.item(TREE))
        access = await self.log(LogName.ACCESS, LogQuery(limit=limit, oldest_first=True, after=tree.access))
        purges = await self.log(LogName.PURGE, LogQuery(limit=limit, oldest_first=True, after=tree.purge))
        return [
            PendingLeaf(RowPlace(log, row.position), row.leaf_hash)
            for log, page in ((LogName.ACCESS, access), (LogName.PURGE, purges))
            for row in page
        ]

    async def grow_tree(self, growth: TreeGrowth) -> bool:
        """See ``TreeStorage.grow_tree``."""
        stored = await self.item(TREE)
        if _tree_of(stored).size != growth.size or growth.incarnation not in {None, self.incarnation}:
            return False
        return await self.swap([ItemIs(TREE, stored)], [*_grown(_tree_of(stored), growth)])

    async def tiles(self, keys: Collection[TileKey]) -> Mapping[TileKey, bytes]:
        """See ``TreeStorage.tiles``."""
        named = {_tile_name(key): key for key in keys}
        return {named[name]: value for name, value in (await self.items(TILE, named)).items()} if named else {}

    async def newest_checkpoint(self) -> Checkpoint | None:
        """See ``TreeStorage.newest_checkpoint``."""
        page = await self.item_range(ItemRange(table=CHECKPOINT, limit=1, descending=True))
        return decode(Checkpoint, page[0].value) if page else None

    async def checkpoints(self, after: int, limit: int) -> Sequence[Checkpoint]:
        """See ``TreeStorage.checkpoints``."""
        page = await self.item_range(ItemRange(table=CHECKPOINT, first=number_name(after + 1), limit=limit))
        return [decode(Checkpoint, item.value) for item in page]

    async def thin_checkpoints(self, sizes: Collection[int]) -> None:
        """See ``TreeStorage.thin_checkpoints``."""
        now, stored = await self.now(), await self.items(CHECKPOINT, [number_name(size) for size in sizes])
        for name, value in stored.items():
            following = await self.item_range(ItemRange(table=CHECKPOINT, first=name + b"\0", limit=1))
            if not following or not _is_covered(decode(Checkpoint, value), decode(Checkpoint, following[0].value), now):
                raise Unavailable("a checkpoint is too young, or the last one of its hour or day")
        if stored:
            keys = [ItemKey(CHECKPOINT, name) for name in stored]
            await self.swap([], [PutItem(key, None) for key in keys])

    async def leaf_rows(self, first: int, count: int) -> Sequence[LeafRow]:
        """See ``TreeStorage.leaf_rows``."""
        places = {index: place async for index, place in self._places(first, first + count)}
        found = {place: row for log in LogName async for place, row in self._rows_at(log, places.values())}
        leaves = ((index, place, found.get(place)) for index, place in places.items())
        return [
            LeafRow(index, place, row.record if row else None, row.leaf_hash if row else None)
            for index, place, row in leaves
        ]

    async def purge_index(self, purge_id: str) -> int | None:
        """See ``TreeStorage.purge_index``."""
        page = await self.log(LogName.PURGE, LogQuery(limit=1, equals={"purge_id": purge_id}))
        index = await self.item(ItemKey(PURGE_LEAF, number_name(page[0].position))) if page else None
        return None if index is None else int.from_bytes(index, "big")

    async def _places(self, first: int, end: int) -> AsyncIterator[tuple[int, RowPlace]]:
        begins = await self.item_range(ItemRange(table=LEAF, until=number_name(first + 1), limit=1, descending=True))
        start = begins[0].name if begins else number_name(first)
        async for item in self.all_items(ItemRange(table=LEAF, first=start, until=number_name(end), limit=PAGE)):
            begin = int.from_bytes(item.name, "big")
            for index, (log, position) in enumerate(_PLACE.iter_unpack(item.value), start=begin):
                if first <= index < end:
                    yield index, RowPlace(_LOGS[log], position)

    async def _rows_at(
        self, log: LogName, places: Collection[RowPlace]
    ) -> AsyncIterator[tuple[RowPlace, StoredRow[Any]]]:
        positions = [place.position for place in places if place.log is log]
        if not positions:
            return
        last = max(positions)
        limit = min(PAGE, last - min(positions) + 1)
        async for row in self.log_rows(log, LogQuery(limit=limit, oldest_first=True, after=min(positions) - 1)):
            yield RowPlace(log, row.position), row
            if row.position >= last:
                return


def _tree_of(stored: bytes | None) -> _Tree:
    return _Tree() if stored is None else decode(_Tree, stored)


def _grown(tree: _Tree, growth: TreeGrowth) -> Iterator[PutItem]:
    last = {LogName.ACCESS: tree.access, LogName.PURGE: tree.purge}
    for log, position in growth.places:
        last[log] = max(last[log], position)
    grown = _Tree(tree.size + len(growth.places), last[LogName.ACCESS], last[LogName.PURGE])
    yield PutItem(TREE, encode(grown))
    for start in range(0, len(growth.places), LEAVES_PER_ITEM):
        places = growth.places[start : start + LEAVES_PER_ITEM]
        packed = chain.from_iterable((_LOGS.index(log), position) for log, position in places)
        yield PutItem(ItemKey(LEAF, number_name(tree.size + start)), struct.pack(">" + "BQ" * len(places), *packed))
    for index, (log, position) in enumerate(growth.places, start=tree.size):
        if log is LogName.PURGE:
            yield PutItem(ItemKey(PURGE_LEAF, number_name(position)), number_name(index))
    for key, hashes in growth.tiles.items():
        yield PutItem(ItemKey(TILE, _tile_name(key)), hashes)
    if growth.checkpoint:
        yield PutItem(ItemKey(CHECKPOINT, number_name(growth.checkpoint.size)), encode(growth.checkpoint))


def _tile_name(key: TileKey) -> bytes:
    return bytes([key.level]) + number_name(key.index)


def _is_covered(checkpoint: Checkpoint, following: Checkpoint, now: datetime) -> bool:
    """Return whether the following checkpoint may stand for this one."""
    one, other, age = checkpoint.signed_at, following.signed_at, now - checkpoint.signed_at
    same_day = one.date() == other.date()
    return (age > _DAY and same_day and one.hour == other.hour) or (age > _KEPT_BY_HOUR and same_day)
