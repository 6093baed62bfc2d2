"""Purging what has expired, in bounded batches, one sweep at a time."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from vsqlvault.errors import EntryHeld, PluginFailed, SweepRunning, VaultError
from vsqlvault.interfaces.storage import (
    Committed,
    Conflict,
    ExpiredQuery,
    RevisionIs,
    Rulebook,
    SaveSweep,
    Storage,
    Write,
)
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.entry import Entry, EntryState
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.purge import PurgeReason, SweepRecord
from vsqlvault.service.audit import Auditor, Trace
from vsqlvault.service.commit_queue import CommitQueue
from vsqlvault.service.held_entries import count_held_expired
from vsqlvault.service.purges import Purges
from vsqlvault.service.rulebooks import Rulebooks
from vsqlvault.service.rules import require_admin

log = logging.getLogger(__name__)
LEASE = "sweep"
LEASE_SECONDS = 60.0
BATCH_BYTES = 16 * 1024 * 1024
MAX_LEFT = 1_000


@dataclass(slots=True)
class SweepCount:
    """What a sweep did, or a dry run would do. ``by_purpose`` counts the purged.

    ``failed`` entries could not be purged and were kept; ``held`` ones are expired, too, and a legal hold keeps them.

    ``completed`` once every purpose has been gone through: not where ``stop`` or an error came first.
    """

    sweep_id: str
    dry_run: bool
    started_at: datetime
    finished_at: datetime | None = None
    purged: int = 0
    failed: int = 0
    held: int = 0
    completed: bool = False
    by_purpose: dict[str, int] = field(default_factory=dict)


Progress = Callable[[SweepCount], None]


@dataclass(frozen=True, slots=True)
class _Page:
    """Expired entries with their values, the policy that ends them, all rules, and when it was looked at."""

    call: Call
    found: Sequence[tuple[Entry, bytes]]
    policy: RetentionPolicy
    book: Rulebook
    now: datetime


@dataclass(slots=True)
class _Left:
    """The external_ids of one purpose that this sweep looks at no more: ``failed`` ones are few, or the sweep gives up."""

    failed: set[str] = field(default_factory=set)
    held: set[str] = field(default_factory=set)


class Sweeper:
    """Runs sweeps: on a timer, or when asked. Each entry goes through the same commit as any other purge."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        rulebooks: Rulebooks,
        purges: Purges,
        auditor: Auditor,
        batch: int,
        pause_seconds: float,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._rulebooks = rulebooks
        self._purges = purges
        self._auditor = auditor
        self._batch = batch
        self._pause_seconds = pause_seconds
        self._stopping = asyncio.Event()

    async def sweep(
        self, call: Call, *, dry_run: bool = False, trigger: str = "request", progress: Progress | None = None
    ) -> SweepCount:
        """Purge every expired entry, or count them; a dry run writes nothing to the purge log.

        Raises:
            RoleRequired, SweepRunning, Unavailable. What was purged before an error stays purged, each with its row, and
                the sweep is on record as not completed, if the storage allows.
        """
        trace = Trace(call, Operation.SWEEP)

        async def attempt() -> SweepCount:
            require_admin(call)
            snapshot = await self._queue.read()
            trace.see(snapshot)
            count = SweepCount(secrets.token_hex(16), dry_run, snapshot.now)
            if dry_run:
                await self._count_only(trace, count)
            else:
                await self._purge_all(trace, count, trigger, progress or (lambda _: None))
            return count

        return await self._auditor.carry_out(trace, attempt)

    async def run_on_timer(self, interval_hours: float) -> None:
        """Sweep whenever the last sweep, by whichever process, is ``interval_hours`` ago or broke off, until ``stop``."""
        interval = timedelta(hours=interval_hours)
        while not self._stopping.is_set():
            try:
                last = await self._storage.last_sweep()
                now = (await self._queue.read()).now
                if last is None or not last.completed or now - last.finished_at >= interval:
                    await self.sweep(Call(SYSTEM, secrets.token_hex(16)), trigger="timer")
                    wait = interval
                else:
                    wait = interval - (now - last.finished_at)
                await self._rest(max(wait.total_seconds(), 1))
            except SweepRunning:
                await self._rest(LEASE_SECONDS)
            except VaultError as error:
                log.warning("sweep failed, and is tried again in a minute", extra={"error": error.slug})
                await self._rest(LEASE_SECONDS)
            except Exception:
                log.exception("sweep failed, and is tried again in a minute")
                await self._rest(LEASE_SECONDS)

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    def stop(self) -> None:
        """Let a running sweep end after the batch it is at, and the timer with it."""
        self._stopping.set()

    async def _count_only(self, trace: Trace, count: SweepCount) -> None:
        book = await self._rulebooks.at((await self._queue.read()).revision)
        census = await self._storage.census(count.started_at, ceilings(book, count.started_at), [])
        for purpose, of in sorted(census.by_purpose.items()):
            if of.expired_pending_purge:
                held = await count_held_expired(self._storage, book, purpose, count.started_at)
                count.held += held
                count.by_purpose[purpose] = of.expired_pending_purge - held
        count.purged = sum(count.by_purpose.values())
        count.finished_at = count.started_at
        count.completed = True
        await self._queue.record(trace.granted(detail=f"dry run: {count.purged} expired{_held(count.held)}"))

    async def _purge_all(self, trace: Trace, count: SweepCount, trigger: str, progress: Progress) -> None:
        if not await self._storage.acquire_lease(LEASE, count.sweep_id, LEASE_SECONDS):
            raise SweepRunning
        try:
            book = await self._rulebooks.at((await self._queue.read()).revision)
            purposes = sorted(book.retention)
            count.completed = all(
                [await self._purge_purpose(trace.call, purpose, count, progress) for purpose in purposes]
            )
            await self._conclude(trace, count, trigger)
        except Exception as error:
            await self._break_off(trace, count, trigger, error)
            raise
        finally:
            await self._release(count.sweep_id)

    async def _release(self, sweep_id: str) -> None:
        """Give the lease back; where that fails it runs out by itself, and what the sweep did is done."""
        try:
            await self._storage.release_lease(LEASE, sweep_id)
        except VaultError as error:
            log.warning("the sweep's lease runs out by itself", extra={"error": error.slug})

    async def _conclude(self, trace: Trace, count: SweepCount, trigger: str) -> None:
        record = await self._record(count, trigger)
        row = trace.granted(detail=_described(record))
        await self._queue.commit(Write((row,), changes=(SaveSweep(record),)))
        log.info(
            "sweep finished",
            extra={
                "purged": count.purged,
                "failed": count.failed,
                "held": count.held,
                "completed": count.completed,
                "trigger": trigger,
            },
        )

    async def _break_off(self, trace: Trace, count: SweepCount, trigger: str, error: Exception) -> None:
        """Put on record what a sweep did until the error, in one commit with the row of its refusal."""
        count.completed = False
        try:
            record = await self._record(count, trigger)
            rows: tuple[AccessRecord, ...] = ()  # of a fault of the server's own, whoever asked for the sweep leaves it
            if isinstance(error, VaultError):
                rows = (trace.denied(error, record.finished_at, _described(record)),)
            await self._queue.commit(Write(rows, changes=(SaveSweep(record),)))
        except VaultError as second:
            log.warning("a sweep that broke off has no summary", extra={"error": second.slug})
            return
        if isinstance(error, VaultError):
            error.recorded_for = trace.call.request_id

    async def _record(self, count: SweepCount, trigger: str) -> SweepRecord:
        count.finished_at = (await self._queue.read()).now
        return SweepRecord(
            sweep_id=count.sweep_id,
            started_at=count.started_at,
            finished_at=count.finished_at,
            trigger=trigger,
            purged=count.purged,
            failed=count.failed,
            completed=count.completed,
            held=count.held,
        )

    async def _purge_purpose(self, call: Call, purpose: str, count: SweepCount, progress: Progress) -> bool:
        """Purge page after page, and return whether it came to the end of them before ``stop``.

        What could not be purged, is held, or changed while it was about to be purged, is left for the next run.
        """
        left = _Left()
        while not self._stopping.is_set():
            snapshot = await self._queue.read()
            book = await self._rulebooks.at(snapshot.revision)
            policy = book.retention[purpose]
            page = await self._storage.expired(self._page_query(policy, snapshot.now, left))
            if not page:
                return True
            await self._purge_page(_Page(call, page, policy, book, snapshot.now), count, left)
            progress(count)
            if len(left.failed) > MAX_LEFT:
                log.error("too many entries of a purpose cannot be purged", extra={"purpose": purpose})
                return True
            if not await self._storage.acquire_lease(LEASE, count.sweep_id, LEASE_SECONDS):
                raise SweepRunning
            await asyncio.sleep(self._pause_seconds)
        return False

    def _page_query(self, policy: RetentionPolicy, now: datetime, left: _Left) -> ExpiredQuery:
        return ExpiredQuery(
            purpose=policy.purpose,
            now=now,
            created_before=now - timedelta(days=policy.max_retention_days),
            limit=self._batch,
            byte_limit=BATCH_BYTES,
            skip=frozenset(left.failed | left.held),
        )

    async def _purge_page(self, page: _Page, count: SweepCount, left: _Left) -> None:
        writes: dict[str, Write] = {}
        for entry, value in page.found:
            try:
                writes[entry.external_id] = await self._write(page, entry, value, count.sweep_id)
            except EntryHeld:
                count.held += 1
                left.held.add(entry.external_id)
            except PluginFailed:
                count.failed += 1
                left.failed.add(entry.external_id)
        for names in _slices(list(writes), self._queue.slice):
            commits = (self._queue.commit(writes[name]) for name in names)
            outcomes = await asyncio.gather(*commits, return_exceptions=True)
            for name, outcome in zip(names, outcomes, strict=True):
                if isinstance(outcome, Committed):
                    count.purged += 1
                    count.by_purpose[page.policy.purpose] = count.by_purpose.get(page.policy.purpose, 0) + 1
                elif isinstance(outcome, Conflict) and not isinstance(outcome.broken, RevisionIs):
                    left.failed.add(name)  # of a changed policy only another look is asked
            for outcome in outcomes:  # once all are counted
                if isinstance(outcome, BaseException):
                    raise outcome

    async def _write(self, page: _Page, entry: Entry, value: bytes, sweep_id: str) -> Write:
        if entry.state(page.now, page.policy.max_retention_days) is not EntryState.EXPIRED:
            log.error("the storage called an entry expired that is not", extra={"purpose": entry.purpose})
            raise PluginFailed
        purge = await self._purges.prepare(page.call, entry, value, PurgeReason.EXPIRED, page.book, page.now)
        trace = Trace(page.call, Operation.PURGE, entry.key)
        trace.at, trace.stamp = page.now, entry.stamp
        row = trace.granted(detail=f"sweep {sweep_id}")
        return Write((row,), purge.guards, (purge.change,), (purge.record,))


def _slices(names: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (names[start : start + size] for start in range(0, len(names), size))


def _described(sweep: SweepRecord) -> str:
    end = "" if sweep.completed else ", not completed"
    return f"sweep {sweep.sweep_id}: {sweep.purged} purged, {sweep.failed} failed{_held(sweep.held)}{end}"


def _held(number: int) -> str:
    return f", {number} held" if number else ""


def ceilings(book: Rulebook, at: datetime) -> dict[str, datetime]:
    """Map each purpose to the instant at or before which an entry was created that its maximum has expired at ``at``."""
    return {purpose: at - timedelta(days=policy.max_retention_days) for purpose, policy in book.retention.items()}
