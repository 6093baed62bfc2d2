"""Iterates over expired entries that are not purged, without reading values."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import replace
from datetime import datetime, timedelta

from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.entry import Entry
from vsqlvault.model.policy import RetentionPolicy

PAGE = 1_000


async def walk_expired(
    storage: Storage, policy: RetentionPolicy, at: datetime, *, page: int = PAGE
) -> AsyncGenerator[Entry, None]:
    """Yield the entries of the policy's purpose that are expired at ``at``, longest expired first; ``page`` are read at once.

    Raises:
        Unavailable.
    """
    query = ExpiredQuery(
        purpose=policy.purpose,
        now=at,
        created_before=at - timedelta(days=policy.max_retention_days),
        limit=page,
        byte_limit=1,
    )
    while found := await storage.expired_entries(query):
        for entry in found:
            yield entry
        query = replace(query, after=query.place_of(found[-1]))
