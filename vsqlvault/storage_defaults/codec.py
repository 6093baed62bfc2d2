"""JSON of the model's dataclasses: for the values of items, and for the entries and rows of a storage."""

from __future__ import annotations

import json
import types
from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from vsqlvault.errors import Unavailable
from vsqlvault.model.times import format_time, parse_time

Value = TypeVar("Value")
_Reader = Callable[[Any], Any]
_TEXTS: dict[Any, _Reader] = {datetime: parse_time, bytes: bytes.fromhex}


def encode(value: object) -> bytes:
    """Return a dataclass, or another value of which ``decode`` knows the type, as JSON."""
    return json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def decode(kind: type[Value], text: bytes) -> Value:
    """Return the value that ``encode`` wrote.

    Raises:
        Unavailable: another program wrote the item.
    """
    try:
        found: Value = _reader(cast("Any", kind))(json.loads(text))
    except Exception as error:
        raise Unavailable(f"a stored item cannot be decoded: {kind.__name__}") from error
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, (datetime, Enum, bytes)):
        return _plain_text(value)
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value) if field.init}
    if isinstance(value, Mapping):
        return {_plain(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (set, frozenset)):
        return sorted(map(_plain, value))
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value


def _plain_text(value: datetime | Enum | bytes) -> Any:
    if isinstance(value, datetime):
        return format_time(value)
    return value.hex() if isinstance(value, bytes) else value.value


@cache
def _reader(kind: Any) -> _Reader:
    """Return the function that reads a value of a type from its JSON."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in {Union, types.UnionType}:
        (wanted,) = (one for one in arguments if one is not type(None))
        read = _reader(wanted)
        return lambda found: None if found is None else read(found)
    if origin in {tuple, frozenset}:
        made, read_each = origin, _reader(arguments[0])
        return lambda found: made(map(read_each, found))
    if origin is not None and issubclass(origin, Mapping):
        read_name, read_value = map(_reader, arguments)
        return lambda found: {read_name(name): read_value(each) for name, each in found.items()}
    if is_dataclass(kind):
        return _dataclass_reader(kind)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _named_tuple_reader(kind)
    return _TEXTS.get(kind) or _plain_reader(kind)


def _plain_reader(kind: Any) -> _Reader:
    if issubclass(kind, Enum):
        by_value = {member.value: member for member in kind}
        return by_value.__getitem__

    def read(found: Any) -> Any:
        if type(found) is not kind:
            raise TypeError(f"expected {kind.__name__}")
        return found

    return read


def _dataclass_reader(kind: Any) -> _Reader:
    hints = get_type_hints(kind)
    readers = {field.name: _reader(hints[field.name]) for field in fields(kind) if field.init}
    return lambda found: kind(**{name: readers[name](value) for name, value in found.items()})


def _named_tuple_reader(kind: Any) -> _Reader:
    readers = [_reader(hint) for hint in get_type_hints(kind).values()]
    return lambda found: kind(*(read(value) for read, value in zip(readers, found, strict=True)))
