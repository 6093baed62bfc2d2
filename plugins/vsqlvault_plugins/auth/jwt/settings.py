"""``[[auth.jwt]]``: the issuers whose tokens are accepted."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import BeforeValidator, Field, field_validator, model_validator

from vsqlvault.config import App, PublicSection, Section

ClaimPath = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=256)], ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    Field(strict=False, min_length=1, max_length=8),
]
"""The path of a claim: its name, or the names from the outermost to the innermost."""


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


class JwtTable(PublicSection):
    """The key ``jwt`` of ``[auth]``."""

    jwt: tuple[JwtSettings, ...] = Field(default=(), strict=False)

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
