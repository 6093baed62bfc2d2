"""RFC 8785 (JSON Canonicalization Scheme): one byte sequence per value."""

from __future__ import annotations

import json
from typing import Any

import rfc8785

_SAFE_INTEGER = 2**53
_SAFE_DIGITS = 16
_PLAIN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 form of ``value`` in UTF-8.

    Raises:
        ValueError: for values without such a form: integers beyond 2**53 - 1, NaN, infinities, lone surrogates.
    """
    if not _is_plain(value):
        return rfc8785.dumps(value)
    return _PLAIN.encode(value).encode("utf-8")


def read_canonical(text: str) -> Any:
    """Return the value of an RFC 8785 text, so that ``canonical_json`` of it is that text again.

    Every number there is a double, and large ones have no fraction to show.
    """
    return _DECODER.decode(text)


def _number(text: str) -> int | float:
    return int(text) if len(text) < _SAFE_DIGITS else float(text)


_DECODER = json.JSONDecoder(parse_int=_number)


def _is_plain(value: Any) -> bool:
    """Whether Python's ``json`` produces the same form, which is many times faster.

    It does not for numbers with fractions, large numbers, and keys beyond ASCII.
    """
    kind = type(value)
    if kind is str:
        return True
    if kind is dict:
        return all(type(key) is str and key.isascii() and _is_plain(member) for key, member in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    return value is None or kind is bool or (kind is int and abs(value) < _SAFE_INTEGER)
