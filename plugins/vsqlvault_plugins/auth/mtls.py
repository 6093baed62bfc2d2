"""Authenticates apps by client certificates, mapped by a name in the certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import reduce
from pathlib import Path
from typing import TYPE_CHECKING

from vsqlvault.config import PluginSettings, ServerSettings, Settings
from vsqlvault.errors import AmbiguousCredentials, CredentialRefused, SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.authenticator import Authenticator, Presented
from vsqlvault.interfaces.certificates import CertificateNames, spki_sha256
from vsqlvault.model.principal import Principal, Role
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.auth.mtls_settings import MtlsSettings, MtlsTable

if TYPE_CHECKING:
    from cryptography import x509

MAX_REMEMBERED = 4096
_KINDS = ("thumbprint", "san_uri", "san_dns", "common_name")
"""From the most specific to the least specific."""


@dataclass(frozen=True, slots=True)
class _Rule:
    """The content of one ``[[auth.mtls]]``. ``authorities`` are hashes of public keys; None: any trusted authority."""

    kind: str
    value: str
    settings: MtlsSettings
    authorities: frozenset[str] | None

    def is_pinned_away(self, chain: frozenset[str]) -> bool:
        return self.authorities is not None and self.authorities.isdisjoint(chain)

    def overlaps(self, other: _Rule) -> bool:
        if (self.kind, self.value) != (other.kind, other.value):
            return False
        return self.authorities is None or other.authorities is None or not other.is_pinned_away(self.authorities)

    def principal(self, credential_id: str) -> Principal:
        granted = self.settings
        return Principal(
            app=granted.app,
            method=CertificateAuthenticator.name,
            credential_id=credential_id,
            identity=granted.identity or (None if self.kind == "thumbprint" else self.value),
            purposes=None if granted.purposes is None else frozenset(granted.purposes),
            roles=frozenset(Role(role) for role in granted.roles),
        )


class CertificateAuthenticator(Authenticator):
    """Authenticates apps by the certificate of their connection, or by one that a trusted proxy forwards.

    Without any mapping, a certificate only permits the connection and is not a credential.
    """

    name = "mtls"
    credential_headers: tuple[str, ...] = ()

    def __init__(self, settings: Settings, *, max_remembered: int = MAX_REMEMBERED) -> None:
        """Read the mappings.

        Raises:
            SettingsInvalid: an authority's file cannot be used, or one certificate could map to two apps.
        """
        self._max_remembered = max_remembered
        self._mapping = _Mapping(_rules(settings), max_remembered)

    @property
    def is_in_use(self) -> bool:
        """See ``Authenticator.is_in_use``."""
        return bool(self._mapping.rules)

    def authenticate(self, presented: Presented) -> Principal | None:
        """See ``Authenticator.authenticate``. A certificate is evaluated once, and the result is cached."""
        if presented.client_certificate is None or not self._mapping.rules:
            return None
        return self._mapping.find(presented.client_certificate, presented.client_issuers)

    async def reload(self, settings: Settings) -> None:
        """See ``Authenticator.reload``."""
        self._mapping = _Mapping(_rules(settings), self._max_remembered)


class _Mapping:
    """The mappings, and the cached results for certificates."""

    def __init__(self, rules: Sequence[_Rule], max_remembered: int) -> None:
        self.rules = rules
        self._max_remembered = max_remembered
        self._found: dict[tuple[bytes, tuple[bytes, ...]], Principal | CredentialRefused] = {}

    def find(self, certificate: bytes, issuers: tuple[bytes, ...]) -> Principal:
        """Return the principal of the certificate. Raises CredentialRefused."""
        found = self._found.get((certificate, issuers))
        if found is None:
            found = self._look(certificate, issuers)
            if len(self._found) >= self._max_remembered:
                self._found.clear()
            self._found[certificate, issuers] = found
        if isinstance(found, CredentialRefused):
            raise type(found)(found.why, credential_id=found.credential_id)
        return found

    def _look(self, certificate: bytes, issuers: tuple[bytes, ...]) -> Principal | CredentialRefused:
        from cryptography import x509  # noqa: PLC0415 - only certificates need it, and it takes long to import

        thumbprint = hashlib.sha256(certificate).hexdigest()
        credential_id = f"x509:{thumbprint}"
        try:
            names = CertificateNames.of(certificate)
            chain = frozenset(spki_sha256(x509.load_der_x509_certificate(each)) for each in issuers)
        except ValueError:
            return CredentialRefused("malformed", credential_id=credential_id)
        rules = self._rules_for(names, thumbprint, chain)
        if not rules:
            return CredentialRefused("unmapped_cert", credential_id=credential_id)
        if not names.for_clients and (names.for_clients is False or any(each.settings.require_eku for each in rules)):
            return CredentialRefused("eku", credential_id=credential_id)
        if len({rule.settings.app for rule in rules}) > 1:
            return AmbiguousCredentials(credential_id=credential_id)
        return reduce(Principal.narrowed, (rule.principal(credential_id) for rule in rules))

    def _rules_for(self, names: CertificateNames, thumbprint: str, chain: frozenset[str]) -> list[_Rule]:
        """Return the mappings by the most specific kind of name that matches the certificate."""
        values = {
            "thumbprint": (thumbprint,),
            "san_uri": names.uris if len(names.uris) == 1 else (),  # X509-SVID, section 2: exactly one
            "san_dns": names.dns_names,
            "common_name": names.common_names if len(names.common_names) == 1 else (),
        }
        for kind in _KINDS:
            rules = [
                rule
                for rule in self.rules
                if rule.kind == kind and rule.value in values[kind] and not rule.is_pinned_away(chain)
            ]
            if rules:
                return rules
        return []


def _rules(settings: Settings) -> list[_Rule]:
    mapped: MtlsTable = settings.plugin(CertificateAuthenticator.name)
    if mapped.mtls and not settings.server.asks_for_certificates and settings.server.forwarded_certificates is None:
        raise SettingsInvalid(
            'auth.mtls: expected certificates to arrive: client_cert = "optional" or "required" in [server.tls], or '
            "[server.forwarded_certificates]; found neither"
        )
    several = bool(mapped.mtls) and len({spki_sha256(root) for root in _roots(settings.server)}) > 1
    rules: list[_Rule] = []
    for listed in mapped.mtls:
        kind, value = next((kind, value) for kind in _KINDS if (value := getattr(listed, kind)) is not None)
        rule = _Rule(kind, value, listed, _authorities(listed))
        if several and rule.authorities is None and kind != "thumbprint":
            raise SettingsInvalid(
                f"auth.mtls: {listed.app}: expected ca_file or issuer_spki_sha256, for several authorities are trusted "
                f"and each could issue a certificate with this {kind}; found neither"
            )
        if clash := next((each for each in rules if rule.overlaps(each)), None):
            apps = f"{clash.settings.app} and {listed.app}"
            raise SettingsInvalid(
                f"auth.mtls: expected each certificate to map to one app, found one {kind} for {apps}"
            )
        rules.append(rule)
    return rules


def _authorities(listed: MtlsSettings) -> frozenset[str] | None:
    if listed.issuer_spki_sha256 is not None:
        return frozenset({listed.issuer_spki_sha256})
    if listed.ca_file is None:
        return None
    return frozenset(spki_sha256(each) for each in _read(listed.ca_file, f"auth.mtls: {listed.app}: ca_file"))


def _roots(server: ServerSettings) -> Iterator[x509.Certificate]:
    """Yield the authorities at which chains of client certificates may end: for OpenSSL, the self-signed ones."""
    files = {}
    if server.tls and server.tls.client_ca_file:
        files["server.tls.client_ca_file"] = server.tls.client_ca_file
    if server.forwarded_certificates and server.forwarded_certificates.ca_file:
        files["server.forwarded_certificates.ca_file"] = server.forwarded_certificates.ca_file
    for setting, path in files.items():
        yield from (each for each in _read(path, setting) if each.subject == each.issuer)


def _read(path: str, setting: str) -> list[x509.Certificate]:
    from cryptography import x509  # noqa: PLC0415

    try:
        return x509.load_pem_x509_certificates(Path(path).read_bytes())
    except OSError as error:
        raise SettingsInvalid(f"{setting}: expected a readable file, found: {error.strerror}") from error
    except ValueError:
        raise SettingsInvalid(f"{setting}: expected certificates in PEM, found something else in {path}") from None


@hookimpl
def vault_settings() -> list[PluginSettings]:
    """Offer ``[[auth.mtls]]``."""
    return [PluginSettings(CertificateAuthenticator.name, MtlsTable, section="auth")]


@hookimpl
def vault_authenticators(settings: Settings) -> list[Authenticator]:
    """Return the authenticator of client certificates."""
    return [CertificateAuthenticator(settings)]


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Declare the files of authorities that are not the server's own."""
    files = tuple(
        each.ca_file for each in settings.plugin(CertificateAuthenticator.name).mtls if each.ca_file is not None
    )
    return [ProcessNeeds(readable=files)] if files else []
