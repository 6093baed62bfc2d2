"""Whose address a request is put down to: the peer's, or the one that a proxy of ours tells."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from vsqlvault.errors import BadForwarding

MAX_HOPS = 16
NAMES = frozenset(
    {
        "client-cert", "client-cert-chain", "forwarded", "x-client-cert", "x-forwarded-client-cert", "x-forwarded-for",
        "x-forwarded-host", "x-forwarded-proto", "x-real-ip",
    }
)  # fmt: skip
"""Headers that speak for somebody else. From whoever is no listed proxy they are ignored, and noted on the row."""

Address = IPv4Address | IPv6Address


class Forwarding:
    """Believes ``X-Forwarded-For`` of the proxies in ``networks``, and of nobody else."""

    def __init__(self, networks: Sequence[str]) -> None:
        self._networks: tuple[IPv4Network | IPv6Network, ...] = tuple(ip_network(text) for text in networks)
        self._trusts = lru_cache(maxsize=1024)(self._is_listed)

    def trusts(self, peer: str | None) -> bool:
        """Whether the peer is a listed proxy."""
        return bool(self._networks) and peer is not None and self._trusts(peer)

    def client(self, peer: str | None, headers: Sequence[tuple[str, str]]) -> str | None:
        """Return the address of the client: walking back through listed proxies, the first that is none of them.

        Raises:
            BadForwarding: a listed proxy sends what is no list of at most ``MAX_HOPS`` addresses, or more than one list.
        """
        if not self.trusts(peer):
            return peer
        lists = [value for name, value in headers if name == "x-forwarded-for"]
        if not lists:
            return peer
        if len(lists) > 1:
            raise BadForwarding("one X-Forwarded-For")
        hops = lists[0].split(",")
        if len(hops) > MAX_HOPS:
            raise BadForwarding(f"at most {MAX_HOPS} hops")
        addresses = [_address(hop.strip(" \t")) for hop in hops]
        for address in reversed(addresses):
            if not self._trusts(str(address)):
                return str(address)
        return str(addresses[0])

    def _is_listed(self, text: str) -> bool:
        address = _address(text)
        return any(address in network for network in self._networks)


def _address(text: str) -> Address:
    try:
        address = ip_address(text)
    except ValueError:
        raise BadForwarding("addresses without ports") from None
    if isinstance(address, IPv6Address):
        if address.scope_id:
            raise BadForwarding("addresses without zones")
        return address.ipv4_mapped or address
    return address
