"""Problems of the vault (RFC 9457) as exceptions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from vsqlvault.client import errors
from vsqlvault.client.errors import FieldProblem, VaultError
from vsqlvault.client.wire import Answer

URN = "urn:vsqlvault:problem:"
_GROUPS: dict[int, type[VaultError]] = {
    304: errors.NotModified,
    401: errors.Unauthenticated, 403: errors.Denied, 423: errors.Denied, 404: errors.NotThere, 410: errors.NotThere,
    409: errors.Conflicting, 412: errors.PreconditionFailed, 429: errors.RateLimited, 501: errors.Invalid,
    502: errors.TemporarilyUnavailable, 503: errors.Unavailable, 504: errors.TemporarilyUnavailable,
}  # fmt: skip
_NOT_FOUND = 404
_CLIENT_ERRORS = range(400, 500)
_SERVER_ERRORS = range(500, 600)
_MAX_TEXT = 1024


def _below(kind: type[VaultError]) -> Iterator[type[VaultError]]:
    for each in kind.__subclasses__():
        yield each
        yield from _below(each)


BY_SLUG: dict[str, type[VaultError]] = {
    kind.slug: kind for kind in _below(VaultError) if "slug" in vars(kind) and "status" in vars(kind)
}
"""The class of each problem. Where the vault knows others, the class of their status is taken."""


def problem_of(answer: Answer, *, retry_after_seconds: float | None = None, maybe_applied: bool = False) -> VaultError:
    """Return the exception for an answer that is no success."""
    document = _document(answer)
    given = document.get("type")
    slug = given.removeprefix(URN) if isinstance(given, str) and given.startswith(URN) else None
    kind = BY_SLUG.get(slug or "") or _class_of(answer)
    return kind(
        _text(document.get("detail")),
        title=_text(document.get("title")) if slug else None,
        status=answer.status,
        slug=slug,
        request_id=answer.request_id,
        errors=[FieldProblem(field, expected) for field, expected in _fields(document.get("errors"))],
        retry_after_seconds=retry_after_seconds,
        maybe_applied=maybe_applied,
    )


def _class_of(answer: Answer) -> type[VaultError]:
    status = answer.status
    if status == _NOT_FOUND and answer.request_id and not answer.body:
        return errors.NotFound  # HEAD has no body to name the problem in
    if status in _GROUPS:
        return _GROUPS[status]
    if status in _CLIENT_ERRORS:
        return errors.Invalid
    return errors.Failed if status in _SERVER_ERRORS else errors.UnexpectedAnswer


def _document(answer: Answer) -> dict[str, Any]:
    """Return the problem document; empty where the answer has none, as that to a HEAD."""
    try:
        found = json.loads(answer.body) if answer.body else {}
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _text(value: Any) -> str | None:
    """Return a text that can be shown on a terminal and in a log."""
    if not isinstance(value, str) or not value:
        return None
    return "".join(each if each.isprintable() else "?" for each in value[:_MAX_TEXT])


def _fields(value: Any) -> Iterator[tuple[str, str]]:
    for each in value if isinstance(value, list) else ():
        if isinstance(each, dict):
            yield _text(each.get("field")) or "", _text(each.get("expected")) or ""
