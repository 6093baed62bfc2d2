"""Error responses: RFC 9457 ``application/problem+json``."""

from __future__ import annotations

import json
from typing import Any

from vsqlvault.errors import CredentialRefused, MethodNotAllowed, StorageUnavailable, VaultError
from vsqlvault.http.messages import Reply, answer_of, default_headers
from vsqlvault.http.server.state import Answer
from vsqlvault.model.ids import new_id

CONTENT_TYPE = "application/problem+json"
URN = "urn:vsqlvault:problem:"
CHALLENGES = 'ApiKey realm="vsqlvault", Bearer realm="vsqlvault"'
"""The challenge of every 401. It does not reveal what was wrong (RFC 9110, section 11.6.1; RFC 6750, section 3)."""


def problem(error: VaultError, request_id: str, *, for_admin: bool = False) -> Reply:
    """Return the reply of an error. Every field is fixed text, a grammar, or the request id.

    The detail of an unavailable storage may contain its address: only admins and the log get it.
    """
    document: dict[str, Any] = {"type": URN + error.slug, "title": error.title(), "status": error.status}
    if error.detail and (for_admin or not isinstance(error, StorageUnavailable)):
        document["detail"] = error.detail
    document["request_id"] = request_id
    if error.errors:
        document["errors"] = [{"field": each.field, "expected": each.expected} for each in error.errors]
    reply = Reply(error.status, json.dumps(document, ensure_ascii=False).encode("utf-8"), CONTENT_TYPE)
    if error.retry_after_seconds is not None:
        reply.headers.append(("Retry-After", str(error.retry_after_seconds)))
    if isinstance(error, CredentialRefused):
        reply.headers.append(("WWW-Authenticate", CHALLENGES))
    if isinstance(error, MethodNotAllowed) and error.detail:
        reply.headers.append(("Allow", error.detail))
    return reply


def protocol_problem(error: VaultError) -> Answer:
    """Return the response for an error of the protocol, which has a request id of its own."""
    request_id = new_id()
    reply = problem(error, request_id)
    reply.headers += default_headers(request_id)
    return answer_of(reply, is_head=False)
