"""Answers readings on a connection's thread."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from datetime import date, datetime, timedelta
from typing import Any

from vsqlvault.model.times import to_micros
from vsqlvault_plugins.storage.sql.dialect import SQLITE
from vsqlvault_plugins.storage.sql.reading import Answer, Reading
from vsqlvault_plugins.storage.sqlite.transactions import transaction

_MICROSECOND = timedelta(microseconds=1)
_STORED: Mapping[type, Callable[[Any], Any]] = {
    datetime: to_micros,
    timedelta: lambda span: span // _MICROSECOND,
    date: lambda day: day.toordinal() - 1,
    list: lambda values: json.dumps([_stored(value) for value in values]),
    tuple: lambda values: json.dumps([_stored(value) for value in values]),
}
"""How a parameter is stored: a time as microseconds, a day as a number, and a list as JSON text."""


def answer(connection: sqlite3.Connection, reading: Reading[Answer], consistently: bool = False) -> Answer:
    """Answer a reading. ``consistently``: all its queries from one state."""
    with transaction(connection, "begin_read") if consistently else nullcontext():
        try:
            wanted = next(reading)
            while True:
                sql, names = SQLITE.render(wanted.query)
                parameters = {name: wanted.parameters[name] for name in names}
                wanted = reading.send(connection.execute(sql, stored(parameters)).fetchall())
        except StopIteration as done:
            found: Answer = done.value
            return found


def stored(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Return parameters as SQLite stores them."""
    return {name: _stored(value) for name, value in parameters.items()}


def _stored(value: Any) -> Any:
    adapt = _STORED.get(type(value))
    return value if adapt is None else adapt(value)
