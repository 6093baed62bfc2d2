"""Access to the API keys in the storage, for authenticators."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.times import utc_now


class StoredKeys(Protocol):
    """The keys in memory, at most one or two seconds behind the storage. A lookup is a dictionary access.

    The vault itself rejects a request whose key was revoked meanwhile: the request's read of the storage detects it, or
    its commit does. An authenticator need not check this.
    """

    def find(self, digest: str) -> ApiKeyRecord | None:
        """Return the key with this SHA-256 digest (64 hex digits), in any state."""
        ...

    def all(self) -> Iterable[ApiKeyRecord]:
        """Return every key, including expired and revoked ones."""
        ...

    def now(self) -> datetime:
        """Return the storage's clock, by which keys expire on every node."""
        ...

    @property
    def can_refresh(self) -> bool:
        """Whether there is a storage with keys, so that ``look`` may find one that is not in memory."""
        ...

    async def look(self) -> None:
        """Load the keys that other processes have created before this call. Errors of the storage are not raised."""
        ...


class NoStoredKeys:
    """Stored keys without any key, with this machine's clock: for checking settings, and for tests."""

    can_refresh = False

    def find(self, digest: str) -> ApiKeyRecord | None:  # noqa: ARG002
        """See ``StoredKeys.find``."""
        return None

    def all(self) -> Iterable[ApiKeyRecord]:
        """See ``StoredKeys.all``."""
        return ()

    def now(self) -> datetime:
        """See ``StoredKeys.now``."""
        return utc_now()

    async def look(self) -> None:
        """See ``StoredKeys.refresh``."""
