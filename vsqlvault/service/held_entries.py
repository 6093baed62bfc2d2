"""Counting what legal holds keep. A storage knows nothing of selectors, so entries are looked at, without their values."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta

from vsqlvault.interfaces.storage import EntryQuery, Rulebook, Storage
from vsqlvault.model.entry import Entry, EntryState

PAGE = 1_000


async def count_held_expired(storage: Storage, book: Rulebook, purpose: str, now: datetime) -> int:
    """Return how many entries of the purpose are expired at ``now`` and kept by a hold."""
    if not any(hold.selector.purpose in {None, purpose} for hold in book.holds.values() if not hold.is_released):
        return 0
    query = EntryQuery(
        purpose=purpose,
        now=now,
        limit=PAGE,
        created_before=now - timedelta(days=book.retention[purpose].max_retention_days),
        state=EntryState.EXPIRED,
    )
    return sum([1 async for entry in _entries(storage, query) if book.holds_on(entry)])


async def _entries(storage: Storage, query: EntryQuery) -> AsyncIterator[Entry]:
    while True:
        page = await storage.entries(query)
        for entry in page:
            yield entry
        if len(page) < query.limit:
            return
        query = replace(query, after=page[-1].external_id)
