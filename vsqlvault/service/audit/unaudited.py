"""Writes one audit row that counts the requests answered while no row could be committed."""

from __future__ import annotations

import logging
import secrets
from datetime import datetime

from vsqlvault.errors import OutcomeUnknown, VaultError
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.times import format_time
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import LEAVES_NO_ROW
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.tasks import PeriodicTask

log = logging.getLogger(__name__)
RETRY_SECONDS = 0.5
REASON = "audit_gap"


@dataclass(slots=True)
class _Gap:
    first: datetime
    last: datetime
    count: int = 0
    unknown: int = 0


class UnauditedRequests:
    """Counts the requests that were refused because no row could be committed, until a row with their number is
    committed.

    The count is in the memory of the process. If it is killed before the storage recovers, the count is lost, and only
    log lines remain.
    """

    def __init__(self, queue: CommitQueue, clock: StorageClock, *, interval_seconds: float = RETRY_SECONDS) -> None:
        self._queue = queue
        self._clock = clock
        self._gap: _Gap | None = None
        self.task = PeriodicTask("unaudited requests", self.flush, interval_seconds)
        """Commits the row of the counted requests, twice a second."""

    def count(self, error: VaultError) -> None:
        """Count a request that was answered with ``error``, if such requests have no row."""
        if not isinstance(error, LEAVES_NO_ROW):
            return
        now = self._clock.now()
        gap = self._gap = self._gap or _Gap(now, now)
        gap.last = max(gap.last, now)
        gap.count += 1
        gap.unknown += isinstance(error, OutcomeUnknown)

    async def flush(self) -> None:
        """Commit the row of the counted requests. If the storage still fails, they stay counted."""
        gap, self._gap = self._gap, None
        if gap is None:
            return
        detail = f"from {format_time(gap.first)} to {format_time(gap.last)}"
        if gap.unknown:
            detail += f"; {gap.unknown} of them may have a row"
        record = AccessRecord(
            at=self._clock.now(),
            request_id=secrets.token_hex(16),
            operation=Operation.AUDIT_GAP,
            outcome=Outcome.DENIED,
            status=503,
            reason=REASON,
            count=gap.count,
            detail=detail,
        )
        try:
            await self._queue.record(record)
        except VaultError:
            self._merge(gap)
        else:
            log.warning("requests were refused without an audit row", extra={"count": gap.count})

    def _merge(self, gap: _Gap) -> None:
        """Add an unrecorded gap to what was counted since."""
        since = self._gap
        self._gap = gap
        if since:
            gap.last = max(gap.last, since.last)
            gap.count += since.count
            gap.unknown += since.unknown
