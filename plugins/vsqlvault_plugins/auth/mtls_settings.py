"""``[[auth.mtls]]``: whose client certificates are accepted."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from vsqlvault.config import Grant, PublicSection

_DNS_NAME = re.compile(
    r"(?=.{1,253}$)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?)*"
)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[\x21-\x7e]+")
_SPIFFE_ID = re.compile(r"spiffe://[a-z0-9._-]{1,255}(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._-]+)+")


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


class MtlsTable(PublicSection):
    """The key ``mtls`` of ``[auth]``."""

    mtls: tuple[MtlsSettings, ...] = Field(default=(), strict=False)
