"""Parses the form of a token (RFC 7515, section 7.1; RFC 8725, section 3). Its content is not trusted yet."""

from __future__ import annotations

from typing import Any

from vsqlvault.errors import CredentialRefused
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.auth.jwt.strict import base64url, json_object

MAX_TOKEN_CHARACTERS = 8192
MAX_HEADER_CHARACTERS = 683
"""In base64url; 512 bytes."""

MAX_SIGNATURE_CHARACTERS = 1366
"""In base64url; a signature of 1024 bytes, the size for an RSA key of 8192 bits."""

_SEGMENTS = 3
_KEY_SOURCES = frozenset({"jku", "jwk", "x5u", "x5c"})
_OTHER_FORMS = frozenset({"crit", "b64", "zip", "enc"})


@dataclass(frozen=True, slots=True)
class Token:
    """The parts of a token. ``kid`` and ``typ`` are None if the header does not have them."""

    algorithm: str
    kid: str | None
    typ: str | None
    claims: dict[str, Any]
    signing_input: bytes
    signature: bytes


def bearer_token(authorization: str) -> str | None:
    """Return the text after the scheme ``Bearer``, in any case, or None for another scheme."""
    scheme, _, token = authorization.partition(" ")
    return token.strip(" ") if scheme.lower() == "bearer" else None


def take_apart(text: str) -> Token:
    """Return the parts of a token in compact form.

    Raises:
        CredentialRefused: ``malformed``, ``oversize``, ``token_form``, ``key_source``, ``alg``, ``kid``, ``typ``.
    """
    if not text or not text.isascii():
        raise CredentialRefused("malformed")
    if len(text) > MAX_TOKEN_CHARACTERS:
        raise CredentialRefused("oversize")
    segments = text.split(".")
    if len(segments) != _SEGMENTS:
        raise CredentialRefused("token_form")
    if len(segments[0]) > MAX_HEADER_CHARACTERS or len(segments[2]) > MAX_SIGNATURE_CHARACTERS:
        raise CredentialRefused("oversize")
    try:
        header = json_object(base64url(segments[0]))
        _check_form(header)
        payload, signature = base64url(segments[1]), base64url(segments[2])
        algorithm, kid, typ = _text(header, "alg"), _text(header, "kid"), _text(header, "typ")
        if algorithm is None:
            raise CredentialRefused("alg")
        claims = json_object(payload)
    except ValueError:
        raise CredentialRefused("token_form") from None
    signing_input = f"{segments[0]}.{segments[1]}".encode("ascii")
    return Token(algorithm, kid, typ, claims, signing_input, signature)


def _check_form(header: dict[str, Any]) -> None:
    """Reject a header that contains a key or its location, and one that changes the meaning of the rest."""
    if not _KEY_SOURCES.isdisjoint(header):
        raise CredentialRefused("key_source")
    if not _OTHER_FORMS.isdisjoint(header):
        raise CredentialRefused("token_form")


def _text(header: dict[str, Any], name: str) -> str | None:
    found = header.get(name)
    if name in header and (not isinstance(found, str) or not found):
        raise CredentialRefused(name)
    return found
