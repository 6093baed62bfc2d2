"""What commands print: tables for people, JSON for programs, colour on a terminal only."""

from __future__ import annotations

import argparse
import json
import os
import sys
from base64 import b64encode
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from typing import Any, TextIO

GREEN, YELLOW, RED, BOLD, PLAIN = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[1m", "\x1b[0m"
COLOURS = {
    "active": GREEN, "granted": GREEN, "allow": GREEN, "expired": YELLOW, "released": YELLOW, "purged": RED, "denied": RED,
    "deny": RED, "revoked": RED,
}  # fmt: skip
_INVISIBLE = "-"


def add_json(parser: argparse.ArgumentParser) -> None:
    """Add ``--json`` to a command that calls ``print_json`` for it."""
    parser.add_argument("--json", action="store_true", help="print JSON, one document a line")


def has_colour(stream: TextIO) -> bool:
    """Whether the stream is a terminal that shows colour, and ``NO_COLOR`` is not set (https://no-color.org)."""
    return stream.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def document_of(value: Any) -> Any:
    """Return a result as JSON types, in the words of the HTTP API."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: document_of(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return b64encode(value).decode("ascii")
    if isinstance(value, Mapping):
        return {name: document_of(member) for name, member in value.items()}
    return [document_of(each) for each in value] if isinstance(value, (list, tuple)) else value


def print_json(value: Any) -> None:
    """Print one JSON document on one line."""
    print(json.dumps(document_of(value), ensure_ascii=False, separators=(",", ":")), flush=True)


def print_members(value: Any) -> None:
    """Print the members of one result, a line each, those that are set."""
    members = {name: cell(member) for name, member in document_of(value).items() if member not in (None, [], {})}
    width = max(map(len, members), default=0)
    bold, plain = (BOLD, PLAIN) if has_colour(sys.stdout) else ("", "")
    for name, text in members.items():
        print(f"{bold}{name.ljust(width)}{plain}  {_coloured(text, text, sys.stdout)}")


class Table:
    """A table whose rows are printed as they come, a screenful at a time: widths are those of the rows printed together."""

    def __init__(self, columns: Sequence[str], *, rows_at_once: int = 200) -> None:
        self._columns = columns
        self._rows_at_once = rows_at_once
        self._waiting: list[list[str]] = []
        self._widths = [len(column) for column in columns]
        self._is_begun = False

    def add(self, value: Any) -> None:
        """Add the row of one result."""
        document = document_of(value)
        self._waiting.append([cell(document.get(column)) for column in self._columns])
        if len(self._waiting) >= self._rows_at_once:
            self.flush()

    def flush(self) -> None:
        """Print what was added."""
        rows, self._waiting = self._waiting, []
        self._widths = [max(width, *(len(row[place]) for row in rows), 0) for place, width in enumerate(self._widths)]
        if not self._is_begun:
            self._is_begun = True
            bold, plain = (BOLD, PLAIN) if has_colour(sys.stdout) else ("", "")
            print(bold + self._line([column.upper() for column in self._columns]) + plain)
        for row in rows:
            print(self._line(row))
        sys.stdout.flush()

    def _line(self, row: Sequence[str]) -> str:
        cells = [_coloured(text, text.ljust(width), sys.stdout) for text, width in zip(row, self._widths, strict=True)]
        return "  ".join(cells).rstrip()


def print_rows(columns: Sequence[str], rows: Iterable[Any], *, as_json: bool) -> None:
    """Print results as a table, or a JSON document a line."""
    if as_json:
        for row in rows:
            print_json(row)
        return
    table = Table(columns)
    for row in rows:
        table.add(row)
    table.flush()


def cell(value: Any) -> str:
    """Return a value as one line of text that cannot move a terminal's cursor."""
    if value is None:
        return _INVISIBLE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        value = ",".join(value) or _INVISIBLE
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "".join(each if each.isprintable() else "?" for each in text)


def _coloured(text: str, shown: str, stream: TextIO) -> str:
    colour = COLOURS.get(text)
    return f"{colour}{shown}{PLAIN}" if colour and has_colour(stream) else shown
