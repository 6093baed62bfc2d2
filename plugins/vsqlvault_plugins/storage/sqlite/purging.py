"""Expired entries with their values, and how far a scrub has come."""

from __future__ import annotations

import sqlite3

from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.model.entry import Entry
from vsqlvault_plugins.storage.sql.pages import expired_parts
from vsqlvault_plugins.storage.sql.rows import SQLITE_ROWS
from vsqlvault_plugins.storage.sqlite.answers import stored
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES


def expired_page(connection: sqlite3.Connection, query: ExpiredQuery) -> list[tuple[Entry, bytes]]:
    """Return expired entries with their values, up to the page's two limits."""
    page: list[tuple[Entry, bytes]] = []
    size = 0
    for name, parameters in expired_parts(query):
        left = {"limit": query.limit - len(page)}
        cursor = connection.execute(QUERIES[f"expired_{name}"], stored({**parameters, **left}))
        for row in cursor:
            page.append((SQLITE_ROWS.entry_of(row), row[19]))
            size += len(row[19])
            if size >= query.byte_limit:
                cursor.close()
                return page
    return page


def scrub_reach(connection: sqlite3.Connection) -> tuple[int, int]:
    """Return the position of the newest row of the purge log, and the position up to which a scrub has covered it."""
    newest, through = connection.execute(QUERIES["scrub_reach"]).fetchone()
    return newest, through
