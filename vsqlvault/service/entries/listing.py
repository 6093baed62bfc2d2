"""Lists the entries of a purpose that the caller may inspect."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

from vsqlvault.interfaces.storage import EntryQuery, Storage
from vsqlvault.interfaces.writes import Committed, RevisionIs, Write
from vsqlvault.model.entry import EntryKey
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.authorizer import Authorizer, LoadedEntry
from vsqlvault.service.access.loading import EntryLoader
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.requests import EntryPage, EntryView, ListRequest
from vsqlvault.service.purge.clock_guard import ClockGuard

LIST_TURN_SECONDS = 0.005
LIST_MARK_LAG = timedelta(seconds=1)
"""The high-water mark may be this far behind a list: lists raise it once a second, not once each."""


@dataclass(frozen=True, slots=True)
class ScanLimits:
    """How many entries one page may examine, and for how many seconds."""

    entries: int = 5_000
    seconds: float = 2.0


DEFAULT_SCAN_LIMITS = ScanLimits()


class EntryListing:
    """Reads pages of entries and leaves out those that the caller may not inspect."""

    def __init__(
        self,
        storage: Storage,
        queue: CommitQueue,
        loader: EntryLoader,
        authorizer: Authorizer,
        watch: ClockGuard,
        limits: ScanLimits = DEFAULT_SCAN_LIMITS,
    ) -> None:
        self._limits = limits
        self._storage = storage
        self._queue = queue
        self._loader = loader
        self._authorizer = authorizer
        self._watch = watch

    async def list_once(self, context: AuditContext, purpose: str, wanted: ListRequest) -> EntryPage | None:
        """Return a page; None where a rule has changed meanwhile. Raises as ``EntryService.list_purpose``."""
        key = EntryKey(purpose, "")
        loaded = await self._loader.load(context, key, with_value=False)
        if not context.call.principal.may_inspect_all:
            self._authorizer.require_purpose(context, key)
        found, after = await self._scan(context, purpose, wanted, loaded)
        await self._watch.reach(loaded.snapshot, loaded.snapshot.now - LIST_MARK_LAG)
        outcome = await self._queue.commit(Write((context.granted(),), (RevisionIs(loaded.policies.revision),)))
        return EntryPage(tuple(found), after) if isinstance(outcome, Committed) else None

    async def _scan(
        self, context: AuditContext, purpose: str, wanted: ListRequest, loaded: LoadedEntry
    ) -> tuple[list[EntryView], str | None]:
        """Read pages until ``limit`` entries are found, there are no more, or a limit of the scan is reached.

        A synchronous evaluator never yields to the event loop, so the scan does.
        """
        found: list[EntryView] = []
        after = wanted.after
        examined = 0
        now = time.monotonic()
        deadline, turn_ends = now + self._limits.seconds, now + LIST_TURN_SECONDS
        while True:
            page = await self._storage.entries(_query(purpose, wanted, loaded, after))
            for place, entry in enumerate(page, start=1):
                after = entry.external_id
                examined += 1
                if await self._authorizer.may_inspect(context, entry, loaded):
                    days = loaded.retention.max_retention_days if loaded.retention else None
                    found.append(EntryView(entry, entry.effective_expires_at(days)))
                now = time.monotonic()
                if len(found) == wanted.limit or examined == self._limits.entries or now > deadline:
                    is_last = place == len(page) <= wanted.limit
                    return found, None if is_last else after
                if now > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = time.monotonic() + LIST_TURN_SECONDS
            if len(page) <= wanted.limit:
                return found, None


def _query(purpose: str, wanted: ListRequest, loaded: LoadedEntry, after: str | None) -> EntryQuery:
    now = loaded.snapshot.now
    days = loaded.retention.max_retention_days if loaded.retention else None
    return EntryQuery(
        purpose=purpose,
        now=now,
        limit=wanted.limit + 1,
        created_before=now - timedelta(days=days) if days else None,
        after=after,
        key_ref=wanted.key_ref,
        owner_app=wanted.owner_app,
        access_policy=wanted.access_policy,
        expires_before=wanted.expires_before,
        state=wanted.state,
    )
