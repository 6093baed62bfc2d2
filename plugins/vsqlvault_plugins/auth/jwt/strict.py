"""Parses base64url and JSON strictly, so that a text has one meaning and a value one text."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn


def base64url(text: str) -> bytes:
    """Return the bytes of a base64url text without padding (RFC 7515, section 2).

    Raises:
        ValueError: the text is not the encoding of its bytes: other characters, padding, or unused bits that are not
        zero.
    """
    found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))  # ignores unknown characters
    if base64.urlsafe_b64encode(found).rstrip(b"=").decode("ascii") != text:
        raise ValueError("not the canonical text for its bytes")
    return found


def json_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object: UTF-8 without a byte order mark, no duplicate name at any depth, no NaN.

    Raises:
        ValueError: for any other text.
    """
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - callers catch one kind of exception
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a duplicate name")
    return members


def _no_constant(_: str) -> NoReturn:
    raise ValueError("not a JSON number")
