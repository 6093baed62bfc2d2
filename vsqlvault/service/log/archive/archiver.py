"""Writes archives of the log: export, read back and verify, then a row. The vault keeps the rows."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path

from vsqlvault.errors import TreeDamaged
from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.tree_storage import LeafRow
from vsqlvault.interfaces.writes import Committed, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.principal import Call
from vsqlvault.model.transparency import Checkpoint, LogName, TileKey
from vsqlvault.proof.archive_check import ArchiveCheck, ArchiveManifest, time_of
from vsqlvault.proof.archive_record import ArchiveRecord, KeptDigest
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.proof.note import VerifierKey
from vsqlvault.proof.tiles import WIDTH, keys_of, width_of
from vsqlvault.proof.tree import HASH_BYTES, leaf_hash
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.archive.files import ArchiveFiles, ArchiveUnusable
from vsqlvault.service.log.archive.pace import REST_OF_ARCHIVE, ArchivePace

READ_BUNDLES = 4
"""Rows are read in small ranges, so that no transaction lasts long: SQLite's write-ahead log cannot shrink meanwhile."""
CHECKED_BUNDLES = 16
CHECKPOINT_PAGE = 1_000
TILES_AT_ONCE = 256
Progress = Callable[[int, int], None]


class _Range:
    """The leaves of an archive that is being written, and their counts."""

    def __init__(self, number: int, first: int, end: int, checkpoint: Checkpoint) -> None:
        self.number = number
        self.first = first
        self.end = end
        self.checkpoint = checkpoint
        self.through = dict.fromkeys(LogName, 0)
        self.rows = dict.fromkeys(LogName, 0)
        self.kept = KeptDigest()
        self.newest: datetime | None = None

    def manifest(self) -> ArchiveManifest:
        """Return the manifest. Raises ArchiveUnusable: no row has a time."""
        if self.newest is None:
            raise ArchiveUnusable("expected rows with a time")
        return ArchiveManifest(
            number=self.number, first=self.first, end=self.end, access_rows=self.rows[LogName.ACCESS],
            purge_rows=self.rows[LogName.PURGE], kept_rows=self.kept.rows, kept_sha256=self.kept.sha256,
            newest_row_at=self.newest, checkpoint=self.checkpoint.note,
        )  # fmt: skip

    def record(self, manifest: ArchiveManifest, place: str) -> ArchiveRecord:
        """Return what the log records."""
        return ArchiveRecord(
            number=self.number, first=self.first, end=self.end, access_rows=manifest.access_rows,
            purge_rows=manifest.purge_rows, newest_row_at=manifest.newest_row_at,
            kept_rows=manifest.kept_rows, kept_sha256=manifest.kept_sha256, checkpoint_size=manifest.head.size,
            manifest_sha256=manifest.sha256, place=place, period_days=0,
        )  # fmt: skip


class LogArchiver:
    """Archives closed entry bundles of the log in a directory. Only a verified archive is recorded.

    A run that is interrupted leaves files and no row: the next run writes the same archive again. Rows are hashed, and files
    written and read, by ``asyncio.to_thread``, so that a command can give these threads a lower priority. The commit of the
    record must not have it: requests wait for the lock that this commit takes.
    """

    def __init__(
        self, storage: Storage, queue: CommitQueue, keys: Sequence[VerifierKey], *, pace: ArchivePace | None = None
    ) -> None:
        """``keys`` verify the checkpoint of the archive."""
        self._storage = storage
        self._queue = queue
        self._keys = tuple(keys)
        self._pace = pace or ArchivePace(storage, REST_OF_ARCHIVE)

    async def archive(
        self, call: Call, directory: Path, before: datetime | None, progress: Progress
    ) -> ArchiveRecord | None:
        """Archive the closed bundles under the newest checkpoint that was signed before ``before`` (None: under the newest).

        Return the record, or None if there is no closed bundle that is not archived yet.

        Raises:
            ArchiveUnusable: the directory cannot be used, what is read back does not verify, or another run was faster.
            TreeDamaged: a row is missing, or is not as it was signed. Unavailable.
        """
        archives = await self._storage.archives()
        wanted = await self._range(archives[-1] if archives else None, before)
        if wanted is None:
            return None
        files = ArchiveFiles(directory)
        await self._export(wanted, files, progress)
        manifest = wanted.manifest()
        await asyncio.to_thread(files.finish, manifest)
        await self._verify(files, manifest)
        record = wanted.record(manifest, await asyncio.to_thread(_place_of, directory))
        return await self._record(call, record, wanted.through)

    async def _range(self, newest: LogArchive | None, before: datetime | None) -> _Range | None:
        first, number = (newest.end, newest.number + 1) if newest else (0, 1)
        found: Checkpoint | None = None
        after = first
        while page := await self._storage.checkpoints(after, CHECKPOINT_PAGE):
            early = [each for each in page if before is None or each.signed_at < before]
            found = early[-1] if early else found
            if len(early) < len(page):
                break
            after = page[-1].size
        end = found.size // WIDTH * WIDTH if found else first
        if found is None or end <= first:
            return None
        wanted = _Range(number, first, end, found)
        if newest:
            wanted.through = {LogName.ACCESS: newest.access_through, LogName.PURGE: newest.purge_through}
        return wanted

    async def _export(self, wanted: _Range, files: ArchiveFiles, progress: Progress) -> None:
        """Write the bundles of the range, and every tile that the directory does not have."""
        size = wanted.checkpoint.size
        for index in range(wanted.first // WIDTH, wanted.end // WIDTH, READ_BUNDLES):
            count = min(READ_BUNDLES, wanted.end // WIDTH - index)
            await self._pace.timed(self._export_bundles(wanted, files, index, count))
            await self._pace.rest()
            progress((index + count) * WIDTH - wanted.first, wanted.end - wanted.first)
        missing: list[TileKey] = []
        for key in keys_of(size):
            if not files.has_tile(key, size) or key.level:
                missing.append(key)
            if len(missing) == TILES_AT_ONCE:
                await asyncio.to_thread(files.write_tiles, await self._tiles(missing, size), size)
                missing = []
        if missing:
            await asyncio.to_thread(files.write_tiles, await self._tiles(missing, size), size)

    async def _export_bundles(self, wanted: _Range, files: ArchiveFiles, index: int, count: int) -> None:
        size = wanted.checkpoint.size
        tiles = await self._tiles([TileKey(0, each) for each in range(index, index + count)], size)
        bundles = await self._bundles(wanted, index, count, tiles)
        await asyncio.to_thread(files.write_bundles, index, bundles)
        await asyncio.to_thread(files.write_tiles, tiles, size)

    async def _tiles(self, keys: Sequence[TileKey], size: int) -> dict[TileKey, bytes]:
        """Return tiles with their length in a tree of ``size``. Raises TreeDamaged."""
        found = await self._storage.tiles(keys)
        tiles = {key: found.get(key, b"")[: width_of(key, size) * HASH_BYTES] for key in keys}
        for key, hashes in tiles.items():
            if len(hashes) < width_of(key, size) * HASH_BYTES:
                raise TreeDamaged(f"tile {key.index} of level {key.level} is missing, or too short")
        return tiles

    async def _bundles(self, wanted: _Range, index: int, count: int, tiles: dict[TileKey, bytes]) -> list[list[bytes]]:
        """Return the leaves of bundles, each computed from its row, on a thread. Raises TreeDamaged."""
        rows = {row.index: row for row in await self._storage.leaf_rows(index * WIDTH, count * WIDTH)}
        return await asyncio.to_thread(
            lambda: [_leaves(wanted, each, tiles[TileKey(0, each)], rows) for each in range(index, index + count)]
        )

    async def _verify(self, files: ArchiveFiles, written: ArchiveManifest) -> None:
        """Read the archive back, and verify it without the storage. Raises ArchiveUnusable."""
        findings = await check_gently(files, written.number, self._keys, self._pace)
        manifest = files.manifest(written.number)
        if manifest != written:
            findings = [*findings, "the manifest is not the one that was written"]
        if findings:
            raise ArchiveUnusable(f"{files.directory}: the archive does not verify and is not recorded: {findings[0]}")

    async def _record(self, call: Call, record: ArchiveRecord, through: Mapping[LogName, int]) -> ArchiveRecord:
        context = AuditContext(call, Operation.ARCHIVE_LOG)
        context.observe(await self._queue.read())
        detail = f"archive {record.number}: leaves {record.first} to {record.end - 1}, in {record.place}"
        row = context.granted(new_value=record.text, detail=detail)
        made = LogArchive(
            number=record.number, first=record.first, end=record.end, access_through=through[LogName.ACCESS],
            purge_through=through[LogName.PURGE], at=row.at, document=record.text,
        )  # fmt: skip
        outcome = await self._queue.commit(Write((row,), (NewestArchiveIs(record.number - 1),), (SaveArchive(made),)))
        if not isinstance(outcome, Committed):
            raise ArchiveUnusable("another run has recorded an archive meanwhile: run the command again")
        return record


def _leaves(wanted: _Range, bundle: int, hashes: bytes, rows: Mapping[int, LeafRow]) -> list[bytes]:
    """Return the leaves of a bundle, and count them in ``wanted``. Raises TreeDamaged."""
    leaves: list[bytes] = []
    for place in range(WIDTH):
        row = rows.get(bundle * WIDTH + place)
        leaf = row_leaf(row.record) if row is not None and row.record is not None else b""
        found = leaf_hash(leaf)
        if row is None or found != hashes[place * HASH_BYTES : (place + 1) * HASH_BYTES]:
            raise TreeDamaged(f"leaf {bundle * WIDTH + place} is not as it was signed: run vsql-vault verify")
        wanted.rows[row.place.log] += 1
        wanted.through[row.place.log] = max(wanted.through[row.place.log], row.place.position)
        wanted.kept.take(leaf, found)
        at = time_of(leaf)
        wanted.newest = max(filter(None, (wanted.newest, at)), default=None)
        leaves.append(leaf)
    return leaves


def _place_of(directory: Path) -> str:
    return str(directory.resolve())


def check_files(files: ArchiveFiles, number: int, keys: Sequence[VerifierKey]) -> list[str]:
    """Verify one archive from its files alone, and return what is wrong. Raises ArchiveUnusable."""
    manifest = files.manifest(number)
    if manifest is None:
        return [f"archive {number} has no manifest"]
    check = files.check(manifest)
    _take(files, check, manifest.first // WIDTH, manifest.end // WIDTH)
    return check.finish(keys)


async def check_gently(files: ArchiveFiles, number: int, keys: Sequence[VerifierKey], pace: ArchivePace) -> list[str]:
    """As ``check_files``, beside a vault that serves: it pauses after some bundles."""
    manifest = await asyncio.to_thread(files.manifest, number)
    if manifest is None:
        return [f"archive {number} has no manifest"]
    check, end = files.check(manifest), manifest.end // WIDTH
    for first in range(manifest.first // WIDTH, end, CHECKED_BUNDLES):
        await pace.timed(asyncio.to_thread(_take, files, check, first, min(first + CHECKED_BUNDLES, end)))
        await pace.rest()
    return await asyncio.to_thread(check.finish, keys)


def _take(files: ArchiveFiles, check: ArchiveCheck, first: int, end: int) -> None:
    for index in range(first, end):
        check.take(index, files.bundle(index))
