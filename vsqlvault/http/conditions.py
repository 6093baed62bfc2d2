"""Conditional requests (RFC 9110, section 13): creates entity tags and parses ``If-Match`` and ``If-None-Match``."""

from __future__ import annotations

import re

from vsqlvault.errors import InvalidHeader
from vsqlvault.http.messages import Request
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.rules.preconditions import VersionPreconditions

_TAG = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_ANY_ETAG = re.compile(_TAG)
_LIST = re.compile(rf"[ \t,]*{_TAG}(?:[ \t]*,(?:[ \t]*{_TAG})?)*[ \t]*")
_VERSION_ETAG = re.compile(r'"([1-9][0-9]{0,17})"')
_MAX_ETAGS = 64


@dataclass(frozen=True, slots=True)
class Conditions:
    """What ``If-Match`` and ``If-None-Match`` ask.

    ``tags`` are those of ``If-Match`` as they were sent, ``none_tags`` those of ``If-None-Match`` without their ``W/``, for
    that header compares weakly (RFC 9110, section 13.1.2). Each is None without the header, or where it is ``*``.
    """

    none_exists: bool
    any_match: bool
    tags: tuple[str, ...] | None
    none_tags: tuple[str, ...] | None


def read_conditions(request: Request) -> Conditions:
    """Return the conditions of the request.

    Raises:
        InvalidHeader: one of them is neither ``*`` nor a list of entity tags.
    """
    any_match, tags = _read(request, "If-Match")
    none_exists, none_tags = _read(request, "If-None-Match")
    return Conditions(
        none_exists, any_match, tags, None if none_tags is None else tuple(tag.removeprefix("W/") for tag in none_tags)
    )


def _read(request: Request, name: str) -> tuple[bool, tuple[str, ...] | None]:
    """Return whether the header is ``*``, and its tags. Empty members of the list are ignored (RFC 9110, section 5.6.1)."""
    value = request.header(name.lower())
    if value is None:
        return False, None
    if value.strip() == "*":
        return True, None
    tags = tuple(_ANY_ETAG.findall(value)) if _LIST.fullmatch(value) else ()
    if not 0 < len(tags) <= _MAX_ETAGS:
        raise InvalidHeader(f"{name}: expected * or up to {_MAX_ETAGS} entity tags in quotes")
    return False, tags


def version_etag(version: int) -> str:
    """Return the entity tag of a version of a policy or a legal hold. Versions of one name are never reused."""
    return f'"{version}"'


def read_version_preconditions(request: Request) -> VersionPreconditions:
    """Return the condition on the version in force. A foreign tag matches no version. Raises InvalidHeader."""
    asked = read_conditions(request)
    match, none_match = _versions(asked.tags), _versions(asked.none_tags)
    return VersionPreconditions(asked.none_exists, asked.any_match, match, none_match)


def _versions(tags: tuple[str, ...] | None) -> frozenset[int] | None:
    if tags is None:
        return None
    return frozenset(int(found[1]) for tag in tags if (found := _VERSION_ETAG.fullmatch(tag)))
