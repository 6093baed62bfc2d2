"""Loads an entry together with the policies in force."""

from __future__ import annotations

from vsqlvault.errors import PluginFailed
from vsqlvault.interfaces.storage import Snapshot
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.service.access.authorizer import LoadedEntry
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue

MAX_CLOCK_AGE_SECONDS = 1.0
"""The maximum time after a read for which this machine's clock extrapolates the storage's clock."""


class EntryLoader:
    """Reads entries through the commit queue."""

    def __init__(
        self, queue: CommitQueue, policy_cache: PolicyCache, max_clock_age_seconds: float = MAX_CLOCK_AGE_SECONDS
    ) -> None:
        self.max_clock_age_seconds = max_clock_age_seconds
        self._queue = queue
        self._policy_cache = policy_cache

    async def load(self, context: AuditContext, key: EntryKey, *, with_value: bool) -> LoadedEntry:
        """Return the entry under ``key`` as it is now. Raises Unavailable, CredentialRefused."""
        snapshot = await self._queue.read(key, with_value=with_value, app=context.call.principal.app)
        context.observe(snapshot)
        policies = self._policy_cache.known
        if policies is None or policies.revision < snapshot.revision:
            policies = await self._policy_cache.at(snapshot.revision)
        return LoadedEntry.of(snapshot, policies, key)

    def assume(self, context: AuditContext, key: EntryKey, entry: Entry | None = None) -> LoadedEntry | None:
        """Return what a load would find if the entry were this one, or absent, and no rule had changed.

        The commit must expect both. None where the last read is older than ``max_clock_age_seconds``.

        Raises:
            CredentialRefused: the caller's credential is no longer valid.
        """
        policies, now = self._policy_cache.known, self._queue.time_within(self.max_clock_age_seconds)
        if policies is None or now is None:
            return None
        snapshot = Snapshot(now, policies.revision, entry, None)
        context.observe(snapshot)
        return LoadedEntry.of(snapshot, policies, key)

    async def require_changed(
        self, context: AuditContext, key: EntryKey, assumed: LoadedEntry, failed: PluginFailed
    ) -> None:
        """Return if a read shows another entry or other rules than ``assume`` did. Else the evaluator is not asked again.

        An evaluator that fails late is asked once, so the caller waits for one deadline.

        Raises:
            PluginFailed: nothing has changed. Unavailable, CredentialRefused: as ``load``.
        """
        decided = context.decided
        loaded = await self.load(context, key, with_value=False)
        if _found(loaded) == _found(assumed):
            context.decided = decided
            raise failed


def _found(loaded: LoadedEntry) -> tuple[object, ...]:
    return loaded.policies.revision, loaded.entry.stamp if loaded.entry else None
