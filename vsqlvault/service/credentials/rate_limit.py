"""Rate limit of failed authentication, by source."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from ipaddress import IPv6Address, IPv6Network, ip_address

from vsqlvault.errors import CredentialRefused, RateLimited, VaultError
from vsqlvault.quick_dataclass import dataclass

MAX_SOURCES = 4096
IPV6_PREFIX_BITS = 64
_LOCAL = "local"


@dataclass(slots=True)
class _Source:
    failures: float
    at: float


class AuthRateLimiter:
    """Counts refused credentials by source: an IPv4 address, or the /64 of an IPv6 address.

    Failures decay at ``per_minute`` per minute. Beyond ``MAX_SOURCES``, the source whose last failure is oldest is dropped.
    """

    def __init__(
        self, per_minute: int, monotonic: Callable[[], float] = time.monotonic, *, max_sources: int = MAX_SOURCES
    ) -> None:
        """``per_minute`` 0: no limit."""
        self._max_sources = max_sources
        self._per_minute = per_minute
        self._per_second = per_minute / 60
        self._monotonic = monotonic
        self._sources: OrderedDict[str, _Source] = OrderedDict()
        self.refused = 0
        self.limited = 0

    def weigh(self, error: VaultError, address: str | None) -> VaultError:
        """Return the error to answer: the given one, or TooManyRequests if its source exceeds the limit.

        Only refused credentials count; a valid credential never comes here, however often others failed.
        """
        if not isinstance(error, CredentialRefused):
            return error
        self.refused += 1
        wait = self._count(source_of(address)) if self._per_minute else 0.0
        if not wait:
            return error
        self.limited += 1
        return RateLimited(math.ceil(wait), credential_id=error.credential_id)

    @property
    def throttled(self) -> int:
        """How many sources exceed the limit now."""
        now = self._monotonic()
        return sum(self._left(source, now) + 1 > self._per_minute for source in self._sources.values())

    def _count(self, name: str) -> float:
        """Count a failure, and return the seconds until the source may fail again; 0: it is within the limit."""
        now = self._monotonic()
        source = self._sources.get(name)
        if source is None:
            if len(self._sources) >= self._max_sources:
                self._sources.popitem(last=False)
            source = self._sources[name] = _Source(0.0, now)
        self._sources.move_to_end(name)
        source.failures, source.at = self._left(source, now), now
        if source.failures + 1 > self._per_minute:
            return (source.failures + 1 - self._per_minute) / self._per_second
        source.failures += 1
        return 0.0

    def _left(self, source: _Source, now: float) -> float:
        return max(0.0, source.failures - (now - source.at) * self._per_second)


def source_of(address: str | None) -> str:
    """Return the source with which failures of an address are counted."""
    if address is None:
        return _LOCAL
    try:
        found = ip_address(address)
    except ValueError:
        return _LOCAL
    if isinstance(found, IPv6Address):
        if found.ipv4_mapped:
            return str(found.ipv4_mapped)
        return str(IPv6Network((int(found), IPV6_PREFIX_BITS), strict=False))
    return str(found)
