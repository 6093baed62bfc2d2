"""Copies a whole vault from one storage to another: rows, tree, checkpoints, rules and entries. It signs nothing.

The copy has the same leaves in the same order under the same checkpoints, so the same key verifies it, and an anchor finds
its checkpoints continued. A copy that was interrupted goes on where it ended: the target itself has the progress.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence

from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.interfaces.tree_storage import TreeGrowth
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import LogName, RowPlace
from vsqlvault.proof.leaf import row_hash
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.log.copied_tables import CopiedTables, positions_of
from vsqlvault.service.log.stored_tree import load_edge

PAGE = 1_000
TABLES_PAGE = 500
END_DETAIL = "the whole vault was copied from another storage"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class CopyCount:
    """The reach of a copy. ``was_complete``: an earlier run had copied everything."""

    rows: int
    leaves: int
    entries: int
    was_complete: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of the source, and the hash of its leaf."""

    log: LogName
    record: AccessRecord | PurgeRecord
    leaf: bytes


class VaultCopy:
    """Copies ``source`` to ``target``, whose schema is current. No server may use either of them meanwhile."""

    def __init__(
        self, source: Storage, target: Storage, progress: Progress = lambda _done, _of: None, *, page: int = PAGE
    ) -> None:
        """``page``: the number of rows of one commit."""
        self._page = page
        self._source = source
        self._target = target
        self._progress = progress

    async def run(self, end: AccessRecord) -> CopyCount:
        """Copy everything, then commit ``end``, the row that records the copy.

        Raises:
            SettingsInvalid: the target has other rows, or the source changed meanwhile or has rows that cannot be copied.
            Unavailable.
        """
        if await self._source.archives():
            raise SettingsInvalid("SOURCE: expected a log with every row, found one with archives")
        size = await self._source.tree_size()
        done = {log: await positions_of(self._target, log) for log in LogName}
        if await self._is_complete(done):
            return CopyCount(sum(map(len, done.values())) - 1, size, 0, was_complete=True)
        rows = await self._rows({log: len(positions) for log, positions in done.items()}, size)
        await self._tree(size)
        entries = await CopiedTables(self._source, self._target, page=min(self._page, TABLES_PAGE)).copy()
        if (await self._source.tree_size(), await self._row_count(self._source)) != (size, rows):
            raise SettingsInvalid("SOURCE: expected a vault that no server uses, found new rows: stop it, and repeat")
        await self._commit(Write((end,)))
        return CopyCount(rows, size, entries)

    async def _is_complete(self, done: Mapping[LogName, Sequence[int]]) -> bool:
        """Whether the newest row of the target is that of a copy which ended."""
        newest = await self._target.access_log(LogQuery(limit=1))
        return bool(
            newest
            and newest[0].record.operation is Operation.IMPORT
            and newest[0].record.detail == END_DETAIL
            and sum(map(len, done.values())) == await self._row_count(self._source) + 1
        )

    async def _rows(self, there: dict[LogName, int], size: int) -> int:
        """Copy the rows of both logs that the target does not have, in the order of the leaves. Return their number."""
        last = {log: await self._newest(log) for log in LogName}
        seen = dict.fromkeys(LogName, 0)
        batch: list[_Row] = []
        async for row in self._source_rows(size):
            seen[row.log] += 1
            if seen[row.log] <= there[row.log]:
                if seen[row.log] == there[row.log] and row.record != last[row.log]:
                    raise SettingsInvalid(
                        "storage.database_url: expected an empty storage, found rows of another vault"
                    )
                continue
            batch.append(row)
            if len(batch) == self._page:
                await self._commit(_write(batch))
                self._progress(sum(seen.values()), size)
                batch = []
        if any(seen[log] < there[log] for log in LogName):
            raise SettingsInvalid(
                "storage.database_url: expected an empty storage, found more rows than the source has"
            )
        if batch:
            await self._commit(_write(batch))
        return sum(seen.values())

    async def _source_rows(self, size: int) -> AsyncIterator[_Row]:
        """Yield the rows with a leaf, by index, then those that have none yet."""
        last: dict[LogName, int | None] = dict.fromkeys(LogName)
        for first in range(0, size, self._page):
            leaves = await self._source.leaf_rows(first, min(self._page, size - first))
            for place, leaf in enumerate(leaves, start=first):
                if leaf.index != place or leaf.record is None:
                    raise SettingsInvalid(f"SOURCE: expected every row of the log, found none for leaf {place}")
                last[leaf.place.log] = leaf.place.position
                yield _Row(leaf.place.log, leaf.record, leaf.leaf_hash or row_hash(leaf.record))
            if len(leaves) < min(self._page, size - first):
                raise SettingsInvalid(
                    f"SOURCE: expected every row of the log, found none for leaf {first + len(leaves)}"
                )
        for log in LogName:
            async for record in self._rows_after(log, last[log]):
                yield _Row(log, record, row_hash(record))

    async def _rows_after(self, log: LogName, after: int | None) -> AsyncIterator[AccessRecord | PurgeRecord]:
        page_of = self._source.access_log if log is LogName.ACCESS else self._source.purge_log
        while True:
            page = await page_of(LogQuery(limit=self._page, after=after, oldest_first=True))
            for row in page:
                after = row.position
                yield row.record
            if len(page) < self._page:
                return

    async def _tree(self, size: int) -> None:
        """Give the rows of the target the indexes of the source, and copy every checkpoint at its size."""
        grown = await self._target.tree_size()
        edge, newest = await load_edge(self._target)
        checkpoints = await self._source.checkpoints(newest.size if newest else 0, self._page)
        places = {log: iter(await positions_of(self._target, log)) for log in LogName}
        skipped = grown
        async for leaves in self._pages_of_leaves(size):
            logs = [log for log, _ in leaves]
            if skipped:  # these have an index already
                for log in logs[:skipped]:
                    next(places[log])
                leaves, skipped = leaves[skipped:], max(0, skipped - len(logs))  # noqa: PLW2901 - the rest of the page
            while leaves:
                ends_at = checkpoints[0].size if checkpoints else size
                some, leaves = leaves[: ends_at - edge.size], leaves[ends_at - edge.size :]  # noqa: PLW2901
                before = edge.size
                edge, tiles = edge.grown([leaf for _, leaf in some])
                signed = checkpoints[0] if checkpoints and edge.size == checkpoints[0].size else None
                if signed is not None and signed.root != edge.root():
                    raise SettingsInvalid(
                        f"SOURCE: expected the root of the checkpoint of {signed.size} leaves: verify it"
                    )
                rows = [RowPlace(log, next(places[log])) for log, _ in some]
                if not await self._target.grow_tree(TreeGrowth(before, rows, tiles, signed)):
                    raise SettingsInvalid("storage.database_url: expected a storage that no server uses")
                if signed is not None:
                    checkpoints = checkpoints[1:] or await self._source.checkpoints(signed.size, self._page)
            self._progress(edge.size, size)

    async def _pages_of_leaves(self, size: int) -> AsyncIterator[list[tuple[LogName, bytes]]]:
        for first in range(0, size, self._page):
            found = await self._source.leaf_rows(first, min(self._page, size - first))
            yield [
                (leaf.place.log, leaf.leaf_hash or row_hash(leaf.record)) for leaf in found if leaf.record is not None
            ]

    async def _newest(self, log: LogName) -> AccessRecord | PurgeRecord | None:
        query = LogQuery(limit=1)
        if log is LogName.ACCESS:
            access = await self._target.access_log(query)
            return access[0].record if access else None
        purges = await self._target.purge_log(query)
        return purges[0].record if purges else None

    async def _row_count(self, storage: Storage) -> int:
        return sum([len(await positions_of(storage, log)) for log in LogName])

    async def _commit(self, write: Write) -> None:
        """Commit a write without an expectation. Raises Unavailable."""
        for outcome in await self._target.commit([write]):
            if isinstance(outcome, Exception):
                raise outcome


def _write(rows: Sequence[_Row]) -> Write:
    access = [row for row in rows if isinstance(row.record, AccessRecord)]
    purges = [row for row in rows if isinstance(row.record, PurgeRecord)]
    return Write(
        tuple(row.record for row in access if isinstance(row.record, AccessRecord)),
        purges=tuple(row.record for row in purges if isinstance(row.record, PurgeRecord)),
        access_leaves=tuple(row.leaf for row in access),
        purge_leaves=tuple(row.leaf for row in purges),
    )
