"""Conditional requests (RFC 9110, section 13): creates entity tags and parses ``If-Match`` and ``If-None-Match``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from vsqlvault.errors import InvalidHeader
from vsqlvault.http.messages import Request
from vsqlvault.service.rules.preconditions import VersionPreconditions

_ANY_ETAG = re.compile(r'(?:W/)?"[\x21\x23-\x7e]*"')
_VERSION_ETAG = re.compile(r'"([1-9][0-9]{0,17})"')
_MAX_ETAGS = 64


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of both headers. ``tags`` are those of ``If-Match``; None if the header is absent or ``*``."""

    none_exists: bool
    any_match: bool
    tags: tuple[str, ...] | None


def read_conditions(request: Request) -> Conditions:
    """Return the conditions of the request.

    Raises:
        InvalidHeader: not a list of entity tags, or an ``If-None-Match`` other than ``*``.
    """
    none_match, match = request.header("if-none-match"), request.header("if-match")
    if none_match is not None and none_match.strip() != "*":
        raise InvalidHeader("If-None-Match: expected *")
    if match is None or match.strip() == "*":
        return Conditions(none_match is not None, match is not None, None)
    tags = tuple(tag.strip() for tag in match.split(","))
    if len(tags) > _MAX_ETAGS or not all(_ANY_ETAG.fullmatch(tag) for tag in tags):
        raise InvalidHeader("If-Match: expected * or entity tags in quotes")
    return Conditions(none_match is not None, False, tags)


def version_etag(version: int) -> str:
    """Return the entity tag of a version of a policy or a legal hold. Versions of one name are never reused."""
    return f'"{version}"'


def read_version_preconditions(request: Request) -> VersionPreconditions:
    """Return the condition on the version in force. A foreign tag matches no version. Raises InvalidHeader."""
    asked = read_conditions(request)
    match = None
    if asked.tags is not None:
        match = frozenset(int(found[1]) for tag in asked.tags if (found := _VERSION_ETAG.fullmatch(tag)))
    return VersionPreconditions(asked.none_exists, asked.any_match, match)
