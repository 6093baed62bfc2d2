"""Parses JSON strictly and checks text."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from vsqlvault.errors import DuplicateKey, FieldError, InvalidJson, InvalidText, PayloadTooLarge, TooDeep

MAX_DEPTH = 32
MAX_TOKENS = 32_768
_MAX_INTEGER = 2**53
_MAX_INTEGER_DIGITS = 17
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{},]', re.DOTALL)
_NON_CHARACTERS = "".join(f"{chr(plane * 0x10000 + 0xFFFE)}{chr(plane * 0x10000 + 0xFFFF)}" for plane in range(17))
_REFUSED = "\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef" + _NON_CHARACTERS
_REFUSED_TEXT = re.compile(f"[{_REFUSED}]")
_LINE_BREAKS = str.maketrans("", "", "\t\n\r")


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text: UTF-8 without a byte order mark, no duplicate key, no NaN, integers within
    2**53, depth 32.

    A body with more than ``MAX_TOKENS`` strings, brackets and commas is not parsed, because parsing megabytes of tiny
    values would delay other requests.

    Raises:
        InvalidJson, DuplicateKey, TooDeep, PayloadTooLarge.
    """
    if body.count(b"[") + body.count(b"{") + body.count(b",") > MAX_DEPTH:
        _check_tokens(body)
    try:
        return _DECODER.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        raise InvalidJson("expected UTF-8") from None
    except json.JSONDecodeError as error:
        raise InvalidJson(f"expected JSON, found something else at byte {error.pos}") from None
    except RecursionError:
        raise TooDeep from None


def check_text(value: Any, path: str = "") -> None:
    """Check every string of a JSON value, including keys.

    Raises:
        InvalidText: one contains a control character, a lone surrogate, a bidirectional override or a non-character.
    """
    if isinstance(value, str):
        if not (value.isascii() and value.isprintable()) and _REFUSED_TEXT.search(value):
            raise InvalidText(errors=[FieldError(path, "text without control characters and similar characters")])
    elif isinstance(value, dict):
        for key, member in value.items():
            check_text(key, path)
            check_text(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for place, member in enumerate(value):
            check_text(member, f"{path}[{place}]")


def check_value_text(value: str, path: str) -> None:
    """Check a stored value like ``check_text``, but allow line breaks, which armoured ciphertext contains."""
    if not (value.isascii() and value.isprintable()):
        check_text(value.translate(_LINE_BREAKS), path)


def _check_tokens(body: bytes) -> None:
    """Count tokens and depth in one pass, one string at a time. Text that is not JSON is left to the parser."""
    depth = 0
    for count, match in enumerate(_TOKENS.finditer(body), 1):
        if count > MAX_TOKENS:
            raise PayloadTooLarge(f"a body has at most {MAX_TOKENS} strings, brackets and commas")
        token = match[0]
        if token in b"[{":
            depth += 1
            if depth > MAX_DEPTH:
                raise TooDeep(f"at most {MAX_DEPTH} levels")
        elif token in b"]}":
            depth -= 1


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise DuplicateKey
    return members


def _no_constant(_: str) -> NoReturn:
    raise InvalidJson("expected a number, found NaN or an infinity")


def _integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_DIGITS or abs(int(text)) >= _MAX_INTEGER:
        raise InvalidJson("expected integers between -(2**53 - 1) and 2**53 - 1")
    return int(text)


def _float(text: str) -> float:
    value = float(text)
    if value in {float("inf"), float("-inf")}:
        raise InvalidJson("expected a number within the range of a double")
    return value


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer, parse_float=_float
)
