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

LOOK_EVERY_SECONDS = 1.0
LOOK_TAKES_SECONDS = 1.0


class ApiKeyCache:
    """See ``StoredKeys``. The keys are those of the cached policy snapshot; every read of the storage refreshes it."""

    def __init__(
        self,
        policy_cache: PolicyCache,
        read: Callable[[], Awaitable[Snapshot]],
        clock: StorageClock,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._policy_cache = policy_cache
        self._read = read
        self._clock = clock
        self._monotonic = monotonic
        self._revision = -1
        self._by_id: dict[str, ApiKeyRecord] = {}
        self._by_digest: dict[str, ApiKeyRecord] = {}
        self._looked_at = -LOOK_EVERY_SECONDS
        self._looking: asyncio.Task[None] | None = None

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

    @property
    def can_refresh(self) -> bool:
        """See ``StoredKeys.can_refresh``. Callers that arrive during a refresh wait for its result."""
        return self._looking is not None or self._monotonic() - self._looked_at >= LOOK_EVERY_SECONDS

    async def look(self) -> None:
        """See ``StoredKeys.look``. One read serves all callers, so that invalid keys cannot overload the storage."""
        if not self.can_refresh:
            return
        if self._looking is None:
            self._looked_at = self._monotonic()
            self._looking = asyncio.create_task(self._look())
        await asyncio.shield(self._looking)

    async def _look(self) -> None:
        try:
            with suppress(VaultError, TimeoutError):
                async with asyncio.timeout(LOOK_TAKES_SECONDS):
                    await self._read()
        finally:
            self._looking = None

    def revalidate(self, principal: Principal, snapshot: Snapshot) -> None:
        """Refuse a principal whose stored key is no longer valid according to this read of the storage.

        Raises:
            CredentialRefused: the key is revoked, or has expired by the storage's clock.
            StorageUnavailable: the read shows that policies have changed, and they could not be loaded.
        """
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
        book = self._policy_cache.known
        if book is None or book.revision == self._revision:
            return
        self._revision = book.revision
        self._by_id = {
            key.key_id: old if (old := self._by_id.get(key.key_id)) == key else key for key in book.api_keys.values()
        }
        self._by_digest = {key.digest: key for key in self._by_id.values()}
