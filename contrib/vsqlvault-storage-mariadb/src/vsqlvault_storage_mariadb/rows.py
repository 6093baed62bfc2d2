"""Rows of the tables from the values of the model, and back: one column for each attribute, under its name."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from enum import Enum
from typing import Any, Generic, TypeVar, Union, get_args, get_origin, get_type_hints

from vsqlvault.errors import Unavailable
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryVersion
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import from_micros, to_micros

Value = TypeVar("Value")
Row = Sequence[Any]


class Table(Generic[Value]):
    """The columns of a dataclass. An entry version is two columns, ``entry_id`` and ``entry_version``."""

    def __init__(self, kind: type[Value]) -> None:
        self._kind = kind
        hints = get_type_hints(kind)
        self._types: Mapping[str, Any] = {one.name: _bare(hints[one.name]) for one in fields(kind)}  # type: ignore[arg-type]
        self.columns = tuple(
            column
            for name, wanted in self._types.items()
            for column in (("entry_id", "entry_version") if wanted is EntryVersion else (name,))
        )
        self.listed = ", ".join(self.columns)

    def row_of(self, value: Value) -> tuple[Any, ...]:
        """Return the columns of a value."""
        row: list[Any] = []
        for name, wanted in self._types.items():
            found = getattr(value, name)
            if wanted is EntryVersion:
                row += found or (None, None)
            else:
                row.append(_column(found))
        return tuple(row)

    def value_of(self, row: Row) -> Value:
        """Return the value of a row, which begins with ``columns``.

        Raises:
            Unavailable: another program wrote the row.
        """
        found, place = {}, 0
        try:
            for name, wanted in self._types.items():
                if wanted is EntryVersion:
                    found[name] = None if row[place] is None else EntryVersion(row[place], row[place + 1])
                    place += 2
                else:
                    found[name] = None if row[place] is None else _READERS.get(wanted, _reader(wanted))(row[place])
                    place += 1
            return self._kind(**found)
        except (ValueError, TypeError, OverflowError) as error:
            raise Unavailable(f"a stored row cannot be decoded: {self._kind.__name__}") from error


def _bare(hint: Any) -> Any:
    """Return the type without None."""
    if get_origin(hint) in {Union, types.UnionType}:
        (hint,) = (one for one in get_args(hint) if one is not type(None))
    return hint


def _column(found: Any) -> Any:
    if isinstance(found, datetime):
        return to_micros(found)
    if isinstance(found, bool):
        return int(found)
    return found.value if isinstance(found, Enum) else found


def _reader(wanted: Any) -> Callable[[Any], Any]:
    return wanted if isinstance(wanted, type) and issubclass(wanted, Enum) else lambda found: found


_READERS: Mapping[Any, Callable[[Any], Any]] = {datetime: from_micros, bool: bool}
ENTRIES = Table(Entry)
ACCESS_LOG = Table(AccessRecord)
PURGE_LOG = Table(PurgeRecord)
