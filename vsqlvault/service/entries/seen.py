"""Commits requests about entries that were read before in one round trip."""

from __future__ import annotations

from datetime import timedelta

from vsqlvault.errors import PluginFailed, VaultError
from vsqlvault.interfaces.storage import Snapshot
from vsqlvault.interfaces.writes import EntryIs, RevisionIs, SeenWrite, Write
from vsqlvault.model.access import Action
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.service.access.authorizer import Authorizer, LoadedEntry
from vsqlvault.service.access.loading import EntryLoader
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.requests import EntryView

MAX_READ, MAX_STORED = 2_048, 512
"""The maximum numbers of entries that are kept because they were read, and because they were stored. Together, without their
values, they take 5 MB with metadata of 1 KB, 22 MB with the largest. Most stored entries are not read soon, so they must not
take the places of those that are."""

MAX_VALUE_BYTES = 64 * 1024
"""Larger values are read first: the storage gathers the values of a batch in memory before it returns them."""


class SeenEntries:
    """The entries that requests have read or stored, without their values.

    A request has two round trips: one to read the entry, and one to commit the audit row of the decision. An entry that was
    read before is decided on at once. One call of the storage then commits the request, and returns the value, if nothing
    has changed.
    """

    def __init__(
        self,
        queue: CommitQueue,
        loader: EntryLoader,
        authorizer: Authorizer,
        *,
        max_read: int = MAX_READ,
        max_stored: int = MAX_STORED,
    ) -> None:
        self._queue = queue
        self._loader = loader
        self._authorizer = authorizer
        self._max_read = max_read
        self._max_stored = max_stored
        self._read: dict[EntryKey, Entry] = {}
        self._stored: dict[EntryKey, Entry] = {}
        self._valid_for = timedelta(seconds=loader.max_clock_age_seconds)

    def entry(self, key: EntryKey) -> Entry | None:
        """Return the entry, if a request has read or stored it."""
        return self._read.get(key) or self._stored.get(key)

    def keep(self, key: EntryKey, entry: Entry) -> None:
        """Keep an entry that a request has just read."""
        self.forget(key)
        _add(self._read, key, entry, self._max_read)

    def keep_stored(self, key: EntryKey, entry: Entry) -> None:
        """Keep an entry that a request has just stored. A replaced entry that was read keeps its place among those."""
        kept, limit = (self._read, self._max_read) if key in self._read else (self._stored, self._max_stored)
        self.forget(key)
        _add(kept, key, entry, limit)

    def forget(self, key: EntryKey) -> None:
        """Drop an entry that was purged."""
        self._read.pop(key, None)
        self._stored.pop(key, None)

    def assume(self, context: AuditContext, key: EntryKey, seen: Entry) -> LoadedEntry | None:
        """Return what a load would find if nothing had changed. None where that cannot be assumed, or the entry has ended."""
        try:
            loaded = self._loader.assume(context, key, seen)
        except VaultError:
            return None
        return loaded if loaded is not None and loaded.state is EntryState.ACTIVE else None

    async def commit(
        self, seen: Entry, loaded: LoadedEntry, write: Write, *, with_value: bool = False, is_intact: bool = True
    ) -> Snapshot | None:
        """Commit a write that was decided on by ``assume``. None: something has changed, so the entry must be read.

        Raises:
            AuditUnavailable, OutcomeUnknown: as a commit.
        """
        until = loaded.snapshot.now + self._valid_for
        if loaded.expires_at is not None and loaded.expires_at < until:
            until = loaded.expires_at
        snapshot = await self._queue.commit_seen(SeenWrite(seen, until, write, with_value, is_intact))
        if snapshot is None and self.entry(seen.key) is seen:
            self.forget(seen.key)
        return snapshot

    async def require_changed(self, context: AuditContext, seen: Entry, loaded: LoadedEntry, error: VaultError) -> None:
        """Return if the request must be decided again after a read. A plugin that failed is not asked again in vain.

        Raises:
            PluginFailed, Unavailable, CredentialRefused: as ``EntryLoader.require_changed``.
        """
        if isinstance(error, PluginFailed):
            await self._loader.require_changed(context, seen.key, loaded, error)

    async def retrieve(self, context: AuditContext, key: EntryKey, seen: Entry, action: Action) -> EntryView | None:
        """Decide on the entry as it was seen, commit the row, and return the entry.

        None: it must be read first, because something has changed, or because the policy limits retrievals or refuses. A
        refusal must rest on a read.

        Raises:
            AuditUnavailable, OutcomeUnknown: as a commit. PluginFailed, Unavailable, CredentialRefused: as
                ``EntryLoader.require_changed``.
        """
        loaded = self.assume(context, key, seen)
        if loaded is None:
            return None
        try:
            entry, allowed = await self._authorizer.authorize(context, key, action, loaded)
        except VaultError as error:
            await self.require_changed(context, seen, loaded, error)
            return None
        is_retrieval = action is Action.RETRIEVE
        moves = loaded.retention is not None and loaded.retention.inactivity_days is not None
        if is_retrieval and (moves or allowed.max_retrievals is not None):
            return None
        row = context.granted()
        expects = (EntryIs(key, row.stamp or entry.stamp), RevisionIs(loaded.policies.revision))
        write = Write((row,), expects)
        snapshot = await self.commit(seen, loaded, write, with_value=is_retrieval, is_intact=is_retrieval)
        if snapshot is None:
            return None
        return EntryView(entry, loaded.expires_at or entry.expires_at, snapshot.value)


def _add(kept: dict[EntryKey, Entry], key: EntryKey, entry: Entry, limit: int) -> None:
    """Add an entry, unless its value is large, and drop the oldest one beyond the limit."""
    if entry.value_size <= MAX_VALUE_BYTES:
        kept[key] = entry
        if len(kept) > limit:
            del kept[next(iter(kept))]
