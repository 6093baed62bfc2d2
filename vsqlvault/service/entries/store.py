"""Stores entries: creates, replaces, updates, or leaves unchanged."""

from __future__ import annotations

from dataclasses import replace

from vsqlvault.errors import EntryPurged, NoRetentionPolicy, PluginFailed, UndefinedPolicy, VaultError
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.interfaces.writes import Committed, EntryAbsent, EntryIs, RevisionIs, StoreEntry, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeReason
from vsqlvault.proof.entry_statement import state_entry
from vsqlvault.service.access.authorizer import Authorizer, LoadedEntry, require_allowed
from vsqlvault.service.access.loading import EntryLoader
from vsqlvault.service.audit.recorder import CREATED, OK, AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.insert_predictor import InsertPredictor
from vsqlvault.service.entries.key_usage import KeyUsage
from vsqlvault.service.entries.requests import EntryView, StoreRequest, StoreResult, UpdateRequest
from vsqlvault.service.entries.seen import SeenEntries
from vsqlvault.service.entries.value_integrity import ValueIntegrity
from vsqlvault.service.entries.versions import expires_soon, has_same_value, is_same, next_version, updated
from vsqlvault.service.purge.purger import Purger, ReplacedVersion


class EntryStore:
    """Makes one attempt to store an entry. None means that a concurrent change invalidated it."""

    def __init__(
        self,
        queue: CommitQueue,
        loader: EntryLoader,
        seen: SeenEntries,
        authorizer: Authorizer,
        purges: Purger,
        integrity: ValueIntegrity,
        key_usage: KeyUsage,
        *,
        require_defined_policy: bool,
    ) -> None:
        self._queue = queue
        self._loader = loader
        self._seen = seen
        self._authorizer = authorizer
        self._purges = purges
        self._integrity = integrity
        self._key_usage = key_usage
        self._require_defined_policy = require_defined_policy
        self._predictor = InsertPredictor()

    async def store_once(self, context: AuditContext, key: EntryKey, wanted: StoreRequest) -> StoreResult | None:
        """Read the entry, and store by what was read. Raises as ``EntryService.store``.

        The first attempt is made without a read, if the entry was read before, or most likely does not exist.
        """
        if context.at is None:
            if (seen := self._seen.entry(key)) is not None:
                stored = await self._store_seen(context, key, wanted, seen)
            elif self._predictor.expects_insert(key.purpose):
                stored = await self._store_optimistic(context, key, wanted)
            else:
                stored = None
            if stored is not None:
                return stored
        loaded = await self._loader.load(context, key, with_value=True)
        write, result = await self._prepare(context, key, wanted, loaded)
        return await self._commit(write, result, loaded)

    async def update(
        self, context: AuditContext, present: Entry, wanted: UpdateRequest, loaded: LoadedEntry
    ) -> StoreResult | None:
        """Change an entry whose caller may store it, as ``loaded`` found it. Raises as ``EntryService.update``."""
        name = wanted.access_policy or present.access_policy
        if name != present.access_policy:
            await self._authorizer.authorize_policy(context, present.key, name, loaded)
        retention, value = loaded.retention, loaded.snapshot.value
        if retention is None:
            raise NoRetentionPolicy(f"set one with PUT /admin/retention-policies/{present.purpose}")
        if name != present.access_policy:
            require_allowed(context, name, retention)
        wanted.preconditions.check(present)
        if value is None:
            raise EntryPurged
        entry = updated(context, present, wanted, retention, loaded.snapshot.now)
        warnings = self._policy_warnings(name, loaded.policies)
        if entry is present:
            write, result = _unchanged(context, present, retention, loaded, warnings)
        else:
            write, result = _updated(context, present, entry, value, retention, loaded, warnings)
        return result if isinstance(await self._queue.commit(write), Committed) else None

    async def _store_optimistic(self, context: AuditContext, key: EntryKey, wanted: StoreRequest) -> StoreResult | None:
        """Create the entry without a read: the commit checks that it is absent and that no rule has changed.

        None where that does not hold, where the request would be refused, since a refusal must rest on a read, and where the
        expiry is so near that only the storage's clock can decide whether it is past.

        Raises:
            PluginFailed, Unavailable, CredentialRefused: as ``EntryLoader.require_changed``.
        """
        try:
            loaded = self._loader.assume(context, key)
        except VaultError:
            self._predictor.learn(key.purpose, absent=False)
            return None
        if loaded is None or expires_soon(wanted, loaded.snapshot.now):
            return None
        try:
            write, stored = await self._prepare(context, key, wanted, loaded)
        except VaultError as error:
            self._predictor.learn(key.purpose, absent=False)
            if isinstance(error, PluginFailed):
                await self._loader.require_changed(context, key, loaded, error)
            return None
        done = await self._commit(write, stored, loaded)
        if done is None:
            self._predictor.learn(key.purpose, absent=False)
        return done

    async def _store_seen(
        self, context: AuditContext, key: EntryKey, wanted: StoreRequest, seen: Entry
    ) -> StoreResult | None:
        """Replace the entry without a read: the commit checks that it is as it was seen, and that its value has its hash.

        None where that does not hold, where the value would stay, and as for ``_store_optimistic``. Raises as that.
        """
        loaded = self._seen.assume(context, key, seen)
        if loaded is None or expires_soon(wanted, loaded.snapshot.now) or has_same_value(seen, wanted):
            return None
        try:
            write, stored = await self._prepare(context, key, wanted, loaded, is_seen=True)
        except VaultError as error:
            await self._seen.require_changed(context, seen, loaded, error)
            return None
        if await self._seen.commit(seen, loaded, write) is None:
            return None
        self._note(write, stored, loaded)
        return stored

    async def _prepare(
        self,
        context: AuditContext,
        key: EntryKey,
        wanted: StoreRequest,
        loaded: LoadedEntry,
        *,
        is_seen: bool = False,
    ) -> tuple[Write, StoreResult]:
        """Return the write, and the result once it is committed. ``is_seen``: the storage checks the value that is replaced.

        Raises as ``EntryService.store``.
        """
        retention = await self._authorizer.authorize_store(context, key, wanted.access_policy, loaded)
        present = loaded.entry if loaded.state is EntryState.ACTIVE else None
        wanted.preconditions.check(present)
        warnings = self._policy_warnings(wanted.access_policy, loaded.policies)
        if present and is_same(present, wanted) and _is_stored(loaded, wanted):
            return _unchanged(context, present, retention, loaded, warnings)
        entry = next_version(context, key, wanted, present, retention, loaded.snapshot.now)
        if present and has_same_value(present, wanted) and _is_stored(loaded, wanted):
            return _updated(context, present, entry, wanted.value, retention, loaded, warnings)
        self._key_usage.require_current(entry.key_ref, loaded.snapshot.now)
        context.stamp = entry.stamp
        replaced = await self._replaced(context.call, loaded, is_seen=is_seen)
        write = Write(
            (context.granted(OK if present else CREATED, detail=_stated(entry, retention)),),
            replaced.guards if replaced else (EntryAbsent(key), RevisionIs(loaded.policies.revision)),
            (StoreEntry(entry, wanted.value),),
            (replaced.record,) if replaced else (),
        )
        viewed = EntryView(entry, entry.effective_expires_at(retention.max_retention_days))
        return write, StoreResult(viewed, created=present is None, unchanged=False, warnings=warnings)

    async def _commit(self, write: Write, stored: StoreResult, loaded: LoadedEntry) -> StoreResult | None:
        if not isinstance(await self._queue.commit(write), Committed):
            return None
        self._note(write, stored, loaded)
        return stored

    def _note(self, write: Write, stored: StoreResult, loaded: LoadedEntry) -> None:
        """Remember what was committed."""
        entry = stored.viewed.entry
        self._predictor.learn(entry.purpose, absent=loaded.entry is None)
        self._integrity.forget((entry.key,))
        if write.changes and write.access[0].operation is Operation.STORE:
            self._seen.keep_stored(entry.key, entry)
            self._key_usage.note(entry.key_ref, loaded.snapshot.now)

    async def _replaced(self, call: Call, loaded: LoadedEntry, *, is_seen: bool) -> ReplacedVersion | None:
        entry, value = loaded.entry, loaded.snapshot.value
        if entry is None or (value is None and not is_seen):
            return None
        reason = PurgeReason.REPLACED if loaded.state is EntryState.ACTIVE else PurgeReason.EXPIRED
        return await self._purges.replaced(call, entry, value, reason, loaded.policies, loaded.snapshot.now)

    def _policy_warnings(self, name: str, policies: PolicySnapshot) -> tuple[str, ...]:
        if name in policies.access:
            return ()
        if self._require_defined_policy:
            raise UndefinedPolicy(f"no access policy is called {name}{did_you_mean(name, policies.access)}")
        near = did_you_mean(name, policies.access)
        return (f"access policy {name} is not defined{near}: owner-only rules apply until it is",)


def _is_stored(loaded: LoadedEntry, wanted: StoreRequest) -> bool:
    """Return whether the stored bytes are those to store. Their recorded hash alone does not show that."""
    return loaded.snapshot.value == wanted.value


def _stated(entry: Entry, retention: RetentionPolicy) -> str:
    """Return the detail of the row of a new version, from which ``verify`` learns what the entry must be."""
    return f"retention {retention.reference}, {state_entry(entry)}"


def _unchanged(
    context: AuditContext, present: Entry, retention: RetentionPolicy, loaded: LoadedEntry, warnings: tuple[str, ...]
) -> tuple[Write, StoreResult]:
    """Return the commit and the result where the entry is as it is wanted: there is no new version."""
    viewed = EntryView(present, present.effective_expires_at(retention.max_retention_days))
    write = Write((context.granted(),), (EntryIs(present.key, present.stamp), RevisionIs(loaded.policies.revision)))
    return write, StoreResult(viewed, created=False, unchanged=True, warnings=warnings)


def _updated(
    context: AuditContext,
    present: Entry,
    entry: Entry,
    value: bytes,
    retention: RetentionPolicy,
    loaded: LoadedEntry,
    warnings: tuple[str, ...],
) -> tuple[Write, StoreResult]:
    """Return the commit and the result of a new version that keeps the value: nothing is purged.

    Raises:
        EntryHeld: the metadata would change under a legal hold, which keeps it, and may select by it.
    """
    if entry.metadata != present.metadata:
        loaded.policies.require_free(present, names_holds=context.call.principal.may_inspect_all)
    context.stamp = entry.stamp
    row = replace(context.granted(detail=_stated(entry, retention)), operation=Operation.UPDATE)
    expects = (EntryIs(present.key, present.stamp), RevisionIs(loaded.policies.revision))
    viewed = EntryView(entry, entry.effective_expires_at(retention.max_retention_days))
    write = Write((row,), expects, (StoreEntry(entry, value),))
    return write, StoreResult(viewed, created=False, unchanged=False, warnings=warnings)
