"""The API keys that the storage keeps, as an authenticator sees them."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Protocol

from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.times import utc_now


class StoredKeys(Protocol):
    """Keys in memory, which follow the storage within a second or two; asking for one costs a look into a dictionary.

    A request whose key was revoked meanwhile is refused by the vault itself: the request's own read of the storage shows it,
    or its commit does. An authenticator need not see to that.
    """

    def find(self, digest: str) -> ApiKeyRecord | None:
        """Return the key whose SHA-256 this is (64 hex digits), whatever its state."""
        ...

    def all(self) -> Iterable[ApiKeyRecord]:
        """Return every key, expired and revoked ones among them."""
        ...

    def now(self) -> datetime:
        """Return the storage's clock, by which keys expire on every node alike."""
        ...

    @property
    def can_refresh(self) -> bool:
        """Whether ``look`` would look: it does so once a second at most."""
        ...

    async def look(self) -> None:
        """Load the keys that another process has created, if ``can_refresh``. Errors of the storage are not raised."""
        ...


class NoStoredKeys:
    """None at all, and this machine's clock: for settings that are only checked, and for tests."""

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
        """See ``StoredKeys.look``."""
