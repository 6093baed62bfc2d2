"""Reading JSON documents into the frozen result types."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import datetime
from functools import cache
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from vsqlvault.client.wire import Answer, read_time

Kind = TypeVar("Kind")
Convert = Callable[[Any], Any]


def read(kind: type[Kind], members: Any, answer: Answer, **known: Any) -> Kind:
    """Return a document as a result type. Members that the type has not are passed over; ``known`` ones are given.

    Raises:
        UnexpectedAnswer: a member is missing, or is not of its kind.
    """
    try:
        return _built(kind, members, known)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        wrong = error.args[0] if isinstance(error, KeyError) else kind.__name__
    raise answer.unexpected(f"expected the members of {kind.__name__}, found none that fits {wrong}")


def _built(kind: type[Kind], document: Mapping[str, Any], known: Mapping[str, Any]) -> Kind:
    values = dict(known)
    for name, convert, is_required in _plan(kind):  # type: ignore[arg-type]
        if name in values:
            continue
        if is_required or name in document:
            value = document[name]
            values[name] = value if convert is None else convert(value)
    return kind(**values)


@cache
def _plan(kind: type) -> tuple[tuple[str, Convert | None, bool], ...]:
    hints = get_type_hints(kind)
    return tuple(
        (each.name, _converter(hints[each.name]), each.default is MISSING and each.default_factory is MISSING)
        for each in fields(kind)
        if each.init
    )


def _converter(hint: Any) -> Convert | None:
    """Return what makes a value of the type from JSON; None: it is one already."""
    origin, arguments = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        (inner,) = [each for each in arguments if each is not type(None)]
        convert = _converter(inner)
        return None if convert is None else _optional(convert)
    if origin is tuple:
        convert = _converter(arguments[0])
        return tuple if convert is None else _each(convert)
    if hint is datetime:
        return read_time
    if isinstance(hint, type) and is_dataclass(hint):
        return lambda value: _built(hint, value, {})
    return None


def _optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _each(convert: Convert) -> Convert:
    return lambda value: tuple(convert(each) for each in value)
