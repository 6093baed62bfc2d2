"""The policies in force and the API keys in memory, verified against the revision of every read."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from vsqlvault.interfaces.storage import PolicySnapshot, Storage
from vsqlvault.model.policy import AccessPolicy

UnloggedKeys = Callable[[PolicySnapshot], Awaitable[frozenset[str]]]
"""Returns the ids of the API keys that no audit row created, or that one revoked."""


async def _none(_policies: PolicySnapshot) -> frozenset[str]:
    return frozenset()


class PolicyCache:
    """Caches the policy snapshot of the newest revision that a read has returned.

    Every read of an entry returns the storage's revision; a newer one makes this load the policies again, so that the next
    request sees a change made by another process. A commit checks the revision once more.
    """

    def __init__(
        self, storage: Storage, built_in: Mapping[str, AccessPolicy], find_unlogged: UnloggedKeys = _none
    ) -> None:
        self._storage = storage
        self._find_unlogged = find_unlogged
        self._built_in = dict(built_in)
        self.known: PolicySnapshot | None = None
        """The newest policies that were read; None before the first read."""
        self.unlogged_keys: frozenset[str] = frozenset()
        """The ids of the API keys in ``known`` that no audit row created or that one revoked. They must not authenticate."""
        self._loading = asyncio.Lock()

    async def at(self, revision: int) -> PolicySnapshot:
        """Return the policy snapshot of ``revision`` or a newer one, built-in policies included."""
        if self.known is None or self.known.revision < revision:
            async with self._loading:
                if self.known is None or self.known.revision < revision:
                    loaded = await self._storage.policy_snapshot()
                    self.unlogged_keys = await self._find_unlogged(loaded)
                    self.known = self._with_built_in(loaded)
        return self.known

    def is_built_in(self, name: str) -> bool:
        """Whether a policy of this name comes from a plugin and cannot be changed."""
        return name in self._built_in

    def _with_built_in(self, stored: PolicySnapshot) -> PolicySnapshot:
        """Return the snapshot as read-only mappings: plugins are given them, and every request goes by them."""
        return replace(
            stored,
            access=MappingProxyType({**stored.access, **self._built_in}),
            retention=MappingProxyType(dict(stored.retention)),
            access_versions=MappingProxyType(dict(stored.access_versions)),
            api_keys=MappingProxyType(dict(stored.api_keys)),
            holds=MappingProxyType(dict(stored.holds)),
        )
