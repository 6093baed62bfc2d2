"""Many rows in one statement: all of them, in order, in whatever parts SQLite has room for."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

import pytest

from vsqlvault_plugins.storage.sqlite.many_rows import MOST, in_parts, put_rows

PUT = "INSERT INTO numbers (number, name) VALUES (?, ?)"


@pytest.fixture
def connection() -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    connection.execute("CREATE TABLE numbers (number INTEGER UNIQUE, name TEXT)")
    yield connection
    connection.close()


def rows(number: int) -> list[tuple[int, str]]:
    return [(place, f"VALUES (?, ?) {place}") for place in range(number)]


def test_no_rows_are_no_statement(connection) -> None:
    assert list(in_parts(connection, PUT, [])) == []


@pytest.mark.parametrize("number", [1, 2, 3, 7, 64, 100, MOST, MOST + 1, 2 * MOST + 5])
def test_every_row_is_put_once_and_in_order(connection, number) -> None:
    put_rows(connection, PUT, rows(number))
    assert connection.execute("SELECT number, name FROM numbers ORDER BY rowid").fetchall() == rows(number)


def test_a_part_is_no_larger_than_there_is_room_for_parameters(connection) -> None:
    connection.setlimit(sqlite3.SQLITE_LIMIT_VARIABLE_NUMBER, 9)
    assert sum(1 for _ in in_parts(connection, PUT, rows(9))) == 3
    assert connection.execute("SELECT count(*) FROM numbers").fetchone() == (9,)


def test_few_statements_are_made_of_one_however_many_rows_there_are(connection) -> None:
    made: set[int] = set()
    connection.set_trace_callback(lambda sql: made.add(sql.count("VALUES (?") + sql.count("), (")))
    for number in range(1, 200):
        connection.execute("DELETE FROM numbers")
        put_rows(connection, PUT, [(place, "n") for place in range(number)])
    assert len(made) <= 10


def test_what_the_database_refuses_is_raised(connection) -> None:
    with pytest.raises(sqlite3.IntegrityError):
        put_rows(connection, PUT, [*rows(5), (3, "again")])
