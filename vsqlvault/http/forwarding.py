"""Resolves the client address and certificate behind trusted proxies."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from vsqlvault.config import ServerSettings
from vsqlvault.errors import BadForwarding
from vsqlvault.http.messages import Request, is_loopback
from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.interfaces.certificates import CertificateNames
from vsqlvault.quick_dataclass import dataclass

if TYPE_CHECKING:
    from vsqlvault.http.forwarded_certificates import ForwardedCertificates

MAX_HOPS = 16
NAMES = frozenset(
    {
        "client-cert", "client-cert-chain", "forwarded", "x-client-cert", "x-forwarded-client-cert", "x-forwarded-for",
        "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
    }
)  # fmt: skip
"""Headers that make statements about the client. From untrusted peers they are ignored, which the audit row shows."""

_TAKEN = ("client-cert", "client-cert-chain")
_OF_CERTIFICATES = frozenset({*_TAKEN, "x-client-cert", "x-forwarded-client-cert"})
_WITH_PORT = re.compile(r"(?P<v4>[0-9.]+):[0-9]{1,5}|\[(?P<v6>[0-9A-Fa-f:.]+)\](?::[0-9]{1,5})?")
Address = IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Proxies:
    """The trusted proxies, and what they may forward."""

    networks: tuple[IPv4Network | IPv6Network, ...]
    names: frozenset[str]
    certificates: ForwardedCertificates | None

    @classmethod
    def of(cls, settings: ServerSettings) -> Proxies:
        """Read the settings.

        Raises:
            SettingsInvalid: a file in them cannot be used.
        """
        networks = tuple(ip_network(text) for text in settings.trusted_proxies)
        if settings.forwarded_certificates is None:
            return cls(networks, frozenset(), None)
        from vsqlvault.http.forwarded_certificates import ForwardedCertificates  # noqa: PLC0415 - it takes long to import

        return cls(networks, frozenset(settings.forwarded_certificates.proxy_names), ForwardedCertificates(settings))

    def has(self, text: str) -> bool:
        """Whether an address is one of a trusted proxy."""
        address = _address(text)
        return any(address in network for network in self.networks)


class Forwarding:
    """Uses ``X-Forwarded-For`` and, if configured, ``Client-Cert`` from trusted proxies only."""

    def __init__(self, settings: ServerSettings) -> None:
        """Read the settings. Raises SettingsInvalid, as ``Proxies.of`` does."""
        self.use(Proxies.of(settings))

    def use(self, proxies: Proxies) -> None:
        """Trust these proxies from now on."""
        self.proxies = proxies
        self._trusts = lru_cache(maxsize=1024)(proxies.has)

    def trusts(self, peer: str | None) -> bool:
        """Whether the peer is a trusted proxy."""
        return bool(self.proxies.networks) and peer is not None and self._trusts(peer)

    def client(self, peer: str | None, headers: Sequence[tuple[str, str]]) -> str | None:
        """Return the client's address: from the right, the first address that is not a trusted proxy.

        Raises:
            BadForwarding: a trusted proxy does not send a list of at most ``MAX_HOPS`` addresses. Several
                lines are one list (RFC 9110, section 5.3).
        """
        if not self.trusts(peer):
            return peer
        lists = [value for name, value in headers if name == "x-forwarded-for"]
        if not lists:
            return peer
        hops = [hop for hop in (each.strip(" \t") for each in ",".join(lists).split(",")) if hop]
        if not hops:
            return peer
        if len(hops) > MAX_HOPS:
            raise BadForwarding(f"at most {MAX_HOPS} hops")
        addresses = [_address(_without_port(hop)) for hop in hops]
        for address in reversed(addresses):
            if not self._trusts(str(address)):
                return str(address)
        return str(addresses[0])

    def certificate(self, request: Request) -> ClientCertificate | None:
        """Return the certificate that may authenticate the request: the client's own, never that of a forwarding proxy.

        Raises:
            BadForwarding: a proxy that may forward certificates sends an invalid one, or more than one.
            CredentialRefused: the forwarded certificate is not valid.
        """
        if not self.trusts(request.peer):
            return request.client_certificate
        if self.proxies.certificates is not None and self._vouches(request):
            values, chains = ([value for name, value in request.headers if name == wanted] for wanted in _TAKEN)
            return self.proxies.certificates.read(values, chains)
        asks_for_somebody = any(name in NAMES for name, _ in request.headers)
        return None if asks_for_somebody else request.client_certificate

    def trusted_headers(self, request: Request, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers without untrusted forwarding headers; the same object if there are none."""
        if NAMES.isdisjoint(headers):
            return headers
        if not self.trusts(request.peer):
            unbelieved = NAMES
        elif self.proxies.certificates is not None and self._vouches(request):
            unbelieved = _OF_CERTIFICATES.difference(_TAKEN)
        else:
            unbelieved = _OF_CERTIFICATES
        if unbelieved.isdisjoint(headers):
            return headers
        return {name: value for name, value in headers.items() if name not in unbelieved}

    def _vouches(self, request: Request) -> bool:
        """Whether a trusted proxy may forward certificates: it is on this host, or has authenticated with its own
        certificate.
        """
        if is_loopback(request.peer):
            return True
        own = request.client_certificate
        return own is not None and not self.proxies.names.isdisjoint(_names(own.der))


def _without_port(text: str) -> str:
    """Return the address in ``192.0.2.1:4711``, ``[2001:db8::1]:4711`` and ``[2001:db8::1]``."""
    match = _WITH_PORT.fullmatch(text)
    return (match["v4"] or match["v6"]) if match else text


def _address(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise BadForwarding("IP addresses") from None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            raise BadForwarding("addresses without zones")
        return address.ipv4_mapped or address
    return address


@lru_cache(maxsize=256)
def _names(certificate: bytes) -> frozenset[str]:
    try:
        found = CertificateNames.of(certificate)
    except ValueError:
        return frozenset()
    return frozenset((*found.uris, *found.dns_names))
