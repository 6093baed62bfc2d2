"""Cursors: where a page ended and what was asked for, sealed so that nobody can make one up."""

from __future__ import annotations

import binascii
import hashlib
import hmac
import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Any

from vsqlvault.errors import InvalidQuery

_SEAL_BYTES = 16


class Cursors:
    """Seals cursors with a secret that every process on one storage shares; a cursor works for one app and one route."""

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, app: str, route: str, query: dict[str, str], after: list[Any]) -> str:
        """Return a cursor for the page after ``after`` of ``query``."""
        content = json.dumps([query, after], separators=(",", ":")).encode("utf-8")
        return urlsafe_b64encode(self._mark(app, route, content) + content).rstrip(b"=").decode("ascii")

    def open(self, app: str, route: str, query: dict[str, str]) -> tuple[dict[str, str], list[Any] | None]:
        """Return the query to run, the cursor's members filled in, and where to go on; None without a cursor.

        Raises:
            InvalidQuery: the cursor is not ours, is another caller's or another route's, or the query contradicts it.
        """
        cursor = query.pop("cursor", None)
        if cursor is None:
            return query, None
        content = self._content(app, route, cursor)
        sealed, after = json.loads(content)
        for name, value in query.items():
            if name != "limit" and sealed.get(name) != value:
                raise InvalidQuery(f"the cursor was made without this {name}: leave it out, or leave out the cursor")
        return {**sealed, **query}, after

    def _content(self, app: str, route: str, cursor: str) -> bytes:
        try:
            raw = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        except (UnicodeEncodeError, binascii.Error):
            raise InvalidQuery("expected a cursor from this server") from None
        mark, content = raw[:_SEAL_BYTES], raw[_SEAL_BYTES:]
        if not hmac.compare_digest(mark, self._mark(app, route, content)):
            raise InvalidQuery("expected a cursor that this server gave to this caller, for this route")
        return content

    def _mark(self, app: str, route: str, content: bytes) -> bytes:
        message = json.dumps([app, route]).encode("utf-8") + b"\x00" + content
        return hmac.digest(self._secret, message, hashlib.sha256)[:_SEAL_BYTES]
