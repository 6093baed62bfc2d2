"""Clients' certificates as this server keeps them: read once, and looked at again with each request."""

from __future__ import annotations

import _ssl
import hashlib
import ssl
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cryptography import x509

from vsqlvault.errors import SettingsInvalid

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class ClientCertificate:
    """A certificate whose key its client has proved to have, and the authorities above it, in DER, as they were verified.

    ``serials`` are the issuer's name and the serial number of each in that chain; ``not_after`` is when the first of them
    ends. ``is_readable`` is False where OpenSSL took what cannot be read here.
    """

    der: bytes
    issuers: tuple[bytes, ...]
    serials: frozenset[tuple[bytes, int]]
    not_after: datetime
    is_readable: bool = True

    @classmethod
    def of(cls, chain: Sequence[bytes]) -> ClientCertificate:
        """Read a chain that was verified, from the client's own certificate to the authority that is trusted."""
        try:
            parsed = [x509.load_der_x509_certificate(each) for each in chain]
            serials = frozenset((each.issuer.public_bytes(), each.serial_number) for each in parsed)
            not_after = min(each.not_valid_after_utc for each in parsed)
        except ValueError:
            return cls(chain[0], tuple(chain[1:]), frozenset(), _NEVER, is_readable=False)
        return cls(chain[0], tuple(chain[1:]), serials, not_after)

    @property
    def credential_id(self) -> str:
        """What audit rows call it: ``x509:`` and the SHA-256 of it, in hex."""
        return f"x509:{hashlib.sha256(self.der).hexdigest()}"

    def fault(self, revoked: frozenset[tuple[bytes, int]]) -> str | None:
        """Return why it is good no longer, in the word that the audit row carries."""
        if not self.is_readable:
            return "malformed"
        if not revoked.isdisjoint(self.serials):
            return "revoked"
        return "expired" if datetime.now(UTC) >= self.not_after else None


@dataclass(frozen=True, slots=True)
class RevocationLists:
    """What the lists of a file say. ``by_issuer`` has each under its issuer's name."""

    revoked: frozenset[tuple[bytes, int]] = frozenset()
    by_issuer: Mapping[bytes, Sequence[x509.CertificateRevocationList]] | None = None

    @classmethod
    def read(cls, path: str, setting: str) -> RevocationLists:
        """Read lists in PEM.

        Raises:
            SettingsInvalid: the file has none, or anything else.
        """
        try:
            text = Path(path).read_bytes()
            lists = [x509.load_pem_x509_crl(b"-----BEGIN" + part) for part in text.split(b"-----BEGIN")[1:]]
            by_issuer: dict[bytes, list[x509.CertificateRevocationList]] = {}
            for each in lists:
                by_issuer.setdefault(each.issuer.public_bytes(), []).append(each)
            revoked = frozenset((each.issuer.public_bytes(), entry.serial_number) for each in lists for entry in each)
        except OSError as error:
            raise SettingsInvalid(f"{setting}: cannot use {path}: {error.strerror}") from error
        except ValueError as error:
            raise SettingsInvalid(f"{setting}: cannot use {path}: it is not a list in PEM") from error
        if not lists:
            raise SettingsInvalid(f"{setting}: cannot use {path}: expected a revocation list, found none")
        return cls(revoked, by_issuer)

    @property
    def first_end(self) -> datetime | None:
        """When the first of them ends; None where none does."""
        lists = [each for some in (self.by_issuer or {}).values() for each in some]
        return min((each.next_update_utc for each in lists if each.next_update_utc), default=None)

    def until(self, issuer: x509.Certificate) -> datetime | None:
        """Return how long the list that this authority has signed is good; None where there is none of it.

        A list without an end is good for ever (RFC 5280 demands one).
        """
        signed = [
            each
            for each in (self.by_issuer or {}).get(issuer.subject.public_bytes(), ())
            if _is_signed_by(each, issuer)
        ]
        ends = [each.next_update_utc or datetime.max.replace(tzinfo=UTC) for each in signed]
        return max(ends, default=None)


def client_certificate(tls: ssl.SSLObject) -> ClientCertificate | None:
    """Return the certificate that the client of a connection has shown; None where it was asked for none, or has none."""
    chain = verified_chain(tls)
    return ClientCertificate.of(chain) if chain else None


def verified_chain(tls: ssl.SSLObject) -> list[bytes]:
    """Return the chain, in DER, by which OpenSSL has found the peer's certificate good; empty where there is none.

    Never one that was not verified: a context that does not verify has no chain.
    """
    if tls.context.verify_mode == ssl.CERT_NONE:
        return []
    if sys.version_info >= (3, 13):
        return list(tls.get_verified_chain())
    inner: Any = tls._sslobj  # type: ignore[attr-defined]  # noqa: SLF001 - the same method had no public name before 3.13
    return [each.public_bytes(_ssl.ENCODING_DER) for each in inner.get_verified_chain() or ()]


def _is_signed_by(found: x509.CertificateRevocationList, issuer: x509.Certificate) -> bool:
    key: Any = issuer.public_key()
    try:
        return bool(found.is_signature_valid(key))
    except TypeError:  # a key of a kind that signs nothing
        return False
