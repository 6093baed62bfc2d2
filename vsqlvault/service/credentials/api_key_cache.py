"""The stored API keys in memory: found by digest, and verified again by each request's own read."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from datetime import datetime

from vsqlvault.errors import CredentialRefused, StorageUnavailable, VaultError
from vsqlvault.interfaces.storage import Snapshot
from vsqlvault.model.api_key import ApiKeyRecord, ApiKeyState
from vsqlvault.model.principal import Principal
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.storage_clock import StorageClock

PAUSE_SECONDS = 0.02
REFRESH_TIMEOUT_SECONDS = 1.0


class ApiKeyCache:
    """See ``StoredKeys``. The keys are those of the cached policy snapshot; every read of the storage refreshes it."""

    def __init__(
        self,
        policy_cache: PolicyCache,
        read: Callable[[], Awaitable[Snapshot]],
        clock: StorageClock,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
        pause_seconds: float = PAUSE_SECONDS,
        timeout_seconds: float = REFRESH_TIMEOUT_SECONDS,
    ) -> None:
        self._policy_cache = policy_cache
        self._read = read
        self._clock = clock
        self._monotonic = monotonic
        self._sleep = sleep
        self._revision = -1
        self._by_id: dict[str, ApiKeyRecord] = {}
        self._by_digest: dict[str, ApiKeyRecord] = {}
        self._pause_seconds = pause_seconds
        self._timeout_seconds = timeout_seconds
        self._began_at = float("-inf")
        self._current: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    def find(self, digest: str) -> ApiKeyRecord | None:
        """See ``StoredKeys.find``."""
        self._catch_up()
        return self._by_digest.get(digest)

    def all(self) -> Iterable[ApiKeyRecord]:
        """See ``StoredKeys.all``."""
        self._catch_up()
        return tuple(self._by_id.values())

    def now(self) -> datetime:
        """See ``StoredKeys.now``."""
        return self._clock.now()

    can_refresh = True
    """See ``StoredKeys.can_refresh``."""

    async def look(self) -> None:
        """See ``StoredKeys.look``. The read begins after this call, and serves every caller that waits for it.

        Reads begin ``pause_seconds`` apart, one at a time, so that a flood of wrong keys costs the storage a fixed number
        of reads a second, and a key that was created elsewhere is found all the same.
        """
        if self._next is None:
            self._next = asyncio.create_task(self._refresh(self._current))
        await asyncio.shield(self._next)

    async def _refresh(self, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])
        await self._sleep(max(0.0, self._began_at + self._pause_seconds - self._monotonic()))
        self._current, self._next = self._next, None  # a caller that comes from now on waits for the next read
        self._began_at = self._monotonic()
        with suppress(VaultError, TimeoutError):
            async with asyncio.timeout(self._timeout_seconds):
                await self._read()

    def revalidate(self, principal: Principal, snapshot: Snapshot) -> None:
        """Refuse a principal whose stored key is no longer valid according to this read of the storage.

        Raises:
            CredentialRefused: the key is revoked, or has expired by the storage's clock.
            StorageUnavailable: the read shows that policies have changed, and they could not be loaded.
        """
        known = self._policy_cache.known
        if known is not None and known.revision != self._revision:
            self._catch_up()
        key = self._by_id.get(principal.credential_id)
        if key is None:
            return
        if self._revision < snapshot.revision:
            raise StorageUnavailable
        state = key.state(snapshot.now)
        if state is not ApiKeyState.ACTIVE:
            raise CredentialRefused(state.value, credential_id=key.key_id)

    def _catch_up(self) -> None:
        policies = self._policy_cache.known
        if policies is None or policies.revision == self._revision:
            return
        self._revision = policies.revision
        self._by_id = {
            key.key_id: old if (old := self._by_id.get(key.key_id)) == key else key
            for key in policies.api_keys.values()
            if key.key_id not in self._policy_cache.unlogged_keys
        }
        self._by_digest = {key.digest: key for key in self._by_id.values()}
