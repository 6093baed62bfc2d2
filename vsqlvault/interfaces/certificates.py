"""The names in a client certificate."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from vsqlvault.quick_dataclass import dataclass

if TYPE_CHECKING:
    from cryptography import x509


@dataclass(frozen=True, slots=True)
class CertificateNames:
    """The names of a certificate (RFC 5280, section 4.2.1.6) and its extended key usage.

    ``dns_names`` are in lower case. ``for_clients`` is None if the certificate has no extended key usage.
    """

    uris: tuple[str, ...]
    dns_names: tuple[str, ...]
    common_names: tuple[str, ...]
    for_clients: bool | None

    @classmethod
    def of(cls, certificate: bytes) -> CertificateNames:
        """Parse a certificate in DER.

        Raises:
            ValueError: it is not a certificate, or one of its extensions cannot be parsed.
        """
        from cryptography import x509  # noqa: PLC0415 - only certificates need it, and it takes long to import
        from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID  # noqa: PLC0415

        parsed = x509.load_der_x509_certificate(certificate)
        extensions = parsed.extensions
        uris: list[str] = []
        dns_names: list[str] = []
        uses: x509.ExtendedKeyUsage | None = None
        for extension in extensions:
            if isinstance(extension.value, x509.SubjectAlternativeName):
                uris += extension.value.get_values_for_type(x509.UniformResourceIdentifier)
                dns_names += extension.value.get_values_for_type(x509.DNSName)
            elif isinstance(extension.value, x509.ExtendedKeyUsage):
                uses = extension.value
        common_names = parsed.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return cls(
            uris=tuple(uris),
            dns_names=tuple(name.lower() for name in dns_names),
            common_names=tuple(each.value for each in common_names if isinstance(each.value, str)),
            for_clients=None if uses is None else ExtendedKeyUsageOID.CLIENT_AUTH in uses,
        )


def spki_sha256(certificate: x509.Certificate) -> str:
    """Return the SHA-256 digest, in hex, of a certificate's public key (SubjectPublicKeyInfo in DER, RFC 7469, section
    2.4).

    Raises:
        ValueError: the key is of an unsupported kind.
    """
    from cryptography.exceptions import UnsupportedAlgorithm  # noqa: PLC0415
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    try:
        key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    except UnsupportedAlgorithm as error:
        raise ValueError("a public key of an unknown kind") from error
    return hashlib.sha256(key).hexdigest()
