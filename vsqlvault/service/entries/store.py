"""Stores entries: creates, replaces, or leaves unchanged."""

from __future__ import annotations

from datetime import datetime, timedelta

from vsqlvault.errors import (
    ExpiresInPast,
    FieldError,
    KeyRefWithoutValue,
    RetentionExceeded,
    UndefinedPolicy,
    VaultError,
)
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.interfaces.writes import Committed, EntryAbsent, EntryIs, RevisionIs, StoreEntry, Write
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.ids import new_timed_id
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeReason
from vsqlvault.service.access.authorizer import Authorizer, LoadedEntry, note_retention
from vsqlvault.service.access.loading import MAX_CLOCK_AGE_SECONDS, EntryLoader
from vsqlvault.service.audit.recorder import CREATED, OK, AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.insert_predictor import InsertPredictor
from vsqlvault.service.entries.requests import EntryView, StoreRequest, StoreResult
from vsqlvault.service.purge.purger import Purger, ReplacedVersion

_CLOCK_MARGIN = timedelta(seconds=MAX_CLOCK_AGE_SECONDS)


class EntryStore:
    """Makes one attempt to store an entry. None means that a concurrent change invalidated it."""

    def __init__(
        self,
        queue: CommitQueue,
        loader: EntryLoader,
        authorizer: Authorizer,
        purges: Purger,
        *,
        require_defined_policy: bool,
    ) -> None:
        self._queue = queue
        self._loader = loader
        self._authorizer = authorizer
        self._purges = purges
        self._require_defined_policy = require_defined_policy
        self._predictor = InsertPredictor()

    async def store_first(self, context: AuditContext, key: EntryKey, wanted: StoreRequest) -> StoreResult | None:
        """Make the first attempt: without a read where the entry most likely does not exist."""
        if self._predictor.expects_insert(key.purpose):
            return await self._store_optimistic(context, key, wanted)
        return await self.store_once(context, key, wanted)

    async def store_once(self, context: AuditContext, key: EntryKey, wanted: StoreRequest) -> StoreResult | None:
        """Read the entry, and store by what was read. Raises as ``EntryService.store``."""
        loaded = await self._loader.load(context, key, with_value=True)
        write, stored = await self._prepare(context, key, wanted, loaded)
        return await self._commit(write, stored, loaded)

    async def _store_optimistic(self, context: AuditContext, key: EntryKey, wanted: StoreRequest) -> StoreResult | None:
        """Create the entry without a read: the commit checks that it is absent and that no rule has changed.

        None where that does not hold, where the request would be refused, since a refusal must rest on a read, and where the
        expiry is so near that only the storage's clock can decide whether it is past.
        """
        try:
            loaded = self._loader.assume_absent(context, key)
            if loaded is None or _expires_soon(wanted, loaded.snapshot.now):
                return None
            write, stored = await self._prepare(context, key, wanted, loaded)
        except VaultError:
            self._predictor.learn(key.purpose, absent=False)
            return None
        done = await self._commit(write, stored, loaded)
        if done is None:
            self._predictor.learn(key.purpose, absent=False)
        return done

    async def _prepare(
        self, context: AuditContext, key: EntryKey, wanted: StoreRequest, loaded: LoadedEntry
    ) -> tuple[Write, StoreResult]:
        """Return the write, and the result once it is committed. Raises as ``EntryService.store``."""
        retention = await self._authorizer.authorize_store(context, key, wanted.access_policy, loaded)
        present = loaded.entry if loaded.state is EntryState.ACTIVE else None
        wanted.preconditions.check(present)
        warnings = self._policy_warnings(wanted.access_policy, loaded.policies)
        revision = RevisionIs(loaded.policies.revision)
        if present and _is_same(present, wanted):
            viewed = EntryView(present, present.effective_expires_at(retention.max_retention_days))
            write = Write((context.granted(),), (EntryIs(key, present.stamp), revision))
            return write, StoreResult(viewed, created=False, unchanged=True, warnings=warnings)
        entry = _next_version(context, key, wanted, present, retention, loaded.snapshot.now)
        context.stamp = entry.stamp
        replaced = await self._replaced(context.call, loaded)
        write = Write(
            (context.granted(OK if present else CREATED, detail=f"retention {retention.reference}"),),
            replaced.guards if replaced else (EntryAbsent(key), revision),
            (StoreEntry(entry, wanted.value),),
            (replaced.record,) if replaced else (),
        )
        viewed = EntryView(entry, entry.effective_expires_at(retention.max_retention_days))
        return write, StoreResult(viewed, created=present is None, unchanged=False, warnings=warnings)

    async def _commit(self, write: Write, stored: StoreResult, loaded: LoadedEntry) -> StoreResult | None:
        if not isinstance(await self._queue.commit(write), Committed):
            return None
        self._predictor.learn(stored.viewed.entry.purpose, absent=loaded.entry is None)
        return stored

    async def _replaced(self, call: Call, loaded: LoadedEntry) -> ReplacedVersion | None:
        entry, value = loaded.entry, loaded.snapshot.value
        if entry is None or value is None:
            return None
        reason = PurgeReason.REPLACED if loaded.state is EntryState.ACTIVE else PurgeReason.EXPIRED
        return await self._purges.replaced(call, entry, value, reason, loaded.policies, loaded.snapshot.now)

    def _policy_warnings(self, name: str, policies: PolicySnapshot) -> tuple[str, ...]:
        if name in policies.access:
            return ()
        if self._require_defined_policy:
            raise UndefinedPolicy(f"no access policy is called {name}")
        return (f"access policy {name} is not defined: owner-only rules apply until it is",)


def _is_same(present: Entry, wanted: StoreRequest) -> bool:
    """Whether the request asks for the entry as it is. A request without ``expires_at`` asks for no other expiry."""
    return (
        _has_same_value(present, wanted)
        and present.encoding is wanted.encoding
        and present.algorithm_hint == wanted.algorithm_hint
        and present.key_ref == wanted.key_ref
        and present.metadata == wanted.metadata
        and present.access_policy == wanted.access_policy
        and wanted.expires_at in {None, present.expires_at}
    )


def _has_same_value(present: Entry, wanted: StoreRequest) -> bool:
    return present.value_size == len(wanted.value) and present.value_sha256 == wanted.value_sha256


def _expires_soon(wanted: StoreRequest, assumed_now: datetime) -> bool:
    return wanted.expires_at is not None and wanted.expires_at - assumed_now <= _CLOCK_MARGIN


def _next_version(
    context: AuditContext,
    key: EntryKey,
    wanted: StoreRequest,
    present: Entry | None,
    retention: RetentionPolicy,
    now: datetime,
) -> Entry:
    """Return the entry to store: a new one, or the next version of the one present.

    A next version keeps owner, creation time and retrieval counter. So a replacement neither takes over an entry, nor extends
    its retention, nor resets its limit.
    """
    if present is None:
        principal = context.call.principal
        return Entry(
            key.purpose, key.external_id, new_timed_id(now), 1, wanted.encoding, wanted.value_sha256, len(wanted.value),
            wanted.algorithm_hint, wanted.key_ref, wanted.metadata, principal.app, principal.identity,
            wanted.access_policy, now, now, _expiry(context, wanted.expires_at, now, retention, now),
        )  # fmt: skip
    redescribed = (present.key_ref, present.algorithm_hint) != (wanted.key_ref, wanted.algorithm_hint)
    if redescribed and _has_same_value(present, wanted):
        raise KeyRefWithoutValue
    return Entry(
        key.purpose, key.external_id, present.entry_id, present.version + 1, wanted.encoding, wanted.value_sha256,
        len(wanted.value), wanted.algorithm_hint, wanted.key_ref, wanted.metadata, present.owner_app,
        present.owner_identity, wanted.access_policy, present.created_at, now,
        _expiry(context, wanted.expires_at, present.created_at, retention, now), present.retrievals,
    )  # fmt: skip


def _expiry(
    context: AuditContext, wanted: datetime | None, created_at: datetime, retention: RetentionPolicy, now: datetime
) -> datetime:
    retention_limit = created_at + timedelta(days=retention.max_retention_days)
    if wanted is None:
        return min(now + timedelta(days=retention.default_ttl_days or retention.max_retention_days), retention_limit)
    if wanted <= now:
        raise ExpiresInPast(errors=[FieldError("expires_at", "a time in the future")])
    if wanted > retention_limit:
        expected = f"at most {retention.max_retention_days} days after the entry was created"
        note_retention(context, retention)
        raise RetentionExceeded(errors=[FieldError("expires_at", expected)])
    return wanted
