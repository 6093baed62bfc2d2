"""Expired entries with their values."""

from __future__ import annotations

from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.model.entry import Entry
from vsqlvault_plugins.storage.postgres.answers import answer
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql.pages import expired_parts
from vsqlvault_plugins.storage.sql.reading import fetch
from vsqlvault_plugins.storage.sql.rows import POSTGRESQL_ROWS


async def expired_page(connection: Connection, query: ExpiredQuery) -> list[tuple[Entry, bytes]]:
    """Return expired entries with their values, up to the page's two limits."""
    page: list[tuple[Entry, bytes]] = []
    left = query.byte_limit
    for name, parameters in expired_parts(query):
        if len(page) == query.limit or left <= 0:
            continue
        limits = {"limit": query.limit - len(page), "byte_limit": left}
        found = await answer(connection, fetch(QUERIES[f"expired_{name}"], **parameters, **limits))
        part = [(POSTGRESQL_ROWS.entry_of(row), row[19]) for row in found]
        part.sort(key=lambda pair: query.place_of(pair[0]))
        left -= sum(len(value) for _, value in part)
        page += part
    return page
