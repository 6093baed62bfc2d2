"""Times: aware, in UTC, to the microsecond."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from functools import lru_cache

from vsqlvault.errors import InvalidTime

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_RFC3339 = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt]((?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d)(?:\.(\d+))?([Zz]|[+-](?:[01]\d|2[0-3]):[0-5]\d)",
    re.ASCII,
)
_MICROSECOND_DIGITS = 6


def utc_now() -> datetime:
    """Return the time of this machine's clock, aware and in UTC."""
    return datetime.now(UTC)


def to_micros(at: datetime) -> int:
    """Return whole microseconds since 1970-01-01T00:00:00Z."""
    return (at - EPOCH) // _MICROSECOND


def from_micros(micros: int) -> datetime:
    """Return the time ``micros`` microseconds after 1970-01-01T00:00:00Z."""
    return EPOCH + timedelta(microseconds=micros)


@lru_cache(maxsize=512)
def format_time(at: datetime) -> str:
    """Return RFC 3339 in UTC: ``2027-02-16T00:00:00Z``, with six fractional digits only if they are not zero.

    Results are cached, because the texts of one commit contain the same few times.
    """
    return (at if at.tzinfo is UTC else at.astimezone(UTC)).isoformat()[:-6] + "Z"


def parse_time(text: str) -> datetime:
    """Return the instant that an RFC 3339 text names: with seconds and an explicit offset.

    A fraction of a second may have any number of digits; those after the sixth are cut off.

    Raises:
        InvalidTime: for any other text, and for a time that UTC cannot represent.
    """
    found = _RFC3339.fullmatch(text)
    if found is None:
        raise InvalidTime("expected RFC 3339 with T, seconds and an offset, such as 2027-02-16T00:00:00Z")
    date, time, fraction, offset = found.groups()
    micros = f".{fraction[:_MICROSECOND_DIGITS]:0<{_MICROSECOND_DIGITS}}" if fraction else ""
    try:
        return datetime.fromisoformat(f"{date}T{time}{micros}{offset.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidTime("expected a time that exists, between the years 1 and 9999 in UTC") from None


def stored_time(text: str) -> datetime:
    """Return the instant of a text from a database, a log or a file.

    Raises:
        ValueError: as ``parse_time`` for ``InvalidTime``, which is an error of a request.
    """
    try:
        return parse_time(text)
    except InvalidTime as error:
        raise ValueError(str(error)) from error
