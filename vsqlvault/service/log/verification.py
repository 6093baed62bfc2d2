"""Reads a log to verify from the storage or from an export. The checks themselves are in ``proof.log_check``."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Collection, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, Protocol

from vsqlvault.errors import StorageUnavailable, Unavailable
from vsqlvault.interfaces.storage import LogQuery, LogRow, Storage
from vsqlvault.interfaces.tree_storage import LeafRow
from vsqlvault.model.transparency import Checkpoint, LogName, RowPlace, TileKey
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.proof.log_check import Finding, LogCheck, SignedHead
from vsqlvault.proof.note import NoteRefused, VerifierKey
from vsqlvault.proof.restores import ConfirmedRestore
from vsqlvault.proof.state_replay import StateReplay
from vsqlvault.proof.table_check import ARCHIVES, StateFinding
from vsqlvault.proof.tiles import WIDTH, width_of
from vsqlvault.proof.tree import leaf_hash
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.log.archive.rows import archive_documents
from vsqlvault.service.log.stored_rows import readable

PAGE_TILES = 16
MAX_HEADS = 4_096
"""How many of the log's own checkpoints are compared: the newest, and others spread evenly over the log."""

CHECKPOINT_PAGE = 1_000
MAX_ODDITIES = 1_000
Progress = Callable[[int, int], None]


class LogSource(Protocol):
    """The source of a log to verify."""

    async def checkpoints(self) -> Sequence[str]:
        """Return the notes of the log's checkpoints, that of the largest tree last."""
        ...

    async def bundle(self, index: int, width: int) -> Sequence[bytes]:
        """Return the leaves of a level-0 tile; a missing leaf is empty."""
        ...

    async def tile(self, key: TileKey) -> bytes:
        """Return a tile's hashes; fewer than expected if it is incomplete."""
        ...

    async def anomalies(self) -> Sequence[Finding]:
        """Return what was found outside the tree, once all bundles were read."""
        ...


@dataclass(frozen=True, slots=True)
class VerificationResult:
    """The result of a verification. ``findings`` is empty if the log verifies; the first one names the first bad index."""

    origin: str | None
    size: int
    checkpoints: int
    findings: Sequence[Finding]
    remarks: Sequence[str]
    restores: Sequence[ConfirmedRestore] = ()
    archived: int = 0
    """The number of leaves whose rows are in an archive and were not read."""

    waits_for_record: bool = False
    """Whether rows are missing under an archive whose record, or whose drop, is not signed yet."""

    keys: Collection[VerifierKey] = ()
    """The trusted keys, with those that trusted keys have signed."""

    malformed: Sequence[Finding] = ()
    """Records of archives that cannot be read and that are not in ``findings`` yet: see ``with_tables``."""

    @property
    def is_good(self) -> bool:
        """Whether the log verifies."""
        return not self.findings

    def with_malformed(self, texts: Sequence[str], *, tables_follow: bool) -> VerificationResult:
        """Return the result with the records of archives that cannot be read.

        ``tables_follow``: the tables are compared next, and ``with_tables`` is called with what differs.
        """
        found = [Finding(0, f"the record of an archive is malformed: {text[:80]}") for text in texts]
        return replace(self, malformed=found) if tables_follow else self._with(found)

    def with_tables(self, differing: Collection[StateFinding]) -> VerificationResult:
        """Return the result with those records of archives that cannot be read and that ``differing`` does not name.

        A finding about the table names the row and its leaf, so the same record is not reported again without its place.
        """
        named = {each.key for each in differing if each.table == ARCHIVES}
        return replace(self._with(self.malformed[len(named) :]), malformed=())

    def _with(self, found: Sequence[Finding]) -> VerificationResult:
        return replace(self, findings=sorted([*self.findings, *found]))


async def verify_log(
    source: LogSource,
    keys: Collection[VerifierKey],
    kept: Collection[str] = (),
    progress: Progress = lambda _done, _of: None,
    replay: StateReplay | None = None,
    archives: Collection[str] = (),
) -> VerificationResult:
    """Verify a log against its checkpoints and those the caller kept, with the trusted ``keys``.

    ``replay`` takes the leaves in order, to compare the tables with them: see ``VerificationResult.with_tables``.
    ``archives``: as for ``LogCheck``.

    Raises:
        NoteRefused: a kept checkpoint is malformed. Unavailable: the source cannot be read.
    """
    own, malformed = _parsed(await source.checkpoints())
    check = LogCheck([*own, *(SignedHead.parse(note, is_kept=True) for note in kept)], keys, archives)
    check.findings += malformed
    size = own[-1].head.size if own else 0
    for index in range(-(-size // WIDTH)):
        width = width_of(TileKey(0, index), size)
        leaves, hashes = list(await source.bundle(index, width)), await source.tile(TileKey(0, index))
        if not any(leaves) and not hashes:  # whatever a checkpoint claims, the leaves end here
            break
        leaves += [b""] * (width - len(leaves))
        if replay is not None:
            for place, leaf in enumerate(leaves, start=index * WIDTH):
                replay.take(place, leaf)
        for key, tile in check.add_bundle(leaves, hashes).items():
            check.check_tile(key, tile, await source.tile(key))
        progress(check.size, size)
    for key, tile in check.last_tiles().items():
        check.check_tile(key, tile, await source.tile(key))
    check.findings += await source.anomalies()
    check.finish()
    origin = own[-1].head.origin if own else None
    verdict = VerificationResult(
        origin, check.size, len(check.heads), check.findings, check.remarks, check.restores, check.archived.missing,
        check.archived.has_unrecorded, frozenset(check.keys),
    )  # fmt: skip
    return verdict.with_malformed(check.archived.malformed, tables_follow=replay is not None)


def _parsed(notes: Sequence[str]) -> tuple[list[SignedHead], list[Finding]]:
    heads: list[SignedHead] = []
    findings: list[Finding] = []
    for note in notes:
        try:
            heads.append(SignedHead.parse(note))
        except NoteRefused as refused:
            findings.append(Finding(heads[-1].head.size if heads else 0, f"a checkpoint after this: {refused}"))
    heads.sort(key=lambda signed: signed.head.size)
    return heads, findings


class StorageSource:
    """A log in its storage: every leaf is computed from its row."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._first = 0
        self._page: dict[int, LeafRow] | None = None
        self._tiles: dict[TileKey, bytes] = {}
        self._last: dict[LogName, int | None] = dict.fromkeys(LogName)
        self._oddities: list[Finding] = []
        self.size = 0
        """The number of leaves under the newest checkpoint."""
        self.waiting = 0
        """Rows committed and not yet in the tree, once ``anomalies`` was called."""
        self.unlike: list[tuple[LogName, int, str]] = []
        """The rows at which ``tail`` found a fault: log, position and fault."""

    async def checkpoints(self) -> Sequence[str]:
        """See ``LogSource.checkpoints``. The columns of a checkpoint must agree with its note."""
        newest = await self._newest()
        if newest is None:
            return []
        self.size = newest.size
        found = await self._thinned(newest)
        for before, checkpoint in zip([0, *(one.size for one in found)], found, strict=False):
            self._check_columns(before, checkpoint)
        return [checkpoint.note for checkpoint in found]

    async def archive_documents(self) -> Sequence[str]:
        """Return the records of all archives. Raises Unavailable."""
        return await archive_documents(self._storage)

    async def bundle(self, index: int, width: int) -> Sequence[bytes]:
        """See ``LogSource.bundle``."""
        first = index * WIDTH
        if self._page is None or not self._first <= first < self._first + PAGE_TILES * WIDTH:
            self._page = await self._turn(first)
        page = self._page
        rows = (page.get(number) for number in range(first, first + width))
        return [self._leaf(row) for row in rows]

    async def tile(self, key: TileKey) -> bytes:
        """See ``LogSource.tile``."""
        if key.level == 0 and key in self._tiles:
            return self._tiles[key]
        return (await self._storage.tiles([key])).get(key, b"")

    async def anomalies(self) -> Sequence[Finding]:
        """See ``LogSource.anomalies``: rows that the tree skips, and stored hashes that differ from those of their rows."""
        for log in LogName:
            self.waiting += len(await self._storage.row_positions(log, self._last[log], None, MAX_ODDITIES))
        return self._oddities

    async def tail(self) -> AsyncIterator[bytes]:
        """Yield the leaves of the rows that are not in the tree yet, once ``anomalies`` was called.

        Rows that cannot be decoded, or do not match their stored hash, are in ``unlike``.
        """
        self.unlike = []
        pending = {each.place: each.leaf_hash for each in await self._storage.unsequenced(CHECKPOINT_PAGE)}
        for log in LogName:
            after = self._last[log]
            while positions := await self._storage.row_positions(log, after, None, CHECKPOINT_PAGE):
                before = [after, *positions]
                for row in await self._rows(log, after, len(positions)) or [
                    row for place in before[:-1] for row in await self._rows(log, place, 1)
                ]:
                    if leaf := self._waiting_leaf(pending.get(RowPlace(log, row.position)), log, row):
                        yield leaf
                after = positions[-1]

    def _waiting_leaf(self, stored: bytes | None, log: LogName, row: LogRow[Any]) -> bytes | None:
        try:
            leaf = row_leaf(row.record)
        except (ValueError, TypeError):
            leaf = None
        if leaf is None or (stored is not None and stored != leaf_hash(leaf)):
            self.unlike.append((log, row.position, "the row does not match its stored hash"))
        return leaf

    async def _rows(self, log: LogName, after: int | None, limit: int) -> Sequence[LogRow[Any]]:
        """Return rows of a log; none if one of them cannot be decoded."""
        read: Any = self._storage.access_log if log is LogName.ACCESS else self._storage.purge_log
        found: Sequence[LogRow[Any]] | None = await readable(
            read(LogQuery(limit=limit, after=after, oldest_first=True))
        )
        if found is not None:
            return found
        if limit == 1:
            places = await self._storage.row_positions(log, after, None, 1)
            self.unlike += [(log, place, "the row cannot be decoded") for place in places]
        return ()

    async def _turn(self, first: int) -> dict[int, LeafRow]:
        count = PAGE_TILES * WIDTH
        if self.size:  # later leaves are waiting rows for ``tail``
            count = min(count, self.size - first)
        rows = await self._storage.leaf_rows(first, count)
        self._first = first
        keys = [TileKey(0, first // WIDTH + place) for place in range(PAGE_TILES)]
        self._tiles = dict(await self._storage.tiles(keys))
        for log in LogName:
            await self._look_between(log, [row for row in rows if row.place.log is log])
        for row, following in pairwise(rows):
            if row.index == following.index:
                self._oddity(row.index, f"the {row.place.log} log has two rows at its position {row.place.position}")
        return {row.index: row for row in rows}

    async def _look_between(self, log: LogName, rows: Sequence[LeafRow]) -> None:
        """Find rows without an index before rows that have one, and leaves out of the order of their rows."""
        if not rows:
            return
        index_of = {row.place.position: row.index for row in rows}
        until, after = max(index_of), self._last[log]
        found = await self._storage.row_positions(log, after, until, len(rows) + MAX_ODDITIES)
        for position in found:
            if position not in index_of:
                later = min(index for place, index in index_of.items() if place > position)
                self._oddity(
                    later, f"before it, the {log} log has a row, at position {position}, that is not in the tree"
                )
        order = [row.place.position for row in rows]
        for earlier, row in zip([after if after is not None else order[0] - 1, *order], rows, strict=False):
            if row.place.position <= earlier:
                self._oddity(row.index, f"its row, at position {row.place.position} of the {log} log, is out of order")
        self._last[log] = until

    def _leaf(self, row: LeafRow | None) -> bytes:
        if row is None or row.record is None:
            return b""
        try:
            leaf = row_leaf(row.record)
        except (ValueError, TypeError):
            return b""
        if row.leaf_hash is not None and row.leaf_hash != leaf_hash(leaf):
            self._oddity(row.index, "the stored hash differs from that of the row")
        return leaf

    def _check_columns(self, before: int, checkpoint: Checkpoint) -> None:
        try:
            head = SignedHead.parse(checkpoint.note).head
        except NoteRefused:
            return  # the reader of the note reports it
        if (head.origin, head.size, head.root) != (checkpoint.origin, checkpoint.size, checkpoint.root):
            self._oddity(before, f"the columns of the checkpoint of {checkpoint.size} leaves differ from its note")

    def _oddity(self, index: int, what: str) -> None:
        if len(self._oddities) < MAX_ODDITIES and Finding(index, what) not in self._oddities:
            self._oddities.append(Finding(index, what))

    async def _newest(self) -> Checkpoint | None:
        """Return the newest checkpoint that can be decoded. Another one is an anomaly."""
        try:
            return await self._storage.newest_checkpoint()
        except StorageUnavailable:
            raise
        except Unavailable:
            found = [page[-1] async for page in self._pages()]
            return found[-1] if found else None

    async def _thinned(self, newest: Checkpoint) -> list[Checkpoint]:
        """Return at most ``MAX_HEADS`` checkpoints, the newest among them, spread evenly over the leaves."""
        found: list[Checkpoint] = []
        step = max(1, newest.size // (MAX_HEADS - 1))
        due = 0
        async for page in self._pages():
            for checkpoint in page:
                if checkpoint.size >= due and checkpoint.size < newest.size:
                    found.append(checkpoint)
                    due = checkpoint.size + step
        return [*found, newest]

    async def _pages(self) -> AsyncIterator[Sequence[Checkpoint]]:
        """Yield all checkpoints in pages. One that cannot be decoded is an anomaly."""
        after = 0
        while True:
            page = await readable(self._storage.checkpoints(after, CHECKPOINT_PAGE))
            if page is None:
                page = await readable(self._storage.checkpoints(after, 1))
            if page is None:
                self._oddity(after, f"a checkpoint of more than {after} leaves cannot be decoded")
                after = await self._after_unreadable(after)
            elif page:
                yield page
                after = page[-1].size
            else:
                return

    async def _after_unreadable(self, after: int) -> int:
        """Return a size after which the next checkpoint can be decoded again, or none follows."""
        low, high = after, max(after + 1, await self._storage.tree_size())
        while high - low > 1:
            middle = (low + high) // 2
            if await readable(self._storage.checkpoints(middle, 1)) is None:
                low = middle
            else:
                high = middle
        return high
