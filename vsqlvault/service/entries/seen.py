"""Retrieves an entry in one round trip, if it was read before and no other request is in progress."""

from __future__ import annotations

from datetime import timedelta

from vsqlvault.errors import PluginFailed, VaultError
from vsqlvault.interfaces.writes import Retrieval
from vsqlvault.model.access import Action
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.service.access.authorizer import Authorizer
from vsqlvault.service.access.loading import EntryLoader
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.requests import EntryView

MAX_SEEN = 2_048
"""The maximum number of entries that are kept, without their values: 4 MB with metadata of 1 KB, 18 MB with the largest."""


class SeenEntries:
    """The entries that lone requests have read, without their values.

    A lone caller waits for two round trips: one to read the entry, and one to commit the audit row of the decision. An entry
    that was read before is decided on at once. One call of the storage then commits the row and returns the value, if
    nothing has changed. Many callers are served better by batches, so this is only for a queue that is idle.
    """

    def __init__(
        self, queue: CommitQueue, loader: EntryLoader, authorizer: Authorizer, max_seen: int = MAX_SEEN
    ) -> None:
        self._queue = queue
        self._loader = loader
        self._authorizer = authorizer
        self._max_seen = max_seen
        self._entries: dict[EntryKey, Entry] = {}
        self._valid_for = timedelta(seconds=loader.max_clock_age_seconds)

    def entry(self, key: EntryKey) -> Entry | None:
        """Return the entry, if a lone request has read it, and this request is alone, too."""
        seen = self._entries.get(key)
        return seen if seen is not None and self._queue.is_idle else None

    def keep(self, key: EntryKey, entry: Entry) -> None:
        """Keep an entry that a lone request has just read."""
        self._entries.pop(key, None)
        self._entries[key] = entry
        if len(self._entries) > self._max_seen:
            del self._entries[next(iter(self._entries))]

    def forget(self, key: EntryKey) -> None:
        """Drop an entry that was purged."""
        self._entries.pop(key, None)

    async def retrieve(self, context: AuditContext, seen: Entry, action: Action) -> EntryView | None:
        """Decide on the entry as it was seen, commit the row, and return the entry.

        None: it must be read first, because something has changed, or because the policy limits retrievals or refuses. A
        refusal must rest on a read.

        Raises:
            AuditUnavailable, OutcomeUnknown: as a commit. PluginFailed, Unavailable, CredentialRefused: as
                ``EntryLoader.require_changed``.
        """
        try:
            loaded = self._loader.assume(context, seen.key, seen)
        except VaultError:
            return None
        if loaded is None or loaded.expires_at is None:
            return None
        try:
            entry, allowed = await self._authorizer.authorize(context, seen.key, action, loaded)
        except VaultError as error:
            if isinstance(error, PluginFailed):
                await self._loader.require_changed(context, seen.key, loaded, error)
            return None
        moves = loaded.retention is not None and loaded.retention.inactivity_days is not None
        if action is Action.RETRIEVE and (moves or allowed.max_retrievals is not None):
            return None
        snapshot = await self._queue.retrieve(
            Retrieval(
                entry,
                action is Action.RETRIEVE,
                loaded.policies.revision,
                min(loaded.expires_at, loaded.snapshot.now + self._valid_for),
                context.granted(),
            )
        )
        if snapshot is None:
            self._entries.pop(seen.key, None)
            return None
        return EntryView(entry, loaded.expires_at, snapshot.value)
