"""Finds the leaves that hold the rows of a period.

Rows have times and leaves have an order; the two agree only approximately, and only within one log. Within one log leaves
are ordered by position, so an index is found by binary search.
"""

from __future__ import annotations

from datetime import datetime

from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.interfaces.tree_storage import LeafRow
from vsqlvault.model.transparency import LogName

WINDOW = 64


async def leaf_range(storage: Storage, since: datetime, until: datetime, size: int) -> tuple[int, int]:
    """Return first index and end of the leaves, of the first ``size``, with every row whose time is in ``[since, until)``.

    Leaves in between may have other times. Without a match both are ``size``.

    Raises:
        Unavailable.
    """
    found = [
        each
        for each in (
            await _of_access(storage, since, until, size),
            await _of_purges(storage, since, until, size),
        )
        if each[0] < each[1]
    ]
    return (min(each[0] for each in found), max(each[1] for each in found)) if found else (size, size)


async def _of_access(storage: Storage, since: datetime, until: datetime, size: int) -> tuple[int, int]:
    first = await storage.access_log(LogQuery(limit=1, since=since, until=until, oldest_first=True))
    last = await storage.access_log(LogQuery(limit=1, since=since, until=until))
    if not first or not last:
        return size, size
    begin, is_leaf = await _index_of(storage, LogName.ACCESS, first[0].position, size)
    if not is_leaf:
        return size, size
    end, is_leaf = await _index_of(storage, LogName.ACCESS, last[0].position, size)
    return begin, end + is_leaf


async def _of_purges(storage: Storage, since: datetime, until: datetime, size: int) -> tuple[int, int]:
    first = await storage.purge_log(LogQuery(limit=1, since=since, until=until, oldest_first=True))
    last = await storage.purge_log(LogQuery(limit=1, since=since, until=until))
    if not first or not last:
        return size, size
    begin = await storage.purge_index(first[0].record.purge_id)
    end = await storage.purge_index(last[0].record.purge_id)
    return min(size if begin is None else begin, size), min(size if end is None else end + 1, size)


async def _index_of(storage: Storage, log: LogName, position: int, size: int) -> tuple[int, bool]:
    """Return the index of the row at a position, and True; if it is no leaf yet, one past all that precede it, and False."""
    low, high = await _bounds(storage, log, position, size)
    while low < high:
        middle = (low + high) // 2
        leaf = await _next_of(storage, log, middle, high)
        if leaf is None or leaf.place.position >= position:
            high = middle
        else:
            low = leaf.index + 1
    leaf = await _next_of(storage, log, low, size)
    return (leaf.index, True) if leaf is not None and leaf.place.position == position else (low, False)


async def _bounds(storage: Storage, log: LogName, position: int, size: int) -> tuple[int, int]:
    """Return the leaves between which a row is, by the archives: where archived rows were dropped, a search goes far."""
    low, high = 0, size
    for archive in await storage.archives():
        through = archive.access_through if log is LogName.ACCESS else archive.purge_through
        if through < position:
            low = archive.end
        else:
            return min(low, size), min(archive.end, size)
    return min(low, size), high


async def _next_of(storage: Storage, log: LogName, first: int, end: int) -> LeafRow | None:
    while first < end:
        for leaf in await storage.leaf_rows(first, min(WINDOW, end - first)):
            if leaf.place.log is log:
                return leaf
        first += WINDOW
    return None
