"""Reads every row of a table for verification, also beside rows that cannot be decoded.

A storage fails a page in which one row cannot be decoded. These functions then read smaller pages, so that only that row
is missing.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from vsqlvault.errors import StorageUnavailable, Unavailable
from vsqlvault.interfaces.storage import EntryQuery, PolicySnapshot, Read, RulesUnreadable, Storage
from vsqlvault.model.entry import Entry, EntryKey

PAGE = 1_000
INSTANT = timedelta(microseconds=1)
Row = TypeVar("Row")
ReadBelow = Callable[[int | None, int], Awaitable[Sequence[Row]]]
ReadBetween = Callable[[datetime, datetime], Awaitable[Sequence[Row]]]


async def readable(work: Awaitable[Row]) -> Row | None:
    """Return the result; None if a row cannot be decoded. Raises StorageUnavailable."""
    try:
        return await work
    except StorageUnavailable:
        raise
    except Unavailable:
        return None


async def policies(storage: Storage) -> tuple[PolicySnapshot, Sequence[tuple[str, str]]]:
    """Return the policies, legal holds and keys that can be decoded, and table and key of the rows that cannot.

    Raises Unavailable.
    """
    try:
        return await storage.policy_snapshot(), ()
    except Unavailable as error:
        if not isinstance(error.__cause__, RulesUnreadable):
            raise
        return error.__cause__.readable, error.__cause__.rows


async def numbered(
    read: ReadBelow[Row], number_of: Callable[[Row], int], known: Collection[int]
) -> AsyncIterator[Row | int | None]:
    """Yield the rows, newest first. For a row that cannot be decoded, yield its number if it is known, else None.

    ``read`` returns a page of rows below a number. ``known`` are the numbers that the log has. Raises StorageUnavailable.
    """
    before: int | None = None
    while True:
        page = await readable(read(before, PAGE))
        if page is None:
            page = await readable(read(before, 1))
        if page is not None:
            for row in page:
                yield row
            if not page:
                return
            before = number_of(page[-1])
            continue
        lower = max((number for number in known if before is None or number < before), default=None)
        if lower is None:
            yield None
            return
        if before != lower + 1 and await readable(read(lower + 1, 1)) is not None:
            yield None
            before = lower + 1
        else:
            yield lower
            before = lower


async def between(read: ReadBetween[Row], since: datetime, until: datetime) -> AsyncIterator[Row | None]:
    """Yield the rows whose time is in ``[since, until)``; None for an instant with a row that cannot be decoded.

    Raises StorageUnavailable.
    """
    spans = [(since, until)]
    while spans:
        start, end = spans.pop()
        rows = await readable(read(start, end))
        if rows is not None:
            for row in rows:
                yield row
        elif end - start <= INSTANT:
            yield None
        else:
            middle = start + (end - start) // 2
            spans += [(middle, end), (start, middle)]


async def entries(  # noqa: C901 - each case is a line
    storage: Storage, purpose: str, now: datetime, next_known: Callable[[str], str | None]
) -> AsyncIterator[Sequence[Entry] | str]:
    """Yield the entries of a purpose page by page. For an entry that cannot be decoded, yield its id instead.

    ``next_known`` returns the next id that the log has. If the log does not have the id, the id before it and an ellipsis
    are yielded. Raises StorageUnavailable.
    """
    after, skipped = "", False

    def page_of(limit: int) -> Awaitable[Sequence[Entry]]:
        return storage.entries(EntryQuery(purpose=purpose, now=now, limit=limit, after=after or None, state=None))

    while True:
        page = await readable(page_of(PAGE))
        if page is None:
            page = await readable(page_of(1))
        if page is not None:
            if skipped:
                yield f"{after} …"
            if not page:
                return
            yield page
            after, skipped = page[-1].external_id, False
            continue
        place = next_known(after)
        found = None if place is None else await readable(storage.read([Read(EntryKey(purpose, place))]))
        entry = found[0].entry if found else None
        if place is None or entry is not None:
            yield f"{after} …"
        elif found is None:
            yield place
        if place is None:
            return
        if entry is not None:
            yield [entry]
        after, skipped = place, found is not None and entry is None
