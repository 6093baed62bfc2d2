"""What the rules make of one caller and one entry: for whoever acts on it, and for whoever only wants to know."""

from __future__ import annotations

from dataclasses import dataclass

from vsqlvault.errors import (
    AccessDenied,
    EntryExpired,
    EntryNotFound,
    EntryPurged,
    IdRetired,
    NoRetentionPolicy,
    VaultError,
)
from vsqlvault.interfaces.storage import PolicySnapshot, Snapshot
from vsqlvault.model.access import AccessRequest, Action, Allow, Deny
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.service.access.decisions import AuthorizationResult, Decisions
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.purge.purger import Purger
from vsqlvault.service.rules.policy_cache import PolicyCache

MAX_CLOCK_AGE_SECONDS = 1.0
"""For so long after its last word, the storage's clock is taken to have gone on as this machine's has."""


@dataclass(frozen=True, slots=True)
class LoadedEntry:
    """One look at one entry: what was read, the rules in force, and what they make of it."""

    snapshot: Snapshot
    book: PolicySnapshot
    retention: RetentionPolicy | None
    entry: Entry | None
    state: EntryState | None


class Verdicts:
    """Looks, and decides by what was seen. Whom the entry is decided for stands on the trace, and so does the decision."""

    def __init__(self, queue: CommitQueue, policy_cache: PolicyCache, decisions: Decisions, purges: Purger) -> None:
        self._queue = queue
        self._policy_cache = policy_cache
        self._decisions = decisions
        self._purges = purges

    async def look(self, trace: AuditContext, key: EntryKey, *, with_value: bool) -> LoadedEntry:
        """Return what is there now. Raises Unavailable."""
        snapshot = await self._queue.read(key, with_value=with_value)
        trace.see(snapshot)
        return _seen(snapshot, await self._policy_cache.at(snapshot.revision), key)

    def assume_absent(self, trace: AuditContext, key: EntryKey) -> LoadedEntry | None:
        """Return what a look would show if there were no entry and no rule had changed, for a commit that expects both.

        None where the storage has said nothing for ``MAX_CLOCK_AGE_SECONDS``.

        Raises:
            CredentialRefused: the caller's credential is not good any more.
        """
        book, now = self._policy_cache.known, self._queue.time_within(MAX_CLOCK_AGE_SECONDS)
        if book is None or now is None:
            return None
        snapshot = Snapshot(now, book.revision, None, None)
        trace.see(snapshot)
        return _seen(snapshot, book, key)

    def require_purpose(self, trace: AuditContext, key: EntryKey) -> None:
        """Raise AccessDenied for who does not hold the purpose; that is asked before anything of a request to store."""
        if not trace.call.principal.holds(key.purpose):
            trace.decided = AuthorizationResult(Deny("purpose-not-held"))
            raise AccessDenied

    async def require_entry(
        self, trace: AuditContext, key: EntryKey, action: Action, sight: LoadedEntry
    ) -> tuple[Entry, Allow]:
        """Return the live entry and what allows the action; those who may not know of it learn nothing of its state.

        Raises:
            AccessDenied, EntryNotFound, EntryPurged, EntryExpired, PluginFailed.
        """
        if sight.entry is None:
            principal = trace.call.principal
            if not principal.holds(key.purpose) and not (action is Action.INSPECT and principal.may_inspect_all):
                trace.require(AuthorizationResult(Deny("purpose-not-held")))
            raise EntryNotFound
        allowed = await self._decide(trace, action, sight, sight.entry, key, sight.entry.access_policy)
        if sight.state is EntryState.PURGED:
            raise EntryPurged
        if sight.state is EntryState.EXPIRED:
            raise by_policy(EntryExpired(), sight.retention)
        return sight.entry, allowed

    async def require_storable(
        self, trace: AuditContext, key: EntryKey, access_policy: str, sight: LoadedEntry
    ) -> RetentionPolicy:
        """Return the retention policy under which the caller may store here, an entry that names ``access_policy``.

        Replacing is decided by the policy the entry has; the policy it shall have must let its caller store, too.

        Raises:
            AccessDenied, NoRetentionPolicy, IdRetired, PluginFailed.
        """
        if sight.entry is not None:
            await self._decide(trace, Action.STORE, sight, sight.entry, key, sight.entry.access_policy)
        if sight.entry is None or sight.entry.access_policy != access_policy:
            decided = trace.decided
            await self._decide(trace, Action.STORE, sight, None, key, access_policy)
            trace.decided = decided or trace.decided
        retention = sight.retention
        if retention is None:
            raise NoRetentionPolicy(f"set one with PUT /admin/retention-policies/{key.purpose}")
        if sight.state is EntryState.PURGED:
            raise IdRetired
        if sight.state is EntryState.EXPIRED and self._purges.retires_id(retention):
            raise by_policy(IdRetired(), retention)
        return retention

    async def may_inspect(self, trace: AuditContext, entry: Entry, sight: LoadedEntry) -> bool:
        """Whether the caller may know of the entry. Raises PluginFailed: leaving it out would say that there is none."""
        request = AccessRequest(trace.call.principal, Action.INSPECT, entry.key, entry, sight.snapshot.now)
        decided = await self._decisions.decide(request, entry.access_policy, sight.book)
        if decided.failed:
            trace.require(decided)
        return isinstance(decided.decision, Allow)

    async def _decide(
        self, trace: AuditContext, action: Action, sight: LoadedEntry, entry: Entry | None, key: EntryKey, policy: str
    ) -> Allow:
        request = AccessRequest(trace.call.principal, action, key, entry, sight.snapshot.now)
        return trace.require(await self._decisions.decide(request, policy, sight.book))


def _seen(snapshot: Snapshot, book: PolicySnapshot, key: EntryKey) -> LoadedEntry:
    retention = book.retention.get(key.purpose)
    entry = snapshot.entry
    retention_limit = retention.max_retention_days if retention else None
    return LoadedEntry(snapshot, book, retention, entry, entry.state(snapshot.now, retention_limit) if entry else None)


def by_policy(error: VaultError, retention: RetentionPolicy | None) -> VaultError:
    """Return the error with the version of the retention policy that decided it, for the audit row."""
    if retention is not None:
        error.recorded_detail = f"retention {retention.reference}"
    return error
