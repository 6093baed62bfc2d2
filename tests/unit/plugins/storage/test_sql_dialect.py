"""Shared queries become statements of SQLite and of PostgreSQL, and say the same in both."""

from __future__ import annotations

import re
from datetime import date, timedelta

import pytest

from vsqlvault.testing import T0
from vsqlvault_plugins.storage.sql.dialect import FRAGMENTS, POSTGRESQL, QUERIES, SQLITE
from vsqlvault_plugins.storage.sql.entry_counts import COUNTS
from vsqlvault_plugins.storage.sql.log_counts import LOG_COUNTS
from vsqlvault_plugins.storage.sql.reading import Fetch, fetch, fetch_one, fetch_value
from vsqlvault_plugins.storage.sql_files import load_queries
from vsqlvault_plugins.storage.sqlite.answers import stored

FILES = {"queries.sql": QUERIES, "log_counts.sql": LOG_COUNTS, "entry_counts.sql": COUNTS}


def test_parameters_are_numbered_by_their_first_place_in_postgresql() -> None:
    query = "SELECT a FROM {vault}t WHERE b = :last AND c = :first::text AND d > :last"
    assert POSTGRESQL.render(query) == (
        "SELECT a FROM vault.t WHERE b = $1 AND c = $2::text AND d > $1",
        ("last", "first"),
    )


def test_parameters_keep_their_names_in_sqlite() -> None:
    assert SQLITE.render("SELECT a FROM {vault}t WHERE b = :last") == ("SELECT a FROM t WHERE b = :last", ("last",))


def test_a_fragment_takes_an_argument() -> None:
    assert SQLITE.render("a IN {texts:known}").sql == "a IN (SELECT value FROM json_each(:known))"
    assert POSTGRESQL.render("a IN {texts:known}").sql == "a IN (SELECT unnest($1::text[]))"


def test_a_statement_is_rendered_once() -> None:
    assert POSTGRESQL.render(QUERIES["revision"]) is POSTGRESQL.render(QUERIES["revision"])


def test_an_unknown_fragment_is_an_error() -> None:
    with pytest.raises(KeyError):
        SQLITE.render("SELECT {unknown}")


def test_every_fragment_is_used() -> None:
    text = "".join(
        query for name in FILES for query in load_queries("vsqlvault_plugins.storage.sql", name).values()
    ) + "{created_day}{expires_day}"  # fmt: skip
    assert {name for name in FRAGMENTS if not re.search(rf"\{{{name}[:}}]", text)} == set()


@pytest.mark.parametrize("name", FILES)
def test_no_query_stands_in_a_file_of_one_database_too(name: str) -> None:
    shared = load_queries("vsqlvault_plugins.storage.sql", name).keys()
    for package in ("sqlite", "postgres"):
        own = load_queries(f"vsqlvault_plugins.storage.{package}").keys()
        assert shared & own <= {"revision"}


def test_sqlite_stores_times_days_and_lists_as_numbers_and_text() -> None:
    wanted = {
        "at": T0,
        "for": timedelta(seconds=1),
        "day": date(1, 1, 2),
        "days": [date(1, 1, 1)],
        "names": ("ü",),
        "n": 3,
    }
    found = stored(wanted)
    assert found == {"at": found["at"], "for": 1_000_000, "day": 1, "days": "[0]", "names": '["\\u00fc"]', "n": 3}
    assert isinstance(found["at"], int)


@pytest.mark.parametrize(
    ("ask", "rows", "answer"),
    [
        (fetch, [(1, 2), (3, 4)], [(1, 2), (3, 4)]),
        (fetch_one, [(1, 2), (3, 4)], (1, 2)),
        (fetch_one, [], None),
        (fetch_value, [(1, 2), (3, 4)], 1),
        (fetch_value, [], None),
    ],
)
def test_a_reading_asks_for_rows_and_answers_with_them(ask, rows, answer) -> None:
    reading = ask("SELECT", name="x")
    assert next(reading) == Fetch("SELECT", {"name": "x"})
    with pytest.raises(StopIteration) as end:
        reading.send(rows)
    assert end.value.value == answer
