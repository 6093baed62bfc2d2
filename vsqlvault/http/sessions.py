"""The session cookie of a browser, and the tokens of its forms.

The cookie is a JWE that holds the credential, so that every request presents it again: a session ends with its credential.
Every process on one storage shares the key. No row and no log has the cookie.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from vsqlvault.errors import CredentialRefused, FormRefused
from vsqlvault.quick_dataclass import dataclass

if TYPE_CHECKING:
    from joserfc.jwk import OctKey

COOKIE = "__Host-vsqlvault"
FORM_COOKIE = "__Host-vsqlvault-form"
IDLE_SECONDS = 15 * 60
SESSION_SECONDS = 8 * 3600
MAX_CREDENTIAL_BYTES = 2048
"""A cookie of a longer credential would exceed the 4096 bytes that every browser keeps."""

CSRF_FIELD = "csrf"
_ATTRIBUTES = "Path=/; Secure; HttpOnly; SameSite=Strict"
_HEADER = {"alg": "dir", "enc": "A256GCM"}


@dataclass(frozen=True, slots=True)
class Session:
    """One session. ``header`` and ``credential`` are presented with each of its requests."""

    session_id: str
    header: str
    credential: str
    credential_id: str
    began_at: datetime
    seen_at: datetime

    def __repr__(self) -> str:
        return f"<session {self.session_id}>"


class Sessions:
    """Seals and opens cookies, and makes and checks form tokens."""

    def __init__(
        self, secret: bytes, *, idle_seconds: float = IDLE_SECONDS, session_seconds: float = SESSION_SECONDS
    ) -> None:
        """``idle_seconds``: how long a session lasts without a request; ``session_seconds``: in all."""
        self._cookie_key = hmac.digest(secret, b"session cookie", hashlib.sha256)
        self._form_key = hmac.digest(secret, b"session form", hashlib.sha256)
        self._idle = timedelta(seconds=idle_seconds)
        self._longest = timedelta(seconds=session_seconds)
        self._max_age = int(idle_seconds)

    @cached_property
    def _key(self) -> OctKey:
        from joserfc.jwk import OctKey  # noqa: PLC0415

        return OctKey.import_key(self._cookie_key)

    def cookie(self, session: Session, now: datetime) -> tuple[str, str]:
        """Return the ``Set-Cookie`` field of a session that is used now."""
        from joserfc import jwe  # noqa: PLC0415 - only browsers need it, and it takes long to import

        content = json.dumps([
            session.session_id, session.header, session.credential, session.credential_id,
            session.began_at.isoformat(), now.isoformat(),
        ])  # fmt: skip
        sealed = jwe.encrypt_compact(_HEADER, content.encode("utf-8"), self._key)
        return "Set-Cookie", f"{COOKIE}={sealed}; {_ATTRIBUTES}; Max-Age={self._max_age}"

    def open(self, cookie: str, now: datetime) -> Session:
        """Return the session of a cookie.

        Raises:
            CredentialRefused: the cookie is not the vault's (``session_invalid``), or the session has expired
                (``session_expired``).
        """
        from joserfc import jwe  # noqa: PLC0415
        from joserfc.errors import JoseError  # noqa: PLC0415

        try:
            content = jwe.decrypt_compact(cookie, self._key, algorithms=list(_HEADER.values())).plaintext
            session_id, header, credential, credential_id, began, seen = json.loads(content or b"")
            session = Session(
                session_id,
                header,
                credential,
                credential_id,
                datetime.fromisoformat(began),
                datetime.fromisoformat(seen),
            )
        except (JoseError, ValueError):
            raise CredentialRefused("session_invalid") from None
        if now - session.seen_at >= self._idle or now - session.began_at >= self._longest:
            raise CredentialRefused("session_expired", credential_id=session.credential_id)
        return replace(session, seen_at=now)

    def token(self, bound_to: str) -> str:
        """Return the token of the forms of one session, or of one cookie of the sign-in form."""
        return hmac.new(self._form_key, bound_to.encode("utf-8", "surrogateescape"), hashlib.sha256).hexdigest()

    def check_form(self, headers: Iterable[tuple[str, str]], sent: str | None, bound_to: str | None) -> None:
        """Check that a form came from a page of this origin, with the token of ``bound_to``. Raises FormRefused."""
        if not is_same_origin(headers) or not sent or bound_to is None:
            raise FormRefused
        if not hmac.compare_digest(sent.encode("utf-8", "replace"), self.token(bound_to).encode("ascii")):
            raise FormRefused


CLEARED = ("Set-Cookie", f"{COOKIE}=; {_ATTRIBUTES}; Max-Age=0")
"""The ``Set-Cookie`` field that removes the session cookie."""


def new_form_cookie() -> tuple[str, tuple[str, str]]:
    """Return a random value for the cookie of a sign-in form, and its ``Set-Cookie`` field."""
    value = secrets.token_urlsafe(16)
    return value, ("Set-Cookie", f"{FORM_COOKIE}={value}; {_ATTRIBUTES}")


def cookie_of(headers: Iterable[tuple[str, str]], name: str) -> str | None:
    """Return a cookie of a request, or None. A name that occurs twice has an invalid value: the empty text."""
    found: list[str] = []
    for field, value in headers:
        if field == "cookie":
            pairs = (each.strip().partition("=") for each in value.split(";"))
            found += [text for key, _, text in pairs if key == name]
    if not found:
        return None
    return found[0] if len(found) == 1 else ""


def is_same_origin(headers: Iterable[tuple[str, str]]) -> bool:
    """Whether a browser sent the request for a page of this origin, by ``Sec-Fetch-Site`` and ``Origin``."""
    fields = dict(headers)
    site, origin, host = fields.get("sec-fetch-site"), fields.get("origin"), fields.get("host")
    if site is not None and site != "same-origin":
        return False
    if origin is None:
        return site is not None
    try:
        return urlsplit(origin).netloc == host and host is not None
    except ValueError:
        return False


def parse_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form. Raises FormRefused: it is no form, or names a field twice."""
    try:
        pairs = parse_qsl(body.decode("ascii"), keep_blank_values=True, strict_parsing=bool(body), errors="strict")
    except ValueError:
        raise FormRefused("expected application/x-www-form-urlencoded in UTF-8") from None
    fields = dict(pairs)
    if len(fields) != len(pairs):
        raise FormRefused("a field occurs twice")
    return fields
