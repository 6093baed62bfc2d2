"""Redirects and error pages."""

from __future__ import annotations

import re
from collections.abc import Sequence
from urllib.parse import quote

from vsqlvault.errors import StorageUnavailable, VaultError
from vsqlvault.http.messages import Reply, Request
from vsqlvault.http.pages.rendering import Renderer

START, SIGN_IN = "/", "/sign-in"
_SEE_OTHER = 303
_MAX_NEXT = 1024
_NEXT = re.compile(
    r"/(?:[A-Za-z0-9._:@~-]+(?:/[A-Za-z0-9._:@~-]+)*)?(?:\?[A-Za-z0-9._:@~&=%+-]*)?", re.ASCII
)  # two slashes at its start would name another origin
_renderer = Renderer()


def redirect(path: str) -> Reply:
    """Return a reply that sends a browser to a path of this origin."""
    return Reply(_SEE_OTHER, b"", None, [("Location", path)])


def local_path(text: str | None) -> str:
    """Return a path of this origin, or ``/`` for any other text, so that nobody is sent to another site."""
    return text if text and len(text) <= _MAX_NEXT and _NEXT.fullmatch(text) else "/"


def to_sign_in(raw_path: bytes, raw_query: bytes) -> Reply:
    """Return the reply that sends a browser to sign in, and back to where it was."""
    target = (raw_path + (b"?" + raw_query if raw_query else b"")).decode("latin-1")
    return redirect(f"{SIGN_IN}?next={quote(target, safe='/')}" if local_path(target) == target else SIGN_IN)


def problem_page(error: VaultError, request: Request, headers: Sequence[tuple[str, str]] = ()) -> Reply:
    """Return an error as a page, with ``headers`` besides those of pages.

    Every text is fixed, a grammar, or the request id. The detail of an unavailable storage may contain its address: only
    admins and the log get it.
    """
    is_shown = request.is_admin or not isinstance(error, StorageUnavailable)
    variables = {
        "detail": error.detail if is_shown else None,
        "errors": error.errors,
        "request_id": request.request_id,
        **request.viewer,
    }
    reply = _renderer.reply("problem.html", error.title(), variables, error.status)
    reply.headers += headers
    return reply
