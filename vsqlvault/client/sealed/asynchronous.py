"""As ``SealedVault``, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, TypeVar

from anyio import to_thread

from vsqlvault.client.asynchronous import AsyncVault
from vsqlvault.client.errors import PreconditionFailed
from vsqlvault.client.results.entries import StoredEntry
from vsqlvault.client.sealed import entries
from vsqlvault.client.sealed.entries import OpenedEntry
from vsqlvault.client.sealed.keyrings import KeyRing
from vsqlvault.client.wire import Time

Result = TypeVar("Result")


class AsyncSealedVault:
    """Seals before ``put`` and opens after ``get``. ``vault`` has everything else. A key ring that blocks has a thread."""

    def __init__(self, vault: AsyncVault, keyring: KeyRing) -> None:
        self.vault = vault
        self.keyring = keyring

    async def __aenter__(self) -> AsyncSealedVault:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.vault.aclose()

    async def put(
        self,
        purpose: str,
        external_id: str,
        plaintext: bytes | str,
        *,
        metadata: Mapping[str, Any] | None = None,
        expires_at: Time | None = None,
        ttl: str | timedelta | None = None,
        access_policy: str | None = None,
        if_match: str | None = None,
        create_only: bool = False,
    ) -> StoredEntry:
        """Store a plaintext, sealed under the current key. See ``SealedVault.put``."""
        request = entries.put(
            await self._asked(self.keyring.sealing_key),
            purpose,
            external_id,
            plaintext,
            metadata=metadata,
            expires_at=expires_at,
            ttl=ttl,
            access_policy=access_policy,
            if_match=if_match,
            create_only=create_only,
        )
        return await self.vault.send(request)

    async def get(self, purpose: str, external_id: str) -> OpenedEntry:
        """Retrieve an entry and open it. Raises VaultError; SealError where the value does not open."""
        entry = await self.vault.get(purpose, external_id)
        return await self._asked(lambda: entries.opened(self.keyring, entry, purpose, external_id))

    async def reseal(self, purpose: str, external_id: str) -> StoredEntry | None:
        """Seal an entry under the current key; None: it is there already. See ``SealedVault.reseal``."""
        entry = await self.vault.get(purpose, external_id)
        resealing = await self._asked(lambda: entries.resealing(self.keyring, entry, purpose, external_id))
        if resealing is None:
            return None
        try:
            return await self.vault.send(resealing.request)
        except PreconditionFailed as conflict:
            if not conflict.maybe_applied:
                raise
            found = await self.vault.get(purpose, external_id)
            if found.value != resealing.value:
                raise
            return entries.unchanged(found)

    async def stale(self, purpose: str, key_ref: str) -> AsyncIterator[str]:
        """Return the ids of the entries of a purpose that still lie under a key: what is left to reseal."""
        async for entry in self.vault.list(purpose, key_ref=key_ref):
            yield entry.external_id

    async def _asked(self, question: Callable[[], Result]) -> Result:
        return await to_thread.run_sync(question) if self.keyring.blocks else question()
