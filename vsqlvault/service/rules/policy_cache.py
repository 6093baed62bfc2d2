"""The policies in force and the API keys, kept in memory and never trusted longer than one read."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace

from vsqlvault.interfaces.storage import PolicySnapshot, Storage
from vsqlvault.model.policy import AccessPolicy


class PolicyCache:
    """Knows the rulebook of the newest revision that a read has shown.

    Every read of an entry brings the storage's revision; a newer one than is known makes this load the rulebook again, so
    a policy changed by another process is seen by the next request. What a decision rests on is checked once more inside
    its commit.
    """

    def __init__(self, storage: Storage, built_in: Mapping[str, AccessPolicy]) -> None:
        self._storage = storage
        self._built_in = dict(built_in)
        self._known: PolicySnapshot | None = None
        self._loading = asyncio.Lock()

    async def at(self, revision: int) -> PolicySnapshot:
        """Return the rulebook of ``revision`` or a newer one, the built-in policies in it."""
        if self._known is None or self._known.revision < revision:
            async with self._loading:
                if self._known is None or self._known.revision < revision:
                    self._known = self._with_built_in(await self._storage.policy_snapshot())
        return self._known

    @property
    def known(self) -> PolicySnapshot | None:
        """The newest rulebook that was read, if any was."""
        return self._known

    def is_built_in(self, name: str) -> bool:
        """Whether a policy of this name comes from a plugin and cannot be changed."""
        return name in self._built_in

    def _with_built_in(self, stored: PolicySnapshot) -> PolicySnapshot:
        return replace(stored, access={**stored.access, **self._built_in})
