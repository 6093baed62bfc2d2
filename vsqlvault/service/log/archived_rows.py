"""What the vault has recorded of archives and drops: where the rows are that it no longer has."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import timedelta

from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.log_archive import LogArchive
from vsqlvault.model.times import from_micros, to_micros
from vsqlvault.proof.archive_drop import DropInvalid, DropRecord
from vsqlvault.service.log.stored_rows import readable

CURSOR = "dropped archive "
"""Begins the names of the cursors whose position is the time of the newest row ``drop-archived`` of an archive, in
microseconds. The access log has no index of operations."""

MAX_ROWS = 1_000


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


def _times(cursors: Mapping[str, int]) -> dict[int, int]:
    found = {}
    for name, position in cursors.items():
        number = name.removeprefix(CURSOR)
        if name.startswith(CURSOR) and number.isascii() and number.isdigit():
            found[int(number)] = position
    return found
