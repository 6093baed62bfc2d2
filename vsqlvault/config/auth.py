"""``[auth]``: the settings of authentication."""

from __future__ import annotations

import re
from datetime import datetime
from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vsqlvault.config.sections import App, Section
from vsqlvault.model.entry import PURPOSE

_DNS_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+")

ClaimPath = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(strict=False, min_length=1, max_length=8),
]
"""The path of a claim: its name, or the names from the outermost to the innermost."""


class Grant(Section):
    """The grants of a credential in the settings.

    ``purposes`` is None for all purposes, which the file writes as ``["*"]``. An app without ``purposes`` has none.
    """

    app: App
    purposes: tuple[str, ...] | None = Field(default=(), strict=False)
    roles: tuple[Literal["admin", "auditor"], ...] = Field(default=(), strict=False)
    identity: Annotated[str, Field(min_length=1, max_length=256)] | None = None

    @field_validator("identity")
    @classmethod
    def _printable(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("printable text")
        return value

    @field_validator("purposes")
    @classmethod
    def _purposes(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if value == ("*",):
            return None
        if any(not PURPOSE.fullmatch(purpose) for purpose in value or ()):
            raise ValueError('purposes of lower-case letters, digits, _ and -, or ["*"] for all')
        return value


class ApiKeySettings(Grant):
    """``[[auth.api_keys]]``: one API key of an app. ``key_sha256`` is 64 hex digits, ``key_env`` names a variable."""

    key_sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    key_env: str | None = None
    expires_at: datetime | None = None

    @model_validator(mode="after")
    def _one_source(self) -> ApiKeySettings:
        if (self.key_sha256 is None) == (self.key_env is None):
            raise ValueError("exactly one of key_sha256 and key_env")
        return self

    @field_validator("expires_at")
    @classmethod
    def _aware(cls, value: datetime | None) -> datetime | None:
        if value is not None and value.tzinfo is None:
            raise ValueError("a time with an offset, such as 2027-02-16T00:00:00Z")
        return value


JwtAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA", "Ed25519"
]
"""Signature algorithms with a private key. A verifier cannot create signatures."""


class JwtSettings(Section):
    """``[[auth.jwt]]``: one token issuer, the location of its keys, and the meaning of its claims.

    Without ``jwks_url`` and ``jwks_file``, the vault uses OpenID Connect Discovery 1.0. The default of ``app_claim`` is
    ``client_id``, then ``azp``, then ``sub``. Without ``purposes_claim`` or ``roles_claim``, no purpose or role is
    granted.
    """

    issuer: str = Field(min_length=1, max_length=512, pattern=r"^[\x21-\x7e]+$")
    audience: str = Field(min_length=1, max_length=512)
    other_audiences: tuple[str, ...] = Field(default=(), strict=False)
    jwks_url: str | None = None
    jwks_file: str | None = None
    ca_file: str | None = None
    algorithms: tuple[JwtAlgorithm, ...] = Field(
        default=("RS256", "PS256", "ES256", "EdDSA", "Ed25519"), strict=False, min_length=1
    )
    typ: Literal["JWT", "at+jwt"] | None = None
    app_claim: ClaimPath | None = None
    app_prefix: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@/-]{0,63}$")] | None = None
    apps: tuple[App, ...] | None = Field(default=None, strict=False)
    identity_claim: ClaimPath = ("sub",)
    purposes_claim: ClaimPath | None = None
    purposes_prefix: str = Field(default="", max_length=256)
    allow_all_purposes: bool = False
    roles_claim: ClaimPath | None = None
    roles_prefix: str = Field(default="", max_length=256)
    require_cnf: bool = False
    leeway_seconds: int = Field(default=30, ge=0, le=120)
    max_lifetime_seconds: int = Field(default=24 * 3600, ge=60, le=7 * 24 * 3600)
    jwks_ttl_seconds: int = Field(default=300, ge=10, le=600)
    last_good_seconds: int = Field(default=3600, ge=0, le=24 * 3600)
    unknown_kid_cooldown_seconds: int = Field(default=60, ge=1, le=600)

    @field_validator("jwks_url")
    @classmethod
    def _fetchable(cls, value: str | None) -> str | None:
        return None if value is None else https_url(value)

    @model_validator(mode="after")
    def _one_place_of_keys(self) -> JwtSettings:
        if self.jwks_url is not None and self.jwks_file is not None:
            raise ValueError("at most one of jwks_url and jwks_file")
        if self.jwks_url is None and self.jwks_file is None:
            try:
                https_url(self.issuer)
            except ValueError as error:
                raise ValueError(f"jwks_url or jwks_file, or as issuer {error}") from None
            if "?" in self.issuer:
                raise ValueError("jwks_url or jwks_file, or an issuer without a query")
        return self

    @property
    def places_apps(self) -> bool:
        """Whether the settings restrict the apps that this issuer can name."""
        return self.apps is not None or self.app_prefix is not None


def https_url(value: str) -> str:
    """Return the URL if keys may be fetched from it: https, or http on the loopback; only host, port, path and query.

    Raises:
        ValueError: any other URL or text.
    """
    expected = "an https URL without user and fragment (http to the loopback alone)"
    if not value.isascii() or not value.isprintable() or " " in value or "\\" in value or len(value) > 2048:  # noqa: PLR2004
        raise ValueError(expected)
    split = urlsplit(value)
    host, port = split.hostname, split.port  # an invalid port raises ValueError
    is_plain = split.scheme == "http" and host is not None and _is_loopback(host)
    if not host or port == 0 or "@" in split.netloc or "#" in value or not (split.scheme == "https" or is_plain):
        raise ValueError(expected)
    return value


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class MtlsSettings(Grant):
    """``[[auth.mtls]]``: maps client certificates with one name to an app, and names their authority.

    ``thumbprint`` is the SHA-256 digest of the certificate, ``issuer_spki_sha256`` that of an authority's public key
    (SubjectPublicKeyInfo in DER), both in hex. ``ca_file`` contains such authorities in PEM. The default of
    ``identity`` is the name that matched.
    """

    san_uri: str | None = Field(default=None, max_length=256)
    san_dns: str | None = None
    thumbprint: str | None = None
    common_name: str | None = Field(default=None, min_length=1, max_length=64)
    ca_file: Annotated[str, Field(min_length=1)] | None = None
    issuer_spki_sha256: str | None = None
    require_eku: bool = True

    @field_validator("common_name")
    @classmethod
    def _printable_name(cls, value: str | None) -> str | None:
        return cls._printable(value)

    @field_validator("san_uri")
    @classmethod
    def _uri(cls, value: str | None) -> str | None:
        wanted = _SPIFFE_ID if value is not None and value[:7].lower() == "spiffe:" else _URI
        if value is not None and not wanted.fullmatch(value):
            raise ValueError("a URI in ASCII, such as spiffe://example.org/payments")
        return value

    @field_validator("san_dns")
    @classmethod
    def _dns_name(cls, value: str | None) -> str | None:
        if value is not None and not _DNS_NAME.fullmatch(value):
            raise ValueError("one DNS name in lower case, without a wildcard")
        return value

    @field_validator("thumbprint", "issuer_spki_sha256")
    @classmethod
    def _sha256(cls, value: str | None) -> str | None:
        digest = value.replace(":", "").lower() if value is not None else None  # the format of openssl
        if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest, re.ASCII):
            raise ValueError("a SHA-256 of 64 hex digits")
        return digest

    @model_validator(mode="after")
    def _one_name(self) -> MtlsSettings:
        if sum(name is not None for name in (self.san_uri, self.san_dns, self.thumbprint, self.common_name)) != 1:
            raise ValueError("exactly one of san_uri, san_dns, thumbprint and common_name")
        if self.ca_file is not None and self.issuer_spki_sha256 is not None:
            raise ValueError("at most one of ca_file and issuer_spki_sha256")
        return self


class AuthSettings(Section):
    """``[auth]``: the settings of authentication.

    The variable of ``api_key_env`` may be unset only if the setting is the default.
    """

    api_key_header: str = Field(default="X-Vault-Key", pattern=r"^[A-Za-z0-9-]{1,64}$")
    api_key_env: str | None = "VSQL_VAULT_API_KEY"
    api_key_app: App = "vault-admin"
    api_keys: tuple[ApiKeySettings, ...] = Field(default=(), strict=False)
    stored_keys: bool = True
    api_key_max_age_days: int = Field(default=365, ge=1, le=36_500)
    jwt: tuple[JwtSettings, ...] = Field(default=(), strict=False)
    mtls: tuple[MtlsSettings, ...] = Field(default=(), strict=False)
    max_failures_per_minute: int = Field(default=10, ge=0, le=100_000)

    @field_validator("jwt")
    @classmethod
    def _issuers_apart(cls, value: tuple[JwtSettings, ...]) -> tuple[JwtSettings, ...]:
        """Raise if an issuer could name an app of another issuer."""
        if len({each.issuer for each in value}) != len(value):
            raise ValueError("each issuer once")
        if len(value) > 1 and not all(each.places_apps for each in value):
            raise ValueError("app_prefix or apps for each of several issuers: otherwise one could name another's app")
        open_prefixes = [each.app_prefix for each in value if each.apps is None and each.app_prefix is not None]
        for place, prefix in enumerate(open_prefixes):
            others = open_prefixes[:place] + open_prefixes[place + 1 :]
            if len(value) > 1 and any(other.startswith(prefix) for other in others):
                raise ValueError(
                    f"app_prefix of each issuer different from the others', not {prefix!r} and one that starts with it"
                )
        return value

    @property
    def requires_bootstrap_key(self) -> bool:
        """Whether the settings name the variable of the bootstrap key explicitly, so that it must exist."""
        return bool(self.api_key_env) and "api_key_env" in self.model_fields_set
