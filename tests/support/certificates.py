"""Certificates of every kind, made for one test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = timedelta(days=1)
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and the files they lie in."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_file: Path
    key_file: Path

    @property
    def thumbprint(self) -> str:
        """The SHA-256 of the certificate, in hex."""
        return self.certificate.fingerprint(hashes.SHA256()).hex()


def uri(text: str) -> x509.GeneralName:
    return x509.UniformResourceIdentifier(text)


def dns(text: str) -> x509.GeneralName:
    return x509.DNSName(text)


class Authority:
    """Issues certificates and a list of those it has revoked, into a directory."""

    def __init__(self, directory: Path, name: str = "authority", *, is_authority: bool = True) -> None:
        self.directory = directory
        self.issued = self._sign(name, None, [], is_authority=is_authority)
        self._revoked: list[int] = []

    @property
    def cert_file(self) -> Path:
        return self.issued.cert_file

    def server(self, name: str = "server") -> Issued:
        return self._sign(name, self.issued, [SERVER])

    def below(self, name: str) -> Issued:
        """Return an authority that this one has issued."""
        return self._sign(name, self.issued, [], is_authority=True)

    def client(
        self,
        name: str,
        *,
        uses: Sequence[x509.ObjectIdentifier] = (CLIENT,),
        since: timedelta = -DAY,
        until: timedelta = 30 * DAY,
        issuer: Issued | None = None,
        names: Sequence[x509.GeneralName] | None = None,
        also_called: Sequence[str] = (),
        file: str | None = None,
    ) -> Issued:
        """Return a certificate with ``name`` as its common name, which lies in files of that name, or called ``file``."""
        issuer = issuer or self.issued
        return self._sign(name, issuer, uses, since=since, until=until, names=names, also_called=also_called, file=file)

    def revoke(self, *issued: Issued, until: timedelta = 30 * DAY) -> Path:
        """Write the list with these on it, too, and return its file."""
        self._revoked += [each.certificate.serial_number for each in issued]
        now = datetime.now(UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self.issued.certificate.subject)
        builder = builder.last_update(now - 2 * DAY).next_update(now + until)
        for serial in self._revoked:
            entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - DAY).build()
            builder = builder.add_revoked_certificate(entry)
        found = builder.add_extension(self._identifier(self.issued), critical=False)
        found = found.add_extension(x509.CRLNumber(len(self._revoked) + 1), critical=False)
        path = self.directory / "list-of-revoked.pem"
        path.write_bytes(found.sign(self.issued.key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return path

    @staticmethod
    def _identifier(issuer: Issued) -> x509.AuthorityKeyIdentifier:
        return x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer.key.public_key())

    def _sign(
        self,
        name: str,
        issuer: Issued | None,
        uses: Sequence[x509.ObjectIdentifier],
        *,
        is_authority: bool = False,
        since: timedelta = -DAY,
        until: timedelta = 30 * DAY,
        names: Sequence[x509.GeneralName] | None = None,
        also_called: Sequence[str] = (),
        file: str | None = None,
    ) -> Issued:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, each) for each in (name, *also_called)])
        now = datetime.now(UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer.certificate.subject if issuer else subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + since)
            .not_valid_after(now + until)
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .add_extension(self._usage(is_authority=is_authority), critical=True)
        )
        if issuer:
            builder = builder.add_extension(self._identifier(issuer), critical=False)
            usual = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            found = usual if names is None else names
            if found:
                builder = builder.add_extension(x509.SubjectAlternativeName(found), critical=False)
        if uses:
            builder = builder.add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        certificate = builder.sign(issuer.key if issuer else key, hashes.SHA256())
        return self._written(file or name, certificate, key)

    @staticmethod
    def _usage(*, is_authority: bool) -> x509.KeyUsage:
        return x509.KeyUsage(
            digital_signature=True, key_cert_sign=is_authority, crl_sign=is_authority, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip

    def _written(self, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> Issued:
        cert_file, key_file = self.directory / f"{name}.pem", self.directory / f"{name}.key"
        cert_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        pkcs8, no_password = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        key_file.touch(mode=0o600)
        key_file.write_bytes(key.private_bytes(serialization.Encoding.PEM, pkcs8, no_password))
        return Issued(certificate, key, cert_file, key_file)
