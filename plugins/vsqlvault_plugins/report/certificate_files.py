"""Reads certificates from files. A module of its own, because ``x509`` takes long to import."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256

from vsqlvault.model.times import format_time


def read_certificates(files: Sequence[tuple[str, str]]) -> Iterator[dict[str, Any]]:
    """Yield each certificate of files in PEM, or for an unreadable file its use and name alone."""
    for use, path in files:
        try:
            found = x509.load_pem_x509_certificates(Path(path).read_bytes())
        except (OSError, ValueError):
            yield {"use": use, "file": Path(path).name}
            continue
        for certificate in found:
            yield {"use": use, "file": Path(path).name} | _described(certificate)


def _described(certificate: x509.Certificate) -> dict[str, Any]:
    return {
        "subject": certificate.subject.rfc4514_string(),
        "issuer": certificate.issuer.rfc4514_string(),
        "serial_number": f"{certificate.serial_number:x}",
        "not_before": format_time(certificate.not_valid_before_utc),
        "not_after": format_time(certificate.not_valid_after_utc),
        "key": _key(certificate),
        "sha256": certificate.fingerprint(SHA256()).hex(),
    }


def _key(certificate: x509.Certificate) -> str:
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "unknown"
    if isinstance(key, rsa.RSAPublicKey):
        return f"RSA {key.key_size}"
    if isinstance(key, ec.EllipticCurvePublicKey):
        return f"EC {key.curve.name}"
    return type(key).__name__.lstrip("_").removesuffix("PublicKey")
