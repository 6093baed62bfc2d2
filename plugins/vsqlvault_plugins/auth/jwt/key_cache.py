"""The key cache of an issuer: fetches keys when needed, renews them in time, and limits their age."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection

from vsqlvault.errors import AuthUnavailable
from vsqlvault.model.control import Check, ControlState
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.auth.jwt.keys import JwksRefused, KeySet, digest_of, read_key_set
from vsqlvault_plugins.auth.jwt.sources import KeySource, NotFetched

log = logging.getLogger(__name__)


RENEW_AT = 0.8
"""The fraction of their time to live after which requested keys are fetched again, while they are still used."""


@dataclass(frozen=True, slots=True)
class Times:
    """The limits on the age of keys. ``last_good_seconds`` comes after ``ttl_seconds``, and only while fetching fails."""

    ttl_seconds: float
    last_good_seconds: float
    unknown_kid_cooldown_seconds: float


@dataclass(frozen=True, slots=True)
class FetchTimes:
    """How long a fetch may take, how long a request waits for it, and how long after a failure the next one starts."""

    fetch_seconds: float = 3.0
    wait_seconds: float = 1.5
    retry_seconds: float = 5.0


DEFAULT_FETCH_TIMES = FetchTimes()


class KeyCache:
    """The keys of one issuer. One fetch runs at a time, and fetches for unknown key names are rate-limited."""

    def __init__(
        self,
        issuer: str,
        source: KeySource,
        algorithms: Collection[str],
        times: Times,
        clock: Callable[[], float],
        fetch_times: FetchTimes = DEFAULT_FETCH_TIMES,
    ) -> None:
        self._fetch_times = fetch_times
        self._issuer = issuer
        self._source = source
        self._algorithms = algorithms
        self._times = times
        self._clock = clock
        self._keys: KeySet | None = None
        self._loaded_at = float("-inf")
        self._tried_at = float("-inf")
        self._is_failing = False
        self._loading: asyncio.Task[None] | None = None

    def inherit(self, former: KeyCache) -> None:
        """Take over the keys of a cache with the same issuer and source, as if their time to live were over."""
        self._keys = former._keys
        self._loaded_at = min(former._loaded_at, self._clock() - self._times.ttl_seconds)

    def in_force(self) -> KeySet | None:
        """Return the verification keys, or None if ``load`` must run first.

        Raises:
            AuthUnavailable: there are no keys, and fetching them has just failed.
        """
        now = self._clock()
        age, since_tried = now - self._loaded_at, now - self._tried_at
        if age < self._times.ttl_seconds:
            if age >= self._times.ttl_seconds * RENEW_AT:
                self._start_if_due(since_tried)
            return self._keys
        if not self._is_failing or since_tried >= 2 * self._fetch_times.retry_seconds:
            return None
        if age < self._times.ttl_seconds + self._times.last_good_seconds:
            self._start_if_due(since_tried)
            return self._keys
        if not self._is_loading and since_tried < self._fetch_times.retry_seconds:
            raise AuthUnavailable
        return None

    def may_look_for(self, kid: str | None) -> bool:
        """Return whether ``load`` may be called because a token names a key that is not among those in force.

        Names are not remembered: a client that guesses a name before it is published must not delay it.
        """
        cooldown = self._times.unknown_kid_cooldown_seconds
        return kid is not None and (self._is_loading or self._clock() - self._tried_at >= cooldown)

    async def load(self) -> None:
        """Fetch the keys, or join a fetch in progress, and return when it is done or has taken the wait of
        ``FetchTimes``.
        """
        await asyncio.wait({self._start()}, timeout=self._fetch_times.wait_seconds)

    def check(self) -> Check:
        """Return whether the keys are sufficiently fresh. Start a fetch that is due, even if no request needs a key."""
        now = self._clock()
        age = now - self._loaded_at
        if age >= self._times.ttl_seconds * RENEW_AT:
            self._start_if_due(now - self._tried_at)
        if not self._is_failing or age < self._times.ttl_seconds:
            return Check(ControlState.OK, f"{self._issuer}: keys are fetched in time")
        if age < self._times.ttl_seconds + self._times.last_good_seconds:
            return Check(
                ControlState.FAILING, f"{self._issuer}: keys cannot be fetched; the last good ones are in force"
            )
        return Check(ControlState.FAILING, f"{self._issuer}: keys cannot be fetched; no token can be verified")

    async def close(self) -> None:
        """Cancel a running fetch."""
        if self._loading is not None and self._loading.get_loop() is asyncio.get_running_loop():
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    @property
    def _is_loading(self) -> bool:
        return self._loading is not None and not self._loading.done()

    def _start_if_due(self, since_tried: float) -> None:
        if not self._is_loading and (not self._is_failing or since_tried >= self._fetch_times.retry_seconds):
            self._start()

    def _start(self) -> asyncio.Task[None]:
        if self._loading is None or self._loading.done():
            self._tried_at = self._clock()
            self._loading = asyncio.get_running_loop().create_task(self._fetch())
        return self._loading

    async def _fetch(self) -> None:
        try:
            async with asyncio.timeout(self._fetch_times.fetch_seconds):
                data = await self._source.load()
                if self._keys is None or self._keys.digest != digest_of(data):
                    self._keys = await asyncio.to_thread(read_key_set, data, self._algorithms, self._issuer)
                    log.info("JWKS loaded", extra={"issuer": self._issuer, "keys": self._keys.usable})
        except (NotFetched, JwksRefused) as error:
            self._failed(str(error))
        except TimeoutError:
            self._failed(f"no answer within {self._fetch_times.fetch_seconds:g} seconds")
        except Exception as error:  # noqa: BLE001 - no error may invalidate the keys in use
            self._failed(getattr(error, "strerror", None) or type(error).__name__)
        else:
            self._is_failing = False
            self._loaded_at = self._tried_at  # the document is from this time or later

    def _failed(self, why: str) -> None:
        self._is_failing = True
        limit = self._times.ttl_seconds + self._times.last_good_seconds
        left = max(0.0, self._loaded_at + limit - self._clock())
        told = {"issuer": self._issuer, "error": why, "last_good_keys_for_seconds": round(left)}
        if left:
            log.warning("JWKS cannot be loaded: the last good keys stay in force", extra=told)
        else:
            log.error("JWKS cannot be loaded: no token of this issuer can be verified", extra=told)
