"""Redirects and error pages."""

from __future__ import annotations

import re
from urllib.parse import quote

from vsqlvault.errors import VaultError
from vsqlvault.http.messages import Reply
from vsqlvault.http.pages.rendering import Renderer

SIGN_IN = "/sign-in"
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


def problem_page(error: VaultError, request_id: str) -> Reply:
    """Return an error as a page. It has fixed texts and the request id only."""
    variables = {"detail": error.detail or error.title(), "request_id": request_id}
    return _renderer.reply("problem.html", error.title(), variables, error.status)
