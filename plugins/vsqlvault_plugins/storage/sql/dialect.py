"""What SQLite and PostgreSQL write differently. The queries beside this module are the same for both."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NamedTuple

from vsqlvault_plugins.storage.sql_files import load_queries

_OF_DAYS_IN_SQLITE = """json_each(:{{0}}) AS cut CROSS JOIN entries AS e INDEXED BY {index}
      ON e.purpose = :purpose AND e.purged_at IS NULL
      AND e.{at} >= -62135596800000000 + cut.value * 86400000000
      AND e.{at} < -62135596800000000 + (cut.value + 1) * 86400000000"""
_OF_DAYS = """unnest(:{{0}}::date[]) AS cut CROSS JOIN LATERAL (
        SELECT * FROM vault.entries AS e
        WHERE e.purpose = :purpose AND e.purged_at IS NULL
          AND e.{at} >= cut::timestamp AT TIME ZONE 'UTC' AND e.{at} < (cut + 1)::timestamp AT TIME ZONE 'UTC'
        OFFSET 0
    ) AS e"""
FRAGMENTS: Mapping[str, tuple[str, str]] = {
    # name in a query: SQLite, PostgreSQL. {0}, {1} and {2} are the fragment's arguments.
    "vault": ("", "vault."),
    # A list of texts that is one parameter, for IN.
    "texts": ("(SELECT value FROM json_each(:{0}))", "(SELECT unnest(:{0}::text[]))"),
    # PostgreSQL compares with the few days of an array faster than it probes a hash table.
    "not_on": ("NOT IN (SELECT value FROM json_each(:{0}))", "<> ALL (:{0}::date[])"),
    # A day is a number in SQLite, counted from 0001-01-01, and a date in PostgreSQL.
    "created_day": ("created_day", "created_on"),
    "expires_day": ("expires_day", "expires_on"),
    "day_of": ("({0} + 62135596800000000) / 86400000000", "({0} AT TIME ZONE 'UTC')::date"),
    # The newest row of each name: of a table, its column with the name and its column with the version.
    "each": ("", "DISTINCT ON ({0})"),
    "newest": (
        "WHERE {2} = (SELECT max({2}) FROM {0} WHERE {1} = newest.{1}) ORDER BY {1}",
        "ORDER BY {1}, {2} DESC",
    ),
    # Keeps SQLite from the index by this column. PostgreSQL has no such operator for times.
    "plus": ("+", ""),
    # SQLite's planner knows nothing of the table's rows, and keeps the order of a cross join.
    "indexed_by": ("INDEXED BY {0}", ""),
    # The tallies of PostgreSQL have the database's collation.
    "by_bytes": ("", 'COLLATE "C"'),
    # The rows of a view of a log in each of the parts, by position. OFFSET 0 keeps PostgreSQL from the index by time.
    "rows_of_parts": (
        "parts CROSS JOIN {0} AS u ON u.position >= parts.first AND u.position <= parts.last",
        (
            "parts CROSS JOIN LATERAL (SELECT * FROM vault.{0} AS u"
            " WHERE u.position >= parts.first AND u.position <= parts.last OFFSET 0) AS units"
        ),
    ),
    # The tallies of whole blocks. PostgreSQL estimates an array well, and so groups them by hashes instead of by sorting.
    "tallies_of_whole": (
        "whole CROSS JOIN {0} AS t ON t.block = whole.block",
        "vault.{0} AS t WHERE t.block = ANY (ARRAY(SELECT block FROM whole))",
    ),
    # The step of a lag: the smallest bound that it does not exceed, or null. PostgreSQL reads the bounds once a query.
    "lag_step": (
        "(SELECT min(up_to) FROM lag_steps WHERE up_to >= {0})",
        (
            "(ARRAY(SELECT up_to FROM vault.lag_steps ORDER BY up_to))[1 + width_bucket("
            "{0} - interval '1 microsecond', ARRAY(SELECT up_to FROM vault.lag_steps ORDER BY up_to))]"
        ),
    ),
    # The entries e of a purpose that end, or were made, on the days of a list. Each day is looked up in the index by time.
    "entries_ending_on": (
        _OF_DAYS_IN_SQLITE.format(at="expires_at", index="entries_by_expiry"),
        _OF_DAYS.format(at="expires_at"),
    ),
    "entries_made_on": (
        _OF_DAYS_IN_SQLITE.format(at="created_at", index="entries_by_creation"),
        _OF_DAYS.format(at="created_at"),
    ),
}
_FRAGMENT = re.compile(r"\{(\w+)(?::([\w.,]+))?\}")
_PARAMETER = re.compile(r"(?<![:\w]):([a-z]\w*)")


class Statement(NamedTuple):
    """A query as a driver takes it. ``names`` are its parameters: those of ``$1``, ``$2`` and so on in PostgreSQL."""

    sql: str
    names: tuple[str, ...]


class Dialect:
    """Renders the shared queries. A place in FRAGMENTS, and whether parameters have numbers in place of names."""

    def __init__(self, place: int, *, is_numbered: bool) -> None:
        self._place = place
        self._is_numbered = is_numbered
        self.render: Callable[[str], Statement] = lru_cache(maxsize=512)(self._render)
        """Return the statement of a query, which is kept."""

    def _render(self, query: str) -> Statement:
        text = _FRAGMENT.sub(lambda found: FRAGMENTS[found[1]][self._place].format(*(found[2] or "").split(",")), query)
        names = tuple(dict.fromkeys(_PARAMETER.findall(text)))
        if not self._is_numbered:
            return Statement(text, names)
        return Statement(_PARAMETER.sub(lambda found: f"${names.index(found[1]) + 1}", text), names)


SQLITE = Dialect(0, is_numbered=False)
POSTGRESQL = Dialect(1, is_numbered=True)


class Queries:
    """The queries of a file beside this module, by name."""

    def __init__(self, file_name: str) -> None:
        self._queries = load_queries("vsqlvault_plugins.storage.sql", file_name)

    def __getitem__(self, name: str) -> str:
        return self._queries[name]

    def with_parts(self, name: str, **parts: str) -> str:
        """Return a query with its ``{part}`` replaced. Other names in braces are fragments of the dialect."""
        query = self._queries[name]
        for part, text in parts.items():
            query = query.replace(f"{{{part}}}", text)
        return query


QUERIES = Queries("queries.sql")
Parameters = Mapping[str, Any]
