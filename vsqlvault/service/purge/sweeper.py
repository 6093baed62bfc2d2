"""Purges expired entries in bounded batches, one sweep at a time."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import field
from datetime import datetime, timedelta

from vsqlvault.errors import AuditUnavailable, EntryHeld, PluginFailed, Quarantined, SweepRunning, VaultError
from vsqlvault.interfaces.purge_storage import ExpiredPlace, ExpiredQuery
from vsqlvault.interfaces.storage import PolicySnapshot, Storage
from vsqlvault.interfaces.writes import Committed, Conflict, RevisionIs, SaveSweep, Write, WriteOutcome
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.entry import Entry, EntryState
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.purge import PurgeReason, ScrubRecord, SweepRecord
from vsqlvault.proof.leaf import row_hash
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.held_counts import count_held
from vsqlvault.service.purge.purger import BREATH, PreparedPurge, Purger, PurgeRefused
from vsqlvault.service.purge.scrubber import Scrubber
from vsqlvault.service.purge.throttle import ALONE_SECONDS, PAGE, SweepThrottle
from vsqlvault.service.roles import require_admin
from vsqlvault.service.tasks import Lease, PeriodicTask

log = logging.getLogger(__name__)
LEASE = "sweep"
LEASE_SECONDS = 60.0
RENEW_SECONDS = 2.0
RETRY_SECONDS = 60.0
SWEEP_ENDS_SECONDS = 10.0
BATCH_BYTES = 8 * 1024 * 1024
"""Limit of the values of a page, in bytes; two pages are in memory."""


@dataclass(slots=True)
class SweepCount:
    """The result of a sweep or a dry run. ``by_purpose`` counts the purged entries.

    ``failed`` entries could not be purged and were kept; ``held`` entries are expired and under legal hold.

    ``completed``: every purpose was processed before ``stop`` or an error. ``scrub`` is the scrub that followed; None if there
    was nothing to scrub or the storage cannot.
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
    scrub: ScrubRecord | None = None
    due: int = 0

    @property
    def done(self) -> int:
        """How many entries were processed of the ``due`` ones that had expired at the start."""
        return self.purged + self.failed + self.held


Progress = Callable[[SweepCount], None]


@dataclass(slots=True)
class _Tally:
    """The progress within a page: its first ``settled`` entries are done.

    An entry whose policy changed since the page was read counts as settled. ``error`` is the first error that concerns more
    than one entry.
    """

    count: SweepCount
    purpose: str
    settled: int = 0
    error: VaultError | None = None
    _is_current: bool = True

    def add(self, done: Sequence[WriteOutcome | VaultError]) -> None:
        for outcome in done:
            if isinstance(outcome, Committed):
                self.count.purged += 1
                self.count.by_purpose[self.purpose] = self.count.by_purpose.get(self.purpose, 0) + 1
            elif isinstance(outcome, Conflict) and isinstance(outcome.broken, RevisionIs):
                self._is_current = False
            elif self._is_current and isinstance(outcome, EntryHeld):
                self.count.held += 1
            elif self._is_current and isinstance(outcome, PurgeRefused):
                self.count.failed += 1
            elif isinstance(outcome, VaultError) and not isinstance(outcome, PurgeRefused):
                self.error = self.error or outcome
            self.settled += self._is_current


@dataclass(slots=True)
class _Page:
    """Expired entries with their values, their retention policy, the policy snapshot, and the time of the read.

    ``begun`` has the commits of the first entries.
    """

    call: Call
    query: ExpiredQuery
    found: Sequence[tuple[Entry, bytes]]
    policy: RetentionPolicy
    policies: PolicySnapshot
    now: datetime
    pace: SweepThrottle
    begun: Sequence[Write | PurgeRefused] = ()


class Sweeper:
    """Runs sweeps on a timer or on request. Each entry goes through the same commit as any other purge.

    ``running`` is the sweep in progress in this process; ``purged`` and ``failed`` are totals of the sweeps that ended.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        purges: Purger,
        auditor: Auditor,
        watch: ClockGuard,
        scrubber: Scrubber,
        batch: int,
        pause_seconds: float,
        require_continuity: Callable[[], Awaitable[None]],
        interval_hours: float = 0.0,
        retry_seconds: float = RETRY_SECONDS,
        renew_seconds: float = RENEW_SECONDS,
        alone_seconds: float = ALONE_SECONDS,
    ) -> None:
        """``interval_hours``: between the sweeps of ``task``; ``alone_seconds``: as for ``SweepThrottle``.

        ``require_continuity``: raises Quarantined while legal holds and policies can be missing.
        """
        self._require_continuity = require_continuity
        self._alone_seconds = alone_seconds
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._purges = purges
        self._auditor = auditor
        self._watch = watch
        self._scrubber = scrubber
        self._batch = batch
        self._pause_seconds = pause_seconds
        self._interval = timedelta(hours=interval_hours)
        self._retry_seconds = retry_seconds
        self._renew_seconds = renew_seconds
        self.task = PeriodicTask("sweep", self._sweep_if_due, retry_seconds, ends_within_seconds=SWEEP_ENDS_SECONDS)
        """Sweeps when the last sweep, of any process, is an interval ago or was not completed."""
        self.running: SweepCount | None = None
        self.purged = 0
        self.failed = 0

    async def sweep(
        self,
        call: Call,
        *,
        dry_run: bool = False,
        confirm_clock: bool = False,
        trigger: str = "request",
        progress: Progress | None = None,
    ) -> SweepCount:
        """Purge every expired entry, or count them; a dry run writes no purge row and confirms no clock.

        Raises:
            RoleRequired, SweepRunning, ClockJumped, Quarantined, Unavailable. Entries purged before an error stay purged, each
                with its row, and the sweep is recorded as not completed, if the storage allows.
        """
        trace = AuditContext(call, Operation.SWEEP)

        async def attempt() -> SweepCount:
            require_admin(call)
            if not dry_run:
                await self._require_continuity()
            last_other = self._queue.writes.counts.last_at
            due = None if dry_run else await self._watch.sound_time(call, confirmed=confirm_clock)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            count = SweepCount(secrets.token_hex(16), dry_run, due or snapshot.now)
            if dry_run:
                await self._count_only(trace, count)
            else:
                pace = SweepThrottle(self._queue, self._pause_seconds, last_other, alone_seconds=self._alone_seconds)
                await self._purge_all(trace, count, pace, trigger, progress or (lambda _: None))
                if count.completed:
                    count.scrub = await self._scrubber.after_sweep(call, trigger)
            return count

        return await self._auditor.run_audited(trace, attempt)

    async def _sweep_if_due(self) -> float:
        """Sweep if it is time, and return the seconds until the next sweep is due. In quarantine no sweep is due."""
        try:
            await self._require_continuity()
        except Quarantined:
            return self._retry_seconds
        if (await self._watch.look()).leap:
            return self._retry_seconds
        last = await self._storage.last_sweep()
        now = (await self._queue.read()).now
        wait = self._interval
        if last is not None and last.completed and now - last.finished_at < self._interval:
            wait -= now - last.finished_at
        else:
            try:
                await self.sweep(Call(SYSTEM, secrets.token_hex(16)), trigger="timer")
            except SweepRunning:
                return self._retry_seconds
        return max(wait.total_seconds(), 1)

    def stop(self) -> None:
        """Let a running sweep end after the current batch, and the task with it."""
        self.task.stop()

    async def _count_only(self, trace: AuditContext, count: SweepCount) -> None:
        policies = await self._policy_cache.at((await self._queue.read()).revision)
        entry_statistics = await self._storage.entry_statistics(
            count.started_at, retention_limits(policies, count.started_at), []
        )
        found = await count_held(
            self._storage, policies.retention, policies.holds.values(), count.started_at, most=None
        )
        for purpose, of in sorted(entry_statistics.by_purpose.items()):
            if of.expired_pending_purge:
                held = found.by_purpose[purpose].held if purpose in found.by_purpose else 0
                count.held += held
                count.by_purpose[purpose] = max(of.expired_pending_purge - held, 0)
        count.purged = sum(count.by_purpose.values())
        count.finished_at = count.started_at
        count.completed = True
        await self._queue.record(trace.granted(detail=f"dry run: {count.purged} expired{_held(count.held)}"))

    async def _purge_all(
        self, trace: AuditContext, count: SweepCount, pace: SweepThrottle, trigger: str, progress: Progress
    ) -> None:
        lease = Lease(
            self._storage, LEASE, LEASE_SECONDS, holder=count.sweep_id, renew_after_seconds=self._renew_seconds
        )
        await _require(lease)
        self.running = count
        try:
            policies = await self._policy_cache.at((await self._queue.read()).revision)
            purposes = sorted(policies.retention)
            count.due = await self._storage.count_expired(
                count.started_at, retention_limits(policies, count.started_at)
            )
            count.completed = all(
                [await self._purge_purpose(trace.call, purpose, count, pace, lease, progress) for purpose in purposes]
            )
            await self._conclude(trace, count, trigger)
        except Exception as error:
            await self._break_off(trace, count, trigger, error)
            raise
        finally:
            self.running = None
            self.purged += count.purged
            self.failed += count.failed
            await lease.release()

    async def _conclude(self, trace: AuditContext, count: SweepCount, trigger: str) -> None:
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

    async def _break_off(self, trace: AuditContext, count: SweepCount, trigger: str, error: Exception) -> None:
        """Record what a sweep did before the error, in one commit with the row of its refusal."""
        count.completed = False
        try:
            record = await self._record(count, trigger)
            changes = (SaveSweep(record),)
            if isinstance(error, VaultError):
                await self._auditor.refuse(trace, error, _described(record), at=record.finished_at, changes=changes)
            else:  # the caller of the sweep commits the row of an internal fault
                await self._queue.commit(Write((), changes=changes))
        except VaultError as second:
            log.warning("an interrupted sweep could not be recorded", extra={"error": second.slug})

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

    async def _purge_purpose(
        self, call: Call, purpose: str, count: SweepCount, pace: SweepThrottle, lease: Lease, progress: Progress
    ) -> bool:
        """Purge page after page, and return whether all were processed before ``stop``.

        Entries that had expired when the sweep began are processed once. Entries that could not be purged, changed
        meanwhile, or are under legal hold are left for the next run. The next page is read while this one is purged.
        """
        page = await self._page(call, purpose, count, pace, None)
        while not self.task.is_stopping:
            if not page.found:
                return True
            end = page.query.place_of(page.found[-1][0])
            ahead = asyncio.create_task(self._page(call, purpose, count, pace, end))
            try:
                settled = await self._purge_page(page, count)
                progress(count)
                await _require(lease)
                await pace.rest()
                if settled == len(page.found):
                    page = await ahead
                    continue
            finally:
                await _given_up(ahead)
            after = page.query.place_of(page.found[settled - 1][0]) if settled else page.query.after
            page = await self._page(call, purpose, count, pace, after)
        return False

    async def _page(
        self, call: Call, purpose: str, count: SweepCount, pace: SweepThrottle, after: ExpiredPlace | None
    ) -> _Page:
        """Read a page, and prepare its first part; the commit guards what the preparation relied on."""
        snapshot = await self._queue.read()
        policies = await self._policy_cache.at(snapshot.revision)
        query = self._page_query(policies.retention[purpose], count.started_at, after, pace.page(self._batch))
        page = _Page(
            call, query, await self._storage.expired(query), policies.retention[purpose], policies, snapshot.now, pace
        )
        page.begun = await self._writes(page, page.found[: pace.size], count.sweep_id)
        return page

    def _page_query(
        self, policy: RetentionPolicy, due: datetime, after: ExpiredPlace | None, limit: int
    ) -> ExpiredQuery:
        return ExpiredQuery(
            purpose=policy.purpose,
            now=due,
            created_before=due - timedelta(days=policy.max_retention_days),
            limit=limit,
            byte_limit=BATCH_BYTES,
            after=after,
        )

    async def _purge_page(self, page: _Page, count: SweepCount) -> int:
        """Purge what can be purged, and return how many of the page's first entries are settled.

        The next part is prepared while the storage commits as many parts as it accepts. A large page is abandoned when other
        requests arrive: in small parts it would outlast the lease and delay ``stop``.
        """
        tally = _Tally(count, page.policy.purpose)
        under_way: deque[asyncio.Task[Sequence[WriteOutcome | VaultError]]] = deque()
        start = 0
        try:
            while (
                start < len(page.found) and tally.error is None and not (start >= PAGE and page.pace.has_other_traffic)
            ):
                writes = page.begun
                if start:
                    writes = await self._writes(page, page.found[start : start + page.pace.size], count.sweep_id)
                start += len(writes)
                if len(under_way) == self._storage.flights:
                    tally.add(await under_way.popleft())
                under_way.append(asyncio.create_task(self._committed(writes, page.pace)))
                await asyncio.sleep(0)  # so that it is in progress before the next is prepared
        finally:
            while under_way:
                tally.add(await under_way.popleft())
        if tally.error:  # once all are counted
            raise tally.error
        return tally.settled

    async def _committed(
        self, writes: Sequence[Write | PurgeRefused], pace: SweepThrottle
    ) -> Sequence[WriteOutcome | VaultError]:
        """Commit the writes as one; if one of them prevents that, commit each by itself."""
        wanted = [write for write in writes if isinstance(write, Write)]
        with pace.committing(len(wanted), 1 if wanted else 0):
            outcomes: Sequence[WriteOutcome | VaultError] = await self._committed_together(wanted)
        if not outcomes:
            with pace.committing(0, len(wanted)):
                outcomes = await self._queue.commit_all(wanted)
        await pace.yield_to_requests()
        found = iter(outcomes)
        return [next(found) if isinstance(write, Write) else write for write in writes]

    async def _committed_together(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        """Commit the writes as one, and return the outcome of each; empty if one of them prevented it."""
        if not writes:
            return []
        try:
            outcome = await self._queue.commit(_joined(writes))
        except AuditUnavailable:
            return []
        if isinstance(outcome, Conflict) and not isinstance(outcome.broken, RevisionIs):
            return []
        return [outcome] * len(writes)

    async def _writes(
        self, page: _Page, found: Sequence[tuple[Entry, bytes]], sweep_id: str
    ) -> Sequence[Write | PurgeRefused]:
        """Return the commit that purges each entry; the error for one that is kept."""
        days = page.policy.max_retention_days
        due = [(entry, value) for entry, value in found if entry.state(page.now, days) is EntryState.EXPIRED]
        if len(due) < len(found):
            log.error("the storage returned entries as expired that are not", extra={"purpose": page.policy.purpose})
        prepared = await self._purges.prepare_all(page.call, due, PurgeReason.EXPIRED, page.policies, page.now)
        purges = {entry.external_id: purge for (entry, _), purge in zip(due, prepared, strict=True)}
        trace = AuditContext(page.call, Operation.PURGE, purpose=page.policy.purpose)
        trace.at = page.now
        detail = f"sweep {sweep_id}"
        writes: list[Write | PurgeRefused] = []
        for entry, _ in found:
            purge = purges.get(entry.external_id)
            if isinstance(purge, PreparedPurge):
                trace.external_id, trace.stamp = entry.external_id, entry.stamp
                writes.append(_write(trace.granted(detail=detail), purge))
            else:
                writes.append(purge or PluginFailed())
            if len(writes) % BREATH == 0:
                await asyncio.sleep(0)
        return writes


async def _require(lease: Lease) -> None:
    """Acquire or renew the lease. Raises SweepRunning: another sweep has it."""
    if not await lease.acquire():
        raise SweepRunning


async def _given_up(task: asyncio.Task[_Page]) -> None:
    """Return once the task has ended, whatever its result."""
    task.cancel()
    await asyncio.wait({task})
    if not task.cancelled():
        task.exception()


def _write(row: AccessRecord, purge: PreparedPurge) -> Write:
    """Return the write that destroys one entry. Leaves are hashed here, while the storage commits earlier writes."""
    record = purge.record
    return Write((row,), purge.guards, (purge.change,), (record,), (row_hash(row),), (row_hash(record),))


def _joined(writes: Sequence[Write]) -> Write:
    """Return one write that combines all of them atomically."""
    return Write(
        tuple(row for write in writes for row in write.access),
        tuple(dict.fromkeys(expect for write in writes for expect in write.expects)),
        tuple(change for write in writes for change in write.changes),
        tuple(record for write in writes for record in write.purges),
        tuple(leaf for write in writes for leaf in write.access_leaves),
        tuple(leaf for write in writes for leaf in write.purge_leaves),
    )


def _described(sweep: SweepRecord) -> str:
    end = "" if sweep.completed else ", not completed"
    return f"sweep {sweep.sweep_id}: {sweep.purged} purged, {sweep.failed} failed{_held(sweep.held)}{end}"


def _held(number: int) -> str:
    return f", {number} held" if number else ""


def retention_limits(policies: PolicySnapshot, at: datetime) -> dict[str, datetime]:
    """Map each purpose to the instant at or before which an entry must have been created to exceed its maximum at ``at``."""
    return {purpose: at - timedelta(days=policy.max_retention_days) for purpose, policy in policies.retention.items()}
