"""Client certificates forwarded by a proxy in ``Client-Cert`` (RFC 9440), and their verification.

The vault cannot verify that the client has the certificate's key. It relies on the proxy for that, so the proxy must be
trusted.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import verification

from vsqlvault.config import ServerSettings
from vsqlvault.errors import BadForwarding, CredentialRefused, SettingsInvalid
from vsqlvault.http.server.client_certificates import ClientCertificate, RevocationLists
from vsqlvault.interfaces.certificates import CertificateNames
from vsqlvault.quick_dataclass import dataclass

MAX_CERTIFICATE_BYTES = 8192
MAX_CHAIN = 4
MAX_REMEMBERED = 1024
MIN_RSA_BITS = 2048
_SECTION = "server.forwarded_certificates"
_BYTE_SEQUENCE = re.compile(r":([A-Za-z0-9+/]+={0,2}):")


@dataclass(frozen=True, slots=True)
class _Verified:
    certificate: ClientCertificate
    list_until: datetime | None
    """The expiry of the revocation list signed by the issuer, or None if no lists are required."""


class ForwardedCertificates:
    """Parses and verifies forwarded certificates. Whether the proxy may forward them is decided elsewhere."""

    def __init__(self, server: ServerSettings, *, max_remembered: int = MAX_REMEMBERED) -> None:
        """Read the files in ``[server.forwarded_certificates]``, or in ``[server.tls]`` by default.

        Raises:
            SettingsInvalid: a file cannot be used.
        """
        settings = server.forwarded_certificates
        files = settings if settings and settings.ca_file else server.tls
        ca_file = settings.ca_file if settings else None
        if ca_file is None and server.tls:
            ca_file = server.tls.client_ca_file
        if ca_file is None:
            raise SettingsInvalid(f"{_SECTION}.ca_file: expected a file, found none")
        authorities = _read(ca_file)
        self._roots = [each for each in authorities if each.subject == each.issuer]
        self._others = [each for each in authorities if each.subject != each.issuer]
        if not self._roots:
            raise SettingsInvalid(f"{_SECTION}.ca_file: expected a self-signed authority, found none")
        crl_file = files.crl_file if files else None
        self._lists = RevocationLists.read(crl_file, f"{_SECTION}.crl_file") if crl_file else None
        self._max_remembered = max_remembered
        self._remembered: dict[tuple[str, ...], _Verified] = {}

    def read(self, values: Sequence[str], chains: Sequence[str]) -> ClientCertificate | None:
        """Return the certificate in ``Client-Cert`` and ``Client-Cert-Chain``, if they are present.

        Raises:
            BadForwarding: they do not conform to RFC 9440.
            CredentialRefused: the certificate is not valid.
        """
        if not values:
            if chains:
                raise BadForwarding("Client-Cert beside Client-Cert-Chain")
            return None
        key = (*values, "", *chains)
        found = self._remembered.get(key)
        if found is None:
            found = self._verify(*_decoded(values, chains))
            if len(self._remembered) >= self._max_remembered:
                self._remembered.clear()
            self._remembered[key] = found
        fault = found.certificate.fault(self._lists.revoked if self._lists else frozenset())
        if fault is None and found.list_until is not None and datetime.now(UTC) >= found.list_until:
            fault = "crl_expired"
        if fault:
            raise CredentialRefused(fault, credential_id=found.certificate.credential_id)
        return found.certificate

    def _verify(self, certificate: x509.Certificate, others: Sequence[x509.Certificate]) -> _Verified:
        now = datetime.now(UTC)
        if now >= certificate.not_valid_after_utc:
            raise CredentialRefused("expired")
        if now < certificate.not_valid_before_utc:
            raise CredentialRefused("not_yet_valid")
        policy = verification.ExtensionPolicy
        verifier = (
            verification.PolicyBuilder()
            .store(verification.Store(self._roots))
            .time(now)
            .max_chain_depth(MAX_CHAIN)
            .extension_policies(ca_policy=policy.webpki_defaults_ca(), ee_policy=policy.permit_all())
            .build_client_verifier()
        )
        try:
            chain = verifier.verify(certificate, [*others, *self._others]).chain
            fault = _unfit(certificate)
        except (verification.VerificationError, ValueError, UnsupportedAlgorithm):
            fault = "untrusted_cert"
        if fault:
            raise CredentialRefused(fault)
        until = self._lists.until(chain[1] if len(chain) > 1 else chain[0]) if self._lists else None
        if self._lists and until is None:
            raise CredentialRefused("crl_missing")
        return _Verified(ClientCertificate.of([each.public_bytes(Encoding.DER) for each in chain]), until)


def _unfit(certificate: x509.Certificate) -> str | None:
    """Return why a client cannot use a certificate with a valid chain, by the rules that OpenSSL applies in handshakes."""
    if CertificateNames.of(certificate.public_bytes(Encoding.DER)).for_clients is False:
        return "eku"
    for extension in certificate.extensions:
        if isinstance(extension.value, x509.KeyUsage) and not extension.value.digital_signature:
            return "untrusted_cert"
    key = certificate.public_key()
    return "untrusted_cert" if isinstance(key, RSAPublicKey) and key.key_size < MIN_RSA_BITS else None


def _decoded(values: Sequence[str], chains: Sequence[str]) -> tuple[x509.Certificate, list[x509.Certificate]]:
    if len(values) > 1:
        raise BadForwarding("one Client-Cert")
    parts = [part.strip(" \t") for value in chains for part in value.split(",")]
    if len(parts) > MAX_CHAIN:
        raise BadForwarding(f"at most {MAX_CHAIN} certificates in Client-Cert-Chain")
    return _certificate(values[0].strip(" ")), [_certificate(part) for part in parts]


def _certificate(text: str) -> x509.Certificate:
    """Parse a byte sequence (RFC 8941, section 3.3.5) without parameters, in canonical base64."""
    expected = "a certificate in DER as :base64:"
    match = _BYTE_SEQUENCE.fullmatch(text)
    if match is None or len(match[1]) > MAX_CERTIFICATE_BYTES * 4 // 3 + 4:
        raise BadForwarding(f"{expected}, of at most {MAX_CERTIFICATE_BYTES} bytes")
    try:
        data = base64.b64decode(match[1], validate=True)
        certificate = x509.load_der_x509_certificate(data)
        if base64.b64encode(data).decode("ascii") != match[1] or certificate.public_bytes(Encoding.DER) != data:
            raise BadForwarding(expected)
        _ = certificate.extensions, certificate.subject, certificate.issuer
    except (binascii.Error, ValueError):
        raise BadForwarding(expected) from None
    return certificate


def _read(path: str) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except OSError as error:
        raise SettingsInvalid(f"{_SECTION}.ca_file: cannot use {path}: {error.strerror}") from error
    except ValueError:
        raise SettingsInvalid(f"{_SECTION}.ca_file: cannot use {path}: it has no certificates in PEM") from None
