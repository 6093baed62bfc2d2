"""Client certificates of connections: parsed once, and checked again on each request."""

from __future__ import annotations

import _ssl
import hashlib
import ssl
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vsqlvault.errors import SettingsInvalid
from vsqlvault.quick_dataclass import dataclass

if TYPE_CHECKING:
    from cryptography import x509

_NEVER = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True, eq=False)
class ClientCertificate:
    """A certificate whose key its client has proved to have, and its verified authorities, in DER.

    ``serials`` are the issuer's name and the serial number of each certificate in the chain. ``not_after`` is the
    earliest expiry. ``is_readable`` is False if OpenSSL accepted what cannot be parsed here.
    """

    der: bytes
    issuers: tuple[bytes, ...]
    serials: frozenset[tuple[bytes, int]]
    not_after: datetime
    is_readable: bool = True

    @classmethod
    def of(cls, chain: Sequence[bytes]) -> ClientCertificate:
        """Parse a verified chain, from the client's own certificate to the trusted authority."""
        from cryptography import x509  # noqa: PLC0415 - only certificates need it, and it takes long to import

        try:
            parsed = [x509.load_der_x509_certificate(each) for each in chain]
            serials = frozenset((each.issuer.public_bytes(), each.serial_number) for each in parsed)
            not_after = min(each.not_valid_after_utc for each in parsed)
        except ValueError:
            return cls(chain[0], tuple(chain[1:]), frozenset(), _NEVER, is_readable=False)
        return cls(chain[0], tuple(chain[1:]), serials, not_after)

    @property
    def credential_id(self) -> str:
        """The credential id on audit rows: ``x509:`` and the SHA-256 digest, in hex."""
        return f"x509:{hashlib.sha256(self.der).hexdigest()}"

    def fault(self, revoked: frozenset[tuple[bytes, int]]) -> str | None:
        """Return the reason, as on the audit row, why the certificate is no longer valid."""
        if not self.is_readable:
            return "malformed"
        if not revoked.isdisjoint(self.serials):
            return "revoked"
        return "expired" if datetime.now(UTC) >= self.not_after else None


@dataclass(frozen=True, slots=True)
class RevocationLists:
    """The revocation lists of a file. ``by_issuer`` maps issuer names to lists."""

    revoked: frozenset[tuple[bytes, int]] = frozenset()
    by_issuer: Mapping[bytes, Sequence[x509.CertificateRevocationList]] | None = None

    @classmethod
    def read(cls, path: str, setting: str) -> RevocationLists:
        """Read lists in PEM.

        Raises:
            SettingsInvalid: the file has none, or another content.
        """
        from cryptography import x509  # noqa: PLC0415

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
        """The earliest expiry of the lists, or None if none expires."""
        lists = [each for some in (self.by_issuer or {}).values() for each in some]
        return min((each.next_update_utc for each in lists if each.next_update_utc), default=None)

    def until(self, issuer: x509.Certificate) -> datetime | None:
        """Return the expiry of the list signed by this authority, or None if there is no such list.

        A list without an expiry never expires (RFC 5280 requires one).
        """
        signed = [
            each
            for each in (self.by_issuer or {}).get(issuer.subject.public_bytes(), ())
            if _is_signed_by(each, issuer)
        ]
        ends = [each.next_update_utc or datetime.max.replace(tzinfo=UTC) for each in signed]
        return max(ends, default=None)


def client_certificate(tls: ssl.SSLObject) -> ClientCertificate | None:
    """Return the client certificate of a connection, or None if none was requested or sent."""
    chain = verified_chain(tls)
    return ClientCertificate.of(chain) if chain else None


def verified_chain(tls: ssl.SSLObject) -> list[bytes]:
    """Return the peer's chain, in DER, as verified by OpenSSL, or an empty chain.

    It is never an unverified chain: a context that does not verify has none.
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
    except TypeError:  # a key of a kind that cannot sign
        return False
