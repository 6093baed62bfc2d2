"""Lists the entries under a legal hold. The storage does not know selectors, so entries are filtered here, without values."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import NamedTuple

from vsqlvault.errors import HoldNotFound
from vsqlvault.interfaces.storage import EntryQuery, PolicySnapshot, Snapshot, Storage
from vsqlvault.interfaces.writes import Committed, RevisionIs, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.entries.listing import DEFAULT_SCAN_LIMITS, LIST_MARK_LAG, LIST_TURN_SECONDS, ScanLimits
from vsqlvault.service.entries.requests import EntryView
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.roles import require_reader

SCAN_PAGE = 250
_LAST = "\x7f"
"""Greater than every external_id."""


class HeldPlace(NamedTuple):
    """How far a list has read: in the order of purposes, and of ids within each."""

    purpose: str
    external_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldEntriesRequest:
    """Which of a hold's entries to list, and how many at most; ``after`` is where the previous page ended."""

    limit: int
    state: EntryState | None = None
    after: HeldPlace | None = None


@dataclass(frozen=True, slots=True)
class HeldListed:
    """A page, each entry with its state, and where it ended; None at the end of the list."""

    entries: tuple[tuple[EntryView, EntryState], ...]
    after: HeldPlace | None


@dataclass(frozen=True, slots=True)
class HeldCount:
    """How many active and expired entries a hold keeps. ``is_complete`` is False if there were too many entries to read."""

    entries: int
    is_complete: bool


_Candidate = tuple[HeldPlace, Entry | None]


@dataclass(frozen=True, slots=True)
class _Scan:
    """The inputs of one page."""

    wanted: HeldEntriesRequest
    selector: HoldSelector
    policies: PolicySnapshot
    snapshot: Snapshot


class HeldEntries:
    """Lists the entries under a hold, for admins and auditors."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        auditor: Auditor,
        watch: ClockGuard,
        limits: ScanLimits = DEFAULT_SCAN_LIMITS,
        scan_page: int = SCAN_PAGE,
    ) -> None:
        """``scan_page``: how many entries are read at once."""
        self._limits = limits
        self._scan_page = scan_page
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._auditor = auditor
        self._watch = watch

    async def list(self, call: Call, name: str, wanted: HeldEntriesRequest) -> HeldListed:
        """Return a page by purpose and id, without values. A released hold has no entries, and purged entries are not listed.

        A page ends after a maximum number of entries read, or a maximum time, however few match; the next continues from there.

        Raises:
            HoldNotFound, RoleRequired, Unavailable.
        """
        trace = AuditContext(call, Operation.READ_LEGAL_HOLD, subject=f"entries of {name}")

        async def attempt() -> HeldListed | None:
            require_reader(call)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            policies = await self._policy_cache.at(snapshot.revision)
            hold = policies.holds.get(name)
            if hold is None:
                raise HoldNotFound
            scan = _Scan(wanted, hold.selector, policies, snapshot)
            listed = HeldListed((), None) if hold.is_released else await self._page(scan)
            await self._watch.reach(snapshot, snapshot.now - LIST_MARK_LAG)
            outcome = await self._queue.commit(Write((trace.granted(),), (RevisionIs(policies.revision),)))
            return listed if isinstance(outcome, Committed) else None

        return await self._auditor.run_audited(trace, attempt)

    async def count(self, hold: LegalHold) -> HeldCount:
        """Count the entries under a hold that was just placed, as far as one page of a list reads. Raises Unavailable."""
        snapshot = await self._queue.read()
        policies = await self._policy_cache.at(snapshot.revision)
        request = HeldEntriesRequest(limit=self._limits.entries)
        listed = await self._page(_Scan(request, hold.selector, policies, snapshot))
        return HeldCount(len(listed.entries), listed.after is None)

    async def _page(self, scan: _Scan) -> HeldListed:
        found: list[tuple[EntryView, EntryState]] = []
        looked_at = 0
        now = time.monotonic()
        deadline, turn_ends = now + self._limits.seconds, now + LIST_TURN_SECONDS
        async with aclosing(self._pages(scan)) as pages:
            async for place, entry in (candidate async for page in pages for candidate in page):
                looked_at += 1
                if entry and (held := _held(scan, entry)):
                    found.append(held)
                now = time.monotonic()
                if len(found) == scan.wanted.limit or looked_at == self._limits.entries or now > deadline:
                    return HeldListed(tuple(found), place)
                if now > turn_ends:
                    await asyncio.sleep(0)
                    turn_ends = time.monotonic() + LIST_TURN_SECONDS
        return HeldListed(tuple(found), None)

    async def _pages(self, scan: _Scan) -> AsyncGenerator[Sequence[_Candidate], None]:
        """Yield candidates with their places, in order; each purpose ends with a place without an entry."""
        after = scan.wanted.after or HeldPlace("", "")
        for purpose in sorted(scan.policies.retention):
            if purpose < after.purpose or scan.selector.purpose not in {None, purpose}:
                continue
            seen = after.external_id if purpose == after.purpose else ""
            external_id = scan.selector.external_id
            if external_id is not None:
                found = await self._queue.read(EntryKey(purpose, external_id)) if seen < external_id else None
                yield [(HeldPlace(purpose, external_id), found.entry if found else None)]
                continue
            while seen != _LAST:
                page = await self._storage.entries(_every(scan, purpose, seen, self._scan_page))
                seen = page[-1].external_id if len(page) == self._scan_page else _LAST
                candidates: list[_Candidate] = [(HeldPlace(purpose, entry.external_id), entry) for entry in page]
                yield [*candidates, (HeldPlace(purpose, _LAST), None)] if seen == _LAST else candidates


def _every(scan: _Scan, purpose: str, seen: str, limit: int) -> EntryQuery:
    """Query every row after ``seen``: with a filter, the storage might read all rows to find a few."""
    return EntryQuery(purpose=purpose, now=scan.snapshot.now, limit=limit, after=seen, state=None)


def _held(scan: _Scan, entry: Entry) -> tuple[EntryView, EntryState] | None:
    days = scan.policies.retention[entry.purpose].max_retention_days
    state = entry.state(scan.snapshot.now, days)
    if state is EntryState.PURGED or scan.wanted.state not in {None, state} or not scan.selector.fits(entry):
        return None
    return EntryView(entry, entry.effective_expires_at(days)), state
