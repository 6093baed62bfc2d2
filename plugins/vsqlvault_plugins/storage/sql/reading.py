"""Reads that say what to fetch and leave it to a storage how: SQLite's runs on a thread, PostgreSQL's awaits its server."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from vsqlvault_plugins.storage.sql.dialect import Parameters

Answer = TypeVar("Answer")
Other = TypeVar("Other")


class Fetch(NamedTuple):
    """A query, of which all rows are wanted. Parameters that the query does not name are not sent."""

    query: str
    parameters: Parameters


Reading: TypeAlias = Generator[Fetch, list[Any], Answer]
"""Yields each Fetch, is sent its rows, and returns the answer."""


def fetch(query: str, **parameters: Any) -> Reading[list[Any]]:
    """Return all rows of a query."""
    return (yield Fetch(query, parameters))


def fetch_one(query: str, **parameters: Any) -> Reading[Any]:
    """Return the first row of a query, or None."""
    rows = yield Fetch(query, parameters)
    return rows[0] if rows else None


def fetch_value(query: str, **parameters: Any) -> Reading[Any]:
    """Return the first column of the first row of a query, or None."""
    rows = yield Fetch(query, parameters)
    return rows[0][0] if rows else None


def both(first: Reading[Answer], second: Reading[Other]) -> Reading[tuple[Answer, Other]]:
    """Return both answers, of one reading after the other."""
    return (yield from first), (yield from second)
