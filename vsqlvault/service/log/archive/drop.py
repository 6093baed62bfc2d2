"""Drops archived rows of the log: verify the archive from its files, record the drop, delete in small transactions.

Every guard is checked before the first row is deleted. A run that is interrupted is repeated from the first step.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from datetime import datetime, timedelta

from vsqlvault.errors import TreeDamaged
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.principal import Call
from vsqlvault.model.times import format_time
from vsqlvault.model.transparency import LogName
from vsqlvault.proof.archive_check import ArchiveManifest
from vsqlvault.proof.archive_drop import BEGUN, ENDED, DropRecord
from vsqlvault.proof.archive_record import ArchiveInvalid, ArchiveRecord
from vsqlvault.proof.note import VerifierKey
from vsqlvault.proof.tiles import WIDTH
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.archive.archiver import check_gently
from vsqlvault.service.log.archive.files import ArchiveFiles, ArchiveUnusable
from vsqlvault.service.log.archive.pace import REST_OF_DROP, ArchivePace
from vsqlvault.service.log.archive.rows import newest_drop, save_drop
from vsqlvault.service.log.held_leaves import HeldLeaves
from vsqlvault.service.log.stored_tree import root_at
from vsqlvault.service.tasks import Lease

LEASE = "drop of archived rows"
LEASE_SECONDS = 60.0
RENEW_SECONDS = 20.0
DELIVERIES = ("export:", "observer:", "purge-method:")
"""The prefixes of the cursors that deliver rows."""
CHECKPOINTS = ":checkpoints"
SIGNED_WITHIN_SECONDS = 60.0
LOOK_AGAIN_SECONDS = 0.2
BEYOND = 2**62
"""An index beyond every leaf: a drop from it on deletes nothing, and shows whether this role may drop."""
PAGE = 4_096
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DropRules:
    """What a drop goes by. ``min_days`` is the age of the newest row of an archive, and ``min_days_from`` who set it.

    ``operator`` is the account and the host of the command. ``without``: deliveries that were given up, by name.
    ``again``: archives that were dropped before are gone through once more, for rows that nothing needs any longer.
    """

    min_days: int
    min_days_from: str
    operator: str
    without: frozenset[str] = frozenset()
    again: bool = False


@dataclass(frozen=True, slots=True)
class Dropped:
    """The result of a run: the record of each drop, and why the next archive stays; empty if there is none."""

    drops: Sequence[DropRecord] = field(default_factory=list)
    stays: str = ""


class ArchiveDropper:
    """Drops the rows of archives, the oldest first."""

    def __init__(
        self,
        storage: Storage,
        queue: CommitQueue,
        keys: Sequence[VerifierKey],
        rules: DropRules,
        sign: Callable[[], Awaitable[object]] | None = None,
        *,
        pace: ArchivePace | None = None,
        signed_within_seconds: float = SIGNED_WITHIN_SECONDS,
    ) -> None:
        """``keys`` verify the checkpoints. ``sign`` signs waiting rows where no server does; None: this process cannot."""
        self._storage = storage
        self._queue = queue
        self._keys = tuple(keys)
        self._rules = rules
        self._sign = sign
        self._pace = pace or ArchivePace(storage, REST_OF_DROP)
        self._signed_within_seconds = signed_within_seconds
        self._lease = Lease(storage, LEASE, LEASE_SECONDS, renew_after_seconds=RENEW_SECONDS)

    async def drop(self, call: Call, directories: Sequence[ArchiveFiles], now: datetime, progress: Progress) -> Dropped:
        """Drop the rows of every archive whose newest row is old enough, and return what was dropped.

        ``directories`` have the archives. ``now``: a time of the storage's clock that is sound.

        Raises:
            ArchiveUnusable: an archive is not there, does not verify, or is not the recorded one; a delivery has not passed
                its rows; ``without`` names no delivery; or nothing signs the record of the drop.
            TreeDamaged: the log of the vault is another one.
            SettingsInvalid: the storage cannot drop rows, or not as this role. Unavailable.
        """
        await self._require_deliveries()
        await self._storage.drop_archived(LogName.ACCESS, BEYOND, 1)
        try:
            await self._lead()
            dropped = Dropped()
            for archive in await self._storage.archives():
                if not self._rules.again and await self._has_ended(archive.number):
                    continue
                record = await self._recorded(archive)
                if stays := self._too_young(record, now):
                    return Dropped(dropped.drops, stays)
                await self._require_delivered(record)
                files = await self._verified(record, directories)
                dropped = Dropped([*dropped.drops, await self._drop(call, record, files, progress)])
            while await self._pace.timed(self._storage.reclaim()):
                await self._pace.rest()
            return dropped
        finally:
            await self._lease.release()

    async def _require_deliveries(self) -> None:
        """Check that each delivery that does not count exists. Raises ArchiveUnusable."""
        known = [name for name in await self._storage.cursors() if _delivers_rows(name)]
        for name in sorted(self._rules.without - set(known)):
            expected = (
                f"one of {', '.join(sorted(known))}" if known else "no such option, because nothing delivers rows"
            )
            raise ArchiveUnusable(f"--without: expected {expected}; found {name!a}{did_you_mean(name, known)}")

    async def _has_ended(self, number: int) -> bool:
        newest = await newest_drop(self._storage, number)
        return newest is not None and newest[1].state == ENDED

    async def _recorded(self, archive: LogArchive) -> ArchiveRecord:
        """Return the record of an archive, which must be that of its row. Raises ArchiveUnusable."""
        query = LogQuery(
            limit=PAGE, since=archive.at, until=archive.at + timedelta(microseconds=1),
            equals={"operation": Operation.ARCHIVE_LOG.value},
        )  # fmt: skip
        rows = await self._storage.access_log(query)
        if archive.document not in [row.record.new_value for row in rows]:
            raise ArchiveUnusable(
                f"archive {archive.number}: expected a row archive-log of the table's record, found none"
            )
        try:
            record = ArchiveRecord.parse(archive.document)
        except ArchiveInvalid as invalid:
            raise ArchiveUnusable(f"archive {archive.number}: {invalid}") from None
        if (record.number, record.first, record.end) != (archive.number, archive.first, archive.end):
            raise ArchiveUnusable(f"archive {archive.number}: a column of log_archives differs from the document")
        return record

    def _too_young(self, record: ArchiveRecord, now: datetime) -> str:
        from_then = record.newest_row_at + timedelta(days=self._rules.min_days)
        if from_then <= now:
            return ""
        return (
            f"archive {record.number} stays: its newest row is of {format_time(record.newest_row_at)}, and rows stay for"
            f" {self._rules.min_days} days (audit.min_days_at_hand), until {format_time(from_then)}"
        )

    async def _require_delivered(self, record: ArchiveRecord) -> None:
        for name, position in sorted((await self._storage.cursors()).items()):
            if not _delivers_rows(name) or name in self._rules.without:
                continue
            if position < record.end:
                raise ArchiveUnusable(
                    f"archive {record.number}: {name} has delivered the rows up to leaf {position}, expected {record.end}:"
                    f" wait for it, or, if it no longer exists, use --without {name}"
                )

    async def _verified(self, record: ArchiveRecord, directories: Sequence[ArchiveFiles]) -> ArchiveFiles:
        """Return the files of an archive, verified without the vault, and of the log that the vault has."""
        files, manifest = await asyncio.to_thread(_found, record, directories)
        if differences := manifest.differences(record):
            raise ArchiveUnusable(
                f"{files.manifest_file(record.number)}: not the recorded archive: {', '.join(differences)} differ"
            )
        if findings := await check_gently(files, record.number, self._keys, self._pace):
            raise ArchiveUnusable(f"{files.directory}: archive {record.number} does not verify: {findings[0]}")
        if await root_at(self._storage, manifest.head.size) != manifest.head.root:
            raise TreeDamaged(f"the first {manifest.head.size} leaves are not those of archive {record.number}")
        return files

    async def _drop(self, call: Call, record: ArchiveRecord, files: ArchiveFiles, progress: Progress) -> DropRecord:
        begun = DropRecord(
            archive=record.number, first=record.first, end=record.end, manifest_sha256=record.manifest_sha256, state=BEGUN,
            min_days=self._rules.min_days, min_days_from=self._rules.min_days_from, operator=self._rules.operator,
        )  # fmt: skip
        await self._signed(await self._record(call, begun))
        held = HeldLeaves(self._storage, files)
        for first in range(record.first, record.end, WIDTH):
            await self._lead()
            for low, high in await held.spans(first):
                await self._drop_span(low, high)
            progress(first + WIDTH - record.first, record.end - record.first)
        left = await self._left(record)
        ended = _ended(begun, record.end - record.first - left)
        await self._record(call, ended)
        return ended

    async def _drop_span(self, low: int, high: int) -> None:
        """Drop the rows of leaves, and pause after each transaction, so that commits need not wait for the next one."""
        for log in LogName:
            place: int | None = low
            while place is not None and place < high:
                place = await self._pace.timed(self._storage.drop_archived(log, place, high - place))
                await self._pace.rest()

    async def _left(self, record: ArchiveRecord) -> int:
        """Return the number of rows of an archive that are still in the vault."""
        count = 0
        for first in range(record.first, record.end, PAGE):
            count += len(await self._storage.leaf_rows(first, min(PAGE, record.end - first)))
            await self._pace.rest()
        return count

    async def _record(self, call: Call, drop: DropRecord) -> AccessRecord:
        context = AuditContext(call, Operation.DROP_ARCHIVED)
        context.observe(await self._queue.read())
        rows = f"leaves {drop.first} to {drop.end - 1}"
        what = f"{drop.absent_rows} rows of {rows} are dropped" if drop.state == ENDED else f"{rows}: the drop begins"
        if self._rules.without:
            what += f", without {', '.join(sorted(self._rules.without))}"
        row = context.granted(new_value=drop.text, detail=f"archive {drop.archive}: {what}")
        await self._queue.record(row)
        await save_drop(self._storage, drop.archive, row)
        return row

    async def _signed(self, row: AccessRecord) -> None:
        """Wait until the row is in the tree, under a checkpoint. Raises ArchiveUnusable."""
        began = time.monotonic()
        query = LogQuery(limit=PAGE, since=row.at, until=row.at + timedelta(microseconds=1))
        while True:
            rows = [each.position for each in await self._storage.access_log(query) if each.record == row]
            waiting = [leaf.place for leaf in await self._storage.unsequenced(PAGE)]
            size = await self._storage.tree_size()
            newest = await self._storage.newest_checkpoint()
            waits = [place.position for place in waiting if place.log is LogName.ACCESS]
            if rows and all(position > rows[-1] for position in waits) and newest is not None and newest.size >= size:
                return
            if self._sign is not None:
                await self._sign()
            if time.monotonic() - began >= self._signed_within_seconds:
                raise ArchiveUnusable(
                    f"expected a checkpoint over the record of the drop within {self._signed_within_seconds:g} seconds, found"
                    " none: run a server with the signing key, or give this command the key"
                )
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _lead(self) -> None:
        if not await self._lease.acquire():
            raise ArchiveUnusable("another run drops archived rows: wait for it, or for a minute if it was killed")


def _delivers_rows(cursor: str) -> bool:
    return cursor.startswith(DELIVERIES) and not cursor.endswith(CHECKPOINTS)


def _found(record: ArchiveRecord, directories: Sequence[ArchiveFiles]) -> tuple[ArchiveFiles, ArchiveManifest]:
    for files in directories:
        if (manifest := files.manifest(record.number)) is not None:
            return files, manifest
    where = ", ".join(str(files.directory) for files in directories)
    raise ArchiveUnusable(
        f"--archive: expected archive {record.number} (leaves {record.first} to {record.end - 1}) in {where}, found none:"
        f" it was written to {record.place}"
    )


def _ended(begun: DropRecord, absent: int) -> DropRecord:
    fields = {name: getattr(begun, name) for name in ("archive", "first", "end", "manifest_sha256")}
    fields |= {name: getattr(begun, name) for name in ("min_days", "min_days_from", "operator")}
    return DropRecord(**fields, state=ENDED, absent_rows=absent)
