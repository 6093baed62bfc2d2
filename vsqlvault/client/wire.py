"""One request to the vault, and one answer, without a transport: what both clients share."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urlencode

from vsqlvault.client.errors import FieldProblem, InvalidPath, InvalidTime, UnexpectedAnswer, ValidationFailed

Result = TypeVar("Result")
Item = TypeVar("Item")
Time = datetime | str
"""An aware ``datetime``, or RFC 3339 text."""

_PURPOSE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_EXTERNAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,255}")
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,127}")
_ID = re.compile(r"[A-Za-z0-9._:@~-]{1,256}")
_DURATION = re.compile(r"([0-9]{1,7})([wdhms])", re.ASCII)
_UNITS = {"w": "weeks", "d": "days", "h": "hours", "m": "minutes", "s": "seconds"}


class Keep(Enum):
    """What an update leaves as it is."""

    KEEP = "keep"


KEEP = Keep.KEEP


class Repeat(Enum):
    """Whether a request may be sent again after its answer was lost on the way.

    A request that never reached the vault, or that the vault refused to begin, may always be sent again.
    """

    READ = "read"
    """Nothing changes: always."""
    IDEMPOTENT = "idempotent"
    """Something changes, but a second time changes nothing further: always."""
    ONCE = "once"
    """A second time would do it twice: never."""


@dataclass(frozen=True)
class Answer:
    """A whole answer. The names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)

    @property
    def request_id(self) -> str | None:
        """The id of the request, as the vault recorded it."""
        return self.headers.get("x-request-id")

    def document(self) -> dict[str, Any]:
        """Return the body, a JSON object. Raises UnexpectedAnswer."""
        try:
            found = json.loads(self.body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise self.unexpected("expected a JSON object")
        return found

    def text(self) -> str:
        """Return the body, a text. Raises UnexpectedAnswer."""
        try:
            return self.body.decode("utf-8")
        except UnicodeDecodeError:
            raise self.unexpected("expected a text in UTF-8") from None

    def unexpected(self, detail: str) -> UnexpectedAnswer:
        """Return the exception for an answer that no vault gives. It shows nothing of the body."""
        return UnexpectedAnswer(detail, status=self.status, request_id=self.request_id)


@dataclass(frozen=True)
class Request(Generic[Result]):
    """What to send, and how to read the answer. ``route`` is the path with its variables left as names."""

    method: str
    route: str
    path: str
    parse: Callable[[Answer], Result] = field(repr=False)
    repeat: Repeat
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True)
class Page(Generic[Item]):
    """Some items of a list, and the request for those after them; None where there are no more."""

    items: tuple[Item, ...]
    next: Request[Page[Item]] | None


def purpose_path(purpose: str) -> str:
    """Return the purpose, which may stand in a path as it is. Raises InvalidPath."""
    return _checked(_PURPOSE, purpose, "purpose", "1 to 64 of a-z, 0-9, _ and -")


def external_id_path(external_id: str) -> str:
    """Return the id of an entry, which may stand in a path as it is. Raises InvalidPath."""
    return _checked(_EXTERNAL_ID, external_id, "external_id", "1 to 256 of A-Z, a-z, 0-9, . _ : @ ~ and -")


def name_path(name: str) -> str:
    """Return the name of a policy or a legal hold, which may stand in a path as it is. Raises InvalidPath."""
    return _checked(_NAME, name, "name", "1 to 128 of a-z, 0-9, . _ and -")


def id_path(given: str) -> str:
    """Return an id that the vault gave, which may stand in a path as it is. Raises InvalidPath."""
    return _checked(_ID, given, "id", "an id that the vault gave")


def _checked(pattern: re.Pattern[str], text: Any, name: str, expected: str) -> str:
    if not isinstance(text, str) or not pattern.fullmatch(text):
        raise InvalidPath(errors=[FieldProblem(name, expected)])
    return str(text)


def query_of(**members: Any) -> str:
    """Return the query string, with its question mark, of the members that are not None."""
    given = {name: _text(name, value) for name, value in members.items() if value is not None}
    return f"?{urlencode(given, quote_via=quote)}" if given else ""


def _text(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return time_text(name, value) if isinstance(value, datetime) else str(value)


def time_text(name: str, at: Time) -> str:
    """Return RFC 3339 in UTC. Raises InvalidTime: the time has no offset."""
    if isinstance(at, str):
        return at
    if not isinstance(at, datetime) or at.tzinfo is None or at.utcoffset() is None:
        raise InvalidTime(errors=[FieldProblem(name, "a datetime with a time zone")])
    return at.astimezone(timezone.utc).isoformat().replace("+00:00", "Z")


def read_time(text: str) -> datetime:
    """Return an instant that the vault wrote. Raises ValueError."""
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def duration(text: str | timedelta) -> timedelta:
    """Return how long ``2w``, ``90d``, ``12h``, ``30m`` or ``45s`` is. Raises ValidationFailed."""
    if isinstance(text, timedelta):
        return text
    match = _DURATION.fullmatch(text) if isinstance(text, str) else None
    if match is None:
        raise ValidationFailed(errors=[FieldProblem("ttl", "a number and w, d, h, m or s, such as 90d")])
    return timedelta(**{_UNITS[match[2]]: int(match[1])})


def json_body(document: Mapping[str, Any]) -> bytes:
    """Return JSON in UTF-8. Raises ValidationFailed: it has a value that JSON has not."""
    try:
        return json.dumps(document, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode("utf-8")
    except (TypeError, ValueError, RecursionError):
        raise ValidationFailed(
            errors=[FieldProblem("", "texts, finite numbers, booleans, lists and mappings")]
        ) from None


def whole(name: str, number: int) -> int:
    """Return a whole number. Raises ValidationFailed."""
    if isinstance(number, bool) or not isinstance(number, int):
        raise ValidationFailed(errors=[FieldProblem(name, "a whole number")])
    return number


def bytes_of(name: str, value: bytes | str) -> bytes:
    """Return bytes as they are, and text in UTF-8. Raises ValidationFailed: anything else, such as a number."""
    try:
        if isinstance(value, (bytes, bytearray, memoryview, str)):
            return value.encode("utf-8") if isinstance(value, str) else bytes(value)
    except UnicodeEncodeError:
        pass
    raise ValidationFailed(errors=[FieldProblem(name, "bytes or text")])


def texts(name: str, items: Sequence[str]) -> list[str]:
    """Return a list of texts. Raises ValidationFailed, also for one text: it would be a list of its letters."""
    if isinstance(items, (str, bytes)) or not isinstance(items, Iterable):
        raise ValidationFailed(errors=[FieldProblem(name, "a list of texts")])
    return list(items)


def without_none(**members: Any) -> dict[str, Any]:
    """Return the members that are not None."""
    return {name: value for name, value in members.items() if value is not None}


def conditions(
    if_match: str | None, *, if_none_match: str | None = None, create_only: bool = False
) -> tuple[tuple[str, str], ...]:
    """Return the headers of a conditional request. ``create_only`` is ``If-None-Match: *``."""
    if if_match is not None and create_only:
        raise ValidationFailed(errors=[FieldProblem("if_match", "not together with create_only")])
    for name, tag in (("if_match", if_match), ("if_none_match", if_none_match)):
        if tag is not None and not (isinstance(tag, str) and tag.isascii()):
            raise ValidationFailed(errors=[FieldProblem(name, "an entity tag, such as the etag of an entry")])
    given = (("If-Match", if_match), ("If-None-Match", "*" if create_only else if_none_match))
    return tuple((name, tags) for name, tags in given if tags is not None)


def is_one_version(if_match: str | None) -> bool:
    """Whether the condition names versions: ``*`` fits any."""
    return if_match is not None and if_match.strip() != "*"


def members_of(document: Mapping[str, Any], name: str, answer: Answer) -> Iterable[Any]:
    """Return the list that stands under a name. Raises UnexpectedAnswer."""
    found = document.get(name)
    if not isinstance(found, list):
        raise answer.unexpected(f"expected a list {name}")
    return found
