"""Parses JSON strictly and checks text."""

from __future__ import annotations

import json
import re
from decimal import Decimal, InvalidOperation
from math import isfinite
from typing import Any, NoReturn

from vsqlvault.errors import DuplicateKey, FieldError, InvalidJson, InvalidText, PayloadTooLarge, TooDeep
from vsqlvault.model.text import is_readable, is_storable, shown_name

MAX_DEPTH = 32
MAX_TOKENS = 32_768
_MAX_INTEGER = 2**53
_MAX_INTEGER_DIGITS = 17
_INTEGERS = "expected whole numbers between -(2**53 - 1) and 2**53 - 1"
_TOKENS = re.compile(rb'"(?:[^"\\]++|\\.)*+"?|[][{},]', re.DOTALL)
_LINE_BREAKS = str.maketrans("", "", "\t\n\r")


def parse_json(body: bytes) -> Any:
    """Return the value of a JSON text: UTF-8 without a mark, no key twice, no NaN, depth 32.

    Whole numbers are within 2**53, and every number is one that a double holds exactly as it is written.

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
    """Check every string of a JSON value, keys included.

    Raises:
        InvalidText: one has a character that ``is_readable`` refuses.
    """
    if isinstance(value, str):
        if not is_readable(value):
            raise InvalidText(errors=[FieldError(path, "text without invisible or control characters")])
    elif isinstance(value, dict):
        for key, member in value.items():
            check_text(key, path)
            check_text(member, f"{path}.{key}" if path else key)
    elif isinstance(value, list):
        for place, member in enumerate(value):
            check_text(member, f"{path}[{place}]")


def check_value_text(value: str, path: str) -> None:
    """Check a stored value, which nobody reads; it may have lines, for armoured ciphertext does. Raises InvalidText."""
    if not (value.isascii() and value.isprintable()) and not is_storable(value.translate(_LINE_BREAKS)):
        raise InvalidText(errors=[FieldError(path, "text without control characters; base64 takes any bytes")])


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
        raise DuplicateKey(errors=[FieldError(shown_name(_twice(pairs)), "one member of this name")])
    return members


def _twice(pairs: list[tuple[str, Any]]) -> str:
    """Return the first name that occurs again."""
    seen: set[str] = set()
    for name, _ in pairs:
        if name in seen:
            return name
        seen.add(name)
    raise ValueError("no name occurs twice")


def _no_constant(_: str) -> NoReturn:
    raise InvalidJson("expected a number, found NaN or an infinity")


def _integer(text: str) -> int:
    if len(text) > _MAX_INTEGER_DIGITS or abs(int(text)) >= _MAX_INTEGER:
        raise InvalidJson(_INTEGERS)
    return int(text)


def _float(text: str) -> float:
    """Return the number, if it comes back as it went in: the shortest decimal of the double is the one that was sent."""
    value = float(text)
    if not isfinite(value) or not _is_exact(text, value):
        raise InvalidJson("expected numbers that a double holds exactly as they are written, of up to 17 digits")
    if value.is_integer() and abs(value) >= _MAX_INTEGER:
        raise InvalidJson(_INTEGERS)
    return value


def _is_exact(text: str, value: float) -> bool:
    try:
        return Decimal(text) == Decimal(repr(value))
    except InvalidOperation:  # an exponent beyond those of Decimal
        return False


_DECODER = json.JSONDecoder(
    object_pairs_hook=_object, parse_constant=_no_constant, parse_int=_integer, parse_float=_float
)
