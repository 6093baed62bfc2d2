"""Writes many rows with one statement.

The driver releases Python's lock for each step of a statement, and has to get it back from a process that is busy. One
statement per row therefore makes a large batch slow.
"""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import chain

from vsqlvault_plugins.storage.sql.decoding import Row

MOST = 1024
"""The maximum number of rows per statement. Smaller numbers are powers of two, so that few statements are prepared."""
_ROW = re.compile(r"(?<=VALUES )\((?:\?, )*\?\)")


def in_parts(connection: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> Iterator[sqlite3.Cursor]:
    """Run ``sql``, which has one ``VALUES (?, …)``, with several rows at once, until no row is left.

    Yields the cursor after each statement.
    """
    start = 0
    while start < len(rows):
        number = _number(connection, len(rows) - start, len(rows[start]))
        part = rows[start : start + number]
        yield connection.execute(_repeated(sql, number), tuple(chain.from_iterable(part)))
        start += number


def put_rows(connection: sqlite3.Connection, sql: str, rows: Sequence[Row]) -> None:
    """Run the whole of ``in_parts``."""
    for _ in in_parts(connection, sql, rows):
        pass


def _number(connection: sqlite3.Connection, left: int, columns: int) -> int:
    room = connection.getlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER) // columns
    return 1 << (max(min(left, MOST, room), 1).bit_length() - 1)


@lru_cache(maxsize=128)
def _repeated(sql: str, number: int) -> str:
    return _ROW.sub(lambda row: ", ".join([row[0]] * number), sql, count=1)
