"""RFC 8785 (JSON Canonicalization Scheme): one value, one sequence of bytes."""

from __future__ import annotations

import json
from typing import Any

import rfc8785

_SAFE_INTEGER = 2**53
_PLAIN = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def canonical_json(value: Any) -> bytes:
    """Return the RFC 8785 form of ``value`` in UTF-8.

    Raises:
        ValueError: for what the form cannot hold: integers beyond 2**53 - 1, NaN, infinities, lone surrogates.
    """
    if not _is_plain(value):
        return rfc8785.dumps(value)
    return _PLAIN.encode(value).encode("utf-8")


def _is_plain(value: Any) -> bool:
    """Whether Python's own writer gives the same form, many times faster.

    It does but for numbers with fractions, large ones, and the order of keys beyond ASCII.
    """
    kind = type(value)
    if kind is str:
        return True
    if kind is dict:
        return all(type(key) is str and key.isascii() and _is_plain(member) for key, member in value.items())
    if kind is list:
        return all(map(_is_plain, value))
    return value is None or kind is bool or (kind is int and abs(value) < _SAFE_INTEGER)
