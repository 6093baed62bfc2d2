"""What the vault has recorded of archives and drops: where the rows are that it no longer has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.log_archive import ArchivedRows, LogArchive
from vsqlvault.model.times import format_time, from_micros, to_micros
from vsqlvault.proof.archive_drop import DropInvalid, DropRecord
from vsqlvault.proof.archive_record import ArchiveInvalid, ArchiveRecord
from vsqlvault.service.log.stored_rows import readable

CURSOR = "dropped archive "
"""Begins the names of the cursors whose position is the time of the newest row ``drop-archived`` of an archive, in
microseconds. The access log has no index of operations."""

MAX_ROWS = 1_000
MAX_PLACES = 3


async def save_drop(storage: Storage, number: int, row: AccessRecord) -> None:
    """Remember where the newest row about the drop of an archive is. Raises Unavailable."""
    await storage.save_cursor(f"{CURSOR}{number}", to_micros(row.at))


async def dropped_numbers(storage: Storage) -> Collection[int]:
    """Return the numbers of the archives of which rows may no longer be in the vault. Raises Unavailable."""
    return frozenset(_times(await storage.cursors()))


async def dropped_archives(storage: Storage) -> Sequence[LogArchive]:
    """Return the archives of which rows may no longer be in the vault, the oldest first. Raises Unavailable."""
    numbers = await dropped_numbers(storage)
    return [archive for archive in await storage.archives() if archive.number in numbers] if numbers else ()


async def archived_rows(storage: Storage) -> ArchivedRows | None:
    """Return what was dropped from the vault; None if nothing was. Raises Unavailable."""
    records = [record for archive in await dropped_archives(storage) if (record := _parsed(archive)) is not None]
    drops = [drop for record in records if (drop := await newest_drop(storage, record.number)) is not None]
    if not drops:
        return None
    row, newest = max(drops, key=lambda drop: drop[0].at)
    return ArchivedRows(
        archives=len(records),
        end=max(record.end for record in records),
        newest_row_at=max(record.newest_row_at for record in records),
        places=_places(records),
        absent_rows=sum(drop.absent_rows for _, drop in drops),
        min_days=newest.min_days,
        min_days_from=newest.min_days_from,
        enforced_at=row.at,
        enforced_by=newest.operator,
    )


async def where_archived(storage: Storage, first: int, end: int) -> str | None:
    """Return where the rows of leaves are of which some may no longer be in the vault; None: all are. Raises Unavailable."""
    found = [archive for archive in await dropped_archives(storage) if archive.first < end and first < archive.end]
    records = [record for archive in found if (record := _parsed(archive)) is not None]
    return _described(records) if records else None


async def where_all_archived(storage: Storage) -> str | None:
    """Return where the rows are that were dropped from the vault; None if none was. Raises Unavailable."""
    records = [record for archive in await dropped_archives(storage) if (record := _parsed(archive)) is not None]
    return _described(records) if records else None


async def archive_documents(storage: Storage) -> Sequence[str]:
    """Return the records of all archives; none if a row cannot be decoded, which the check of the tables reports."""
    archives = await readable(storage.archives())
    return [archive.document for archive in archives or ()]


async def newest_drop(storage: Storage, number: int) -> tuple[AccessRecord, DropRecord] | None:
    """Return the newest row about the drop of an archive, and its record; None if there is none. Raises Unavailable."""
    micros = _times(await storage.cursors()).get(number)
    if micros is None:
        return None
    at = from_micros(micros)
    query = LogQuery(
        limit=MAX_ROWS, since=at, until=at + timedelta(microseconds=1),
        equals={"operation": Operation.DROP_ARCHIVED.value, "outcome": Outcome.GRANTED.value},
    )  # fmt: skip
    for row in await storage.access_log(query):
        try:
            drop = DropRecord.parse(row.record.new_value)
        except DropInvalid:
            continue
        if drop.archive == number:
            return row.record, drop
    return None


def _parsed(archive: LogArchive) -> ArchiveRecord | None:
    try:
        return ArchiveRecord.parse(archive.document)
    except ArchiveInvalid:
        return None


def _places(records: Sequence[ArchiveRecord]) -> Sequence[str]:
    return list(dict.fromkeys(record.place for record in records))


def _described(records: Sequence[ArchiveRecord]) -> str:
    first, last = records[0], records[-1]
    numbers = f"archive {first.number}" if first is last else f"archives {first.number} to {last.number}"
    rows = f"leaves {first.first} to {last.end - 1}, rows up to {format_time(last.newest_row_at)}"
    return f"{numbers} ({rows}) in {', '.join(_places(records)[:MAX_PLACES])}"


def _times(cursors: Mapping[str, int]) -> dict[int, int]:
    found = {}
    for name, position in cursors.items():
        number = name.removeprefix(CURSOR)
        if name.startswith(CURSOR) and number.isascii() and number.isdigit():
            found[int(number)] = position
    return found
