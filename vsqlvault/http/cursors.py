"""Cursors: the position and the query of the next page, encrypted so that clients can neither forge nor read them."""

from __future__ import annotations

import hashlib
import hmac
import json
from base64 import urlsafe_b64encode
from typing import TYPE_CHECKING, Any

from vsqlvault.errors import InvalidQuery

if TYPE_CHECKING:
    from joserfc.jwk import OctKey

_HEADER = {"alg": "dir", "enc": "A256GCM"}
_START = urlsafe_b64encode(json.dumps(_HEADER, separators=(",", ":")).encode("ascii")).rstrip(b"=").decode("ascii")


class Cursors:
    """Encrypts cursors with a secret that every process on one storage shares. A cursor is valid for one app and one
    route.

    A cursor is a JWE (RFC 7516) under a key of that app and route, because its position may be an id that the app may
    not inspect.
    """

    def __init__(self, secret: bytes) -> None:
        self._secret = secret

    def seal(self, app: str, route: str, query: dict[str, str], after: list[Any]) -> str:
        """Return a cursor for the page after ``after`` of ``query``."""
        from joserfc import jwe  # noqa: PLC0415 - only pages need it, and it takes long to import

        content = json.dumps([query, after], separators=(",", ":"), ensure_ascii=False).encode("utf-8")
        return jwe.encrypt_compact(_HEADER, content, self._key(app, route))

    def open(self, app: str, route: str, query: dict[str, str]) -> tuple[dict[str, str], list[Any] | None]:
        """Return the query with the cursor's members, and the position to continue from, or None without a cursor.

        Raises:
            InvalidQuery: the cursor is invalid, belongs to another caller or route, or contradicts the query.
        """
        cursor = query.pop("cursor", None)
        if cursor is None:
            return query, None
        sealed, after = json.loads(self._content(app, route, cursor))
        for name, value in query.items():
            if name != "limit" and sealed.get(name) != value:
                raise InvalidQuery(f"the cursor was created without this {name}: omit it, or omit the cursor")
        return {**sealed, **query}, after

    def _content(self, app: str, route: str, cursor: str) -> bytes:
        from joserfc import jwe  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415

        refused = InvalidQuery("expected a cursor that this server returned to this caller for this route")
        if not cursor.startswith(f"{_START}.."):  # only this header is parsed
            raise refused
        try:
            content = jwe.decrypt_compact(cursor, self._key(app, route), algorithms=list(_HEADER.values())).plaintext
        except (JoseError, ValueError):
            raise refused from None
        if content is None:
            raise refused
        return content

    def _key(self, app: str, route: str) -> OctKey:
        from joserfc.jwk import OctKey  # noqa: PLC0415

        context = json.dumps(["cursor", app, route]).encode("ascii")
        return OctKey.import_key(hmac.digest(self._secret, context, hashlib.sha256))
