"""Reading base64url and JSON so that a text has one meaning, and a value one text."""

from __future__ import annotations

import base64
import json
from typing import Any, NoReturn


def base64url(text: str) -> bytes:
    """Return the bytes that a base64url text without padding stands for (RFC 7515, section 2).

    Raises:
        ValueError: it is not what its bytes encode to: other characters, padding, bits that are not used and not zero.
    """
    found = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))  # passes over what it does not know
    if base64.urlsafe_b64encode(found).rstrip(b"=").decode("ascii") != text:
        raise ValueError("more than one text for the same bytes")
    return found


def json_object(data: bytes) -> dict[str, Any]:
    """Return a JSON object: UTF-8 without a mark, no name twice at any depth, no NaN.

    Raises:
        ValueError: it is no such thing.
    """
    try:
        found = json.loads(data.decode("utf-8"), object_pairs_hook=_object, parse_constant=_no_constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError("expected an object")  # noqa: TRY004 - what callers catch is one kind
    return found


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a name twice")
    return members


def _no_constant(_: str) -> NoReturn:
    raise ValueError("no JSON number")
