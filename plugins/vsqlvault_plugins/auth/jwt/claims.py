"""Checks a token's claims (RFC 7519, section 4.1; RFC 9068) and builds the principal."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any
from urllib.parse import urlsplit

from vsqlvault.config import APP_NAME
from vsqlvault.errors import CredentialRefused
from vsqlvault.model.entry import PURPOSE
from vsqlvault.model.principal import SYSTEM, Principal, Role
from vsqlvault.model.text import is_readable
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.auth.jwt.settings import JwtSettings
from vsqlvault_plugins.auth.jwt.tokens import Token

METHOD = "jwt"
DEFAULT_APP_CLAIMS = (("client_id",), ("azp",), ("sub",))
TYPES = frozenset({"jwt", "at+jwt"})
MAX_TEXT_CHARACTERS = 256
_MAX_LABEL_CHARACTERS = 80
_MAX_JTI_CHARACTERS = 128
_MAX_SECONDS = 2.0**53
_THUMBPRINT = "x5t#S256"
_ROLES = {role.value: role for role in Role}


@dataclass(frozen=True, slots=True)
class Recognised:
    """The content of a valid token: its expiry (Unix time, including the leeway), and the certificate it is bound to."""

    principal: Principal
    expires_at: float
    thumbprint: str | None

    def check(self, now: float, client_certificate: bytes | None) -> None:
        """Check what differs between requests.

        Raises:
            CredentialRefused: ``expired``; ``cnf``, the certificate is missing or another one (RFC 8705, section 3.1).
        """
        if now >= self.expires_at:
            raise CredentialRefused("expired", credential_id=self.principal.credential_id)
        if self.thumbprint is not None and not (
            client_certificate is not None and hmac.compare_digest(self.thumbprint, thumbprint_of(client_certificate))
        ):
            raise CredentialRefused("cnf", credential_id=self.principal.credential_id)


class Claims:
    """The requirements on the claims of one issuer's tokens."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._app_claims = DEFAULT_APP_CLAIMS if settings.app_claim is None else (settings.app_claim,)
        self._audiences = frozenset({settings.audience, *settings.other_audiences})
        self._any_audience = "*" in settings.other_audiences
        self._apps = None if settings.apps is None else frozenset(settings.apps)
        self._label = _label(settings.issuer)

    def check_type(self, typ: str | None) -> None:
        """Check the header's ``typ``, a media type with an optional ``application/``.

        Raises:
            CredentialRefused: ``typ``.
        """
        found = None if typ is None else typ.lower().removeprefix("application/")
        wanted = self._settings.typ
        if found != wanted.lower() if wanted is not None else found is not None and found not in TYPES:
            raise CredentialRefused("typ")

    def recognise(self, token: Token, digest: bytes, now: float) -> Recognised:
        """Return the content of a token with a valid signature. ``digest`` is that of its text, ``now`` is Unix time.

        Raises:
            CredentialRefused: the reason is the name of the claim, or ``expired`` or ``lifetime``.
        """
        claims = token.claims
        credential_id = self._credential_id(claims, digest)
        try:
            self._check_audience(claims.get("aud"))
            expires_at = self._check_times(claims, now)
            thumbprint = self._thumbprint(claims)
            principal = self._principal(claims, credential_id)
        except CredentialRefused as refused:
            raise CredentialRefused(refused.why, credential_id=credential_id) from None
        return Recognised(principal, expires_at, thumbprint)

    def _credential_id(self, claims: dict[str, Any], digest: bytes) -> str:
        """Return the credential id of the token: its issuer and its ``jti``, or its hash if it has no printable ``jti``."""
        jti = claims.get("jti")
        if isinstance(jti, str) and 0 < len(jti) <= _MAX_JTI_CHARACTERS and is_readable(jti):
            return f"{self._label}#jti:{jti}"
        return f"{self._label}#sha256:{digest.hex()[:12]}"

    def _check_audience(self, aud: object) -> None:
        named = [aud] if isinstance(aud, str) else aud
        if not isinstance(named, list) or not all(isinstance(each, str) for each in named):
            raise CredentialRefused("aud")
        if self._settings.audience not in named:
            raise CredentialRefused("aud")
        if not self._any_audience and not self._audiences.issuperset(named):
            raise CredentialRefused("aud")

    def _check_times(self, claims: dict[str, Any], now: float) -> float:
        """Return when the token expires, including the leeway."""
        leeway = self._settings.leeway_seconds
        expires = _seconds(claims.get("exp"))
        if expires is None or now >= expires + leeway:
            raise CredentialRefused("expired")
        issued = now
        for name in ("nbf", "iat"):
            if name in claims:
                begins = _seconds(claims[name])
                if begins is None or begins > now + leeway:
                    raise CredentialRefused("nbf")
                issued = begins if name == "iat" else issued
        if expires - issued > self._settings.max_lifetime_seconds:
            raise CredentialRefused("lifetime")
        return expires + leeway

    def _thumbprint(self, claims: dict[str, Any]) -> str | None:
        """Return the thumbprint that the token is bound to. Any other confirmation cannot be verified here."""
        if "cnf" not in claims and not self._settings.require_cnf:
            return None
        cnf = claims.get("cnf")
        found = cnf.get(_THUMBPRINT) if isinstance(cnf, dict) and len(cnf) == 1 else None
        if not isinstance(found, str) or not found.isascii():
            raise CredentialRefused("cnf")
        return found

    def _principal(self, claims: dict[str, Any], credential_id: str) -> Principal:
        return Principal(
            app=self._app(claims),
            method=METHOD,
            credential_id=credential_id,
            identity=self._identity(claims),
            purposes=self._purposes(claims),
            roles=self._roles(claims),
        )

    def _identity(self, claims: dict[str, Any]) -> str:
        found = _at(claims, self._settings.identity_claim)
        if not isinstance(found, str) or not 0 < len(found) <= MAX_TEXT_CHARACTERS or not is_readable(found):
            raise CredentialRefused("sub")
        return found

    def _app(self, claims: dict[str, Any]) -> str:
        """Return the app from the first claim that is present. An invalid app name in it is an error, not skipped."""
        candidates = (_at(claims, path) for path in self._app_claims)
        found = next((each for each in candidates if each is not None), None)
        if not isinstance(found, str):
            raise CredentialRefused("app")
        app = (self._settings.app_prefix or "") + found
        if not APP_NAME.fullmatch(app) or (self._apps is not None and app not in self._apps):
            raise CredentialRefused("app")
        if app == SYSTEM.app:  # the rows of a client with this name would count as those of the vault
            raise CredentialRefused("app")
        return app

    def _purposes(self, claims: dict[str, Any]) -> frozenset[str] | None:
        """Return the purposes in the claim. Values that are not purposes, such as other scopes, are ignored."""
        granted = _granted(claims, self._settings.purposes_claim, self._settings.purposes_prefix, "purposes")
        if self._settings.allow_all_purposes and "*" in granted:
            return None
        return frozenset(each for each in granted if PURPOSE.fullmatch(each))

    def _roles(self, claims: dict[str, Any]) -> frozenset[Role]:
        granted = _granted(claims, self._settings.roles_claim, self._settings.roles_prefix, "roles")
        return frozenset(_ROLES[each] for each in granted if each in _ROLES)


def thumbprint_of(certificate: bytes) -> str:
    """Return the ``x5t#S256`` of a certificate in DER (RFC 8705, section 3.1)."""
    return base64.urlsafe_b64encode(hashlib.sha256(certificate).digest()).rstrip(b"=").decode("ascii")


def _seconds(value: object) -> float | None:
    """Return a NumericDate as a number, or None for anything else: a boolean, a text, a value that is not finite or out
    of range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < _MAX_SECONDS:
        return None
    return float(value)


def _at(claims: dict[str, Any], path: tuple[str, ...]) -> object:
    found: object = claims
    for name in path:
        if not isinstance(found, dict):
            return None
        found = found.get(name)
    return found


def _granted(claims: dict[str, Any], path: tuple[str, ...] | None, prefix: str, why: str) -> set[str]:
    """Return the values of a claim, from a list or separated by spaces (RFC 8693, section 4.2), without the required
    prefix.
    """
    found = None if path is None else _at(claims, path)
    if found is None:
        return set()
    listed = found.split(" ") if isinstance(found, str) else found
    if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
        raise CredentialRefused(why)
    return {each.removeprefix(prefix) for each in listed if each.startswith(prefix)}


def _label(issuer: str) -> str:
    """Return the part of an issuer's name that is used on audit rows."""
    return (urlsplit(issuer).netloc or issuer)[:_MAX_LABEL_CHARACTERS]
