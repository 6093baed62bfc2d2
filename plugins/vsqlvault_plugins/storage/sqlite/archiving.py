"""Records of archives, and the drop of archived rows."""

from __future__ import annotations

import sqlite3

from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.model.times import to_micros
from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.sql_files import load_queries

QUERIES = load_queries("vsqlvault_plugins.storage.sqlite", "archiving.sql")
INCREMENTAL = 2


def drop_archived(connection: sqlite3.Connection, log: LogName, first: int, limit: int) -> tuple[int | None, int]:
    """Drop archived rows of the next ``limit`` leaves, inside a transaction. Triggers reject every other row.

    Return the next leaf, or None if no archive has it, and the number of dropped rows.
    """
    (end,) = connection.execute(QUERIES["archived_end"]).fetchone()
    if first >= end:
        return None, 0
    span = {"first": first, "until": min(first + limit, end)}
    count = connection.execute(QUERIES["drop_rows"].format(log=log.value), span).rowcount
    connection.execute(QUERIES["drop_leaves"].format(log=log.value), span)
    return first + limit if first + limit < end else None, count


def reclaim(connection: sqlite3.Connection, pages: int) -> bool:
    """Shorten the file by at most ``pages`` free pages, where it can be shortened, and return whether there are more."""
    (kind,) = connection.execute(QUERIES["auto_vacuum"]).fetchone()
    if kind != INCREMENTAL:
        return False
    give_back = QUERIES["give_back"].format(pages=pages)
    connection.executescript(give_back)  # execute() ends it after one page before Python 3.12
    (left,) = connection.execute(QUERIES["free_pages"]).fetchone()
    return bool(left)


def newest_archive_is(connection: sqlite3.Connection, expected: NewestArchiveIs) -> bool:
    """Return whether the newest archive has this number."""
    (number,) = connection.execute(QUERIES["newest_archive"]).fetchone()
    return bool(number == expected.number)


def save_archive(connection: sqlite3.Connection, wanted: SaveArchive) -> None:
    """Add the record of an archive."""
    made = wanted.archive
    through = (made.access_through, made.purge_through)
    row = (made.number, made.first, made.end, *through, to_micros(made.at), made.document)
    connection.execute(QUERIES["put_archive"], row)
