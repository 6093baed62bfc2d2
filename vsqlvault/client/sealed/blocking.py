"""A vault whose values are sealed before they are sent."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any

from vsqlvault.client.blocking import Vault
from vsqlvault.client.errors import PreconditionFailed
from vsqlvault.client.results.entries import StoredEntry
from vsqlvault.client.sealed import entries
from vsqlvault.client.sealed.entries import OpenedEntry
from vsqlvault.client.sealed.keyrings import KeyRing
from vsqlvault.client.wire import Time


class SealedVault:
    """Seals before ``put`` and opens after ``get``. ``vault`` has everything else: ``head``, ``delete``, ``list`` and so on."""

    def __init__(self, vault: Vault, keyring: KeyRing) -> None:
        self.vault = vault
        self.keyring = keyring

    def __enter__(self) -> SealedVault:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.vault.close()

    def put(
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
        """Store a plaintext, sealed under the current key. The parameters are those of ``Vault.put``.

        Each call seals again, so the same plaintext is another version of the entry.
        """
        request = entries.put(
            self.keyring.sealing_key(),
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
        return self.vault.send(request)

    def get(self, purpose: str, external_id: str) -> OpenedEntry:
        """Retrieve an entry and open it. Raises VaultError; SealError where the value does not open."""
        return entries.opened(self.keyring, self.vault.get(purpose, external_id), purpose, external_id)

    def reseal(self, purpose: str, external_id: str) -> StoredEntry | None:
        """Seal an entry under the current key, and replace exactly the version that is read.

        None: it is under the current key already.

        Reading for it is a retrieval, which counts.

        Raises:
            PreconditionFailed: the entry was changed meanwhile. SealError, VaultError.
        """
        entry = self.vault.get(purpose, external_id)
        resealing = entries.resealing(self.keyring, entry, purpose, external_id)
        if resealing is None:
            return None
        try:
            return self.vault.send(resealing.request)
        except PreconditionFailed as conflict:
            if not conflict.maybe_applied:
                raise
            found = self.vault.get(purpose, external_id)
            if found.value != resealing.value:
                raise
            return entries.unchanged(found)

    def stale(self, purpose: str, key_ref: str) -> Iterator[str]:
        """Return the ids of the entries of a purpose that still lie under a key: what is left to reseal."""
        return (entry.external_id for entry in self.vault.list(purpose, key_ref=key_ref))
