"""The TLS configuration of the server, and the revocation of certificates on open connections."""

from __future__ import annotations

import ssl
import stat
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

from vsqlvault.config import ServerSettings, TlsSettings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.http.server.client_certificates import ClientCertificate, RevocationLists
from vsqlvault.quick_dataclass import dataclass

_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"  # for TLS 1.2; all those of 1.3 are acceptable
_READABLE_BY_ALL = stat.S_IROTH | stat.S_IWOTH


@dataclass(frozen=True, slots=True)
class Loaded:
    """The loaded files of ``[server.tls]``."""

    context: ssl.SSLContext
    lists: RevocationLists
    until: Mapping[str, datetime]

    @classmethod
    def of(cls, settings: ServerSettings) -> Loaded:
        """Read all files.

        Raises:
            SettingsInvalid: a file cannot be used, or TLS is not configured.
        """
        return _load(settings)


class Tls:
    """The context for new connections, and the check of certificates on open connections.

    A reload creates a new context. Open connections keep theirs, and no session of an earlier context can be resumed,
    so that none outlives a revocation.
    """

    def __init__(self, settings: ServerSettings) -> None:
        """Read all files.

        Raises:
            SettingsInvalid: a file cannot be used.
        """
        self.use(Loaded.of(settings))
        self.offers_http2 = settings.http2

    @property
    def context(self) -> ssl.SSLContext:
        """The context for the next connection."""
        return self._loaded.context

    @property
    def until(self) -> Mapping[str, datetime]:
        """The expiry of the first certificate or list in each file."""
        return self._loaded.until

    def use(self, loaded: Loaded) -> None:
        """Use these files for new connections."""
        self._loaded = loaded

    def describe(self, certificate: ClientCertificate | None) -> dict[str, Any] | None:
        """Return the ASGI extension ``tls`` of one request, because a certificate may have been revoked since the
        handshake.
        """
        if certificate is None:
            return None
        return {"client_certificate": certificate, "certificate_fault": self.fault(certificate)}

    def fault(self, certificate: ClientCertificate) -> str | None:
        """Return why a client's certificate is no longer valid, although it was when the connection was made."""
        return certificate.fault(self._loaded.lists.revoked)


def _load(settings: ServerSettings) -> Loaded:
    files = settings.tls
    if files is None:
        raise SettingsInvalid("server.tls: expected a table, found none")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION | ssl.OP_CIPHER_SERVER_PREFERENCE
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["h2", "http/1.1"] if settings.http2 else ["http/1.1"])
    _check_secret(files.key_file)
    try:
        context.load_cert_chain(files.cert_file, files.key_file, password=_no_password)
    except (OSError, ValueError) as error:
        raise SettingsInvalid(
            f"server.tls: cannot use {files.cert_file} with {files.key_file}: {_why(error)}"
        ) from error
    if files.client_cert != "none":
        _ask_for_certificates(context, files)
    lists = RevocationLists.read(files.crl_file, "server.tls.crl_file") if files.crl_file else RevocationLists()
    return Loaded(context, lists, _until(files, lists))


def _ask_for_certificates(context: ssl.SSLContext, files: TlsSettings) -> None:
    context.minimum_version = ssl.TLSVersion.TLSv1_3  # 1.2 resumes sessions without checking the certificate again
    context.num_tickets = 0
    context.verify_mode = ssl.CERT_REQUIRED if files.client_cert == "required" else ssl.CERT_OPTIONAL
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    try:
        context.load_verify_locations(files.client_ca_file)
        if files.crl_file:
            context.load_verify_locations(files.crl_file)
            context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    except OSError as error:
        raise SettingsInvalid(f"server.tls: cannot use client_ca_file or crl_file: {_why(error)}") from error


def _until(files: TlsSettings, lists: RevocationLists) -> dict[str, datetime]:
    paths = {"cert_file": files.cert_file, "client_ca_file": files.client_ca_file}
    found = {name: _first_end(path) for name, path in paths.items() if path} | {"crl_file": lists.first_end}
    return {name: at for name, at in found.items() if at is not None}


def _first_end(path: str) -> datetime | None:
    from cryptography import x509  # noqa: PLC0415 - only a server with TLS needs it, and it takes long to import

    try:
        certificates = x509.load_pem_x509_certificates(Path(path).read_bytes())
    except (OSError, ValueError):  # OpenSSL has accepted it, and accepts more than cryptography does
        return None
    return min(each.not_valid_after_utc for each in certificates)


def _check_secret(path: str) -> None:
    try:
        mode = Path(path).stat().st_mode
    except OSError as error:
        raise SettingsInvalid(f"server.tls.key_file: expected a readable file, found: {error.strerror}") from error
    if mode & _READABLE_BY_ALL:
        raise SettingsInvalid(
            f"server.tls.key_file: expected a file that is not readable by all users, found {stat.filemode(mode)}"
        )


def _no_password() -> str:
    raise ValueError("the key is encrypted")


def _why(error: Exception) -> str:
    if isinstance(error, ssl.SSLError):
        return (error.reason or "unknown").lower().replace("_", " ")
    return (error.strerror if isinstance(error, OSError) else str(error)) or type(error).__name__
