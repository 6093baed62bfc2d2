"""Removes the bytes of purged entries from the storage's data files, and records the result."""

from __future__ import annotations

import logging
import secrets
from datetime import datetime
from typing import Literal

from vsqlvault.errors import VaultError
from vsqlvault.interfaces.purge_storage import ScrubOutcome
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.writes import SaveScrub, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import ScrubRecord
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.roles import require_admin

log = logging.getLogger(__name__)
MAX_LEFT_TEXT = 2_000


class Scrubber:
    """Scrubs after sweeps and on request. One scrub covers all earlier purges.

    ``lock_seconds`` is how long one step may block requests.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        auditor: Auditor,
        mode: Literal["rewrite", "off"],
        lock_seconds: float,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._auditor = auditor
        self._mode = mode
        self._lock_seconds = lock_seconds

    async def after_sweep(self, call: Call, trigger: str) -> ScrubRecord | None:
        """Scrub what purges have left since the last scrub, if enabled. A failure does not fail the sweep."""
        if self._mode == "off":
            return None
        try:
            return await self.scrub(call, trigger=trigger)
        except VaultError as error:
            log.warning("scrub failed; the next sweep's scrub covers it", extra={"error": error.slug})
        except Exception:
            log.exception("scrub failed; the next sweep's scrub covers it")
        return None

    async def scrub(
        self, call: Call, *, trigger: str = "request", lock_seconds: float | None = None
    ) -> ScrubRecord | None:
        """Scrub, and return the record; None if there was nothing to do, which leaves only an access row.

        Raises:
            RoleRequired, Unavailable. An interrupted scrub is recorded, too, if the storage allows.
        """
        trace = AuditContext(call, Operation.SCRUB)

        async def attempt() -> tuple[ScrubRecord | None]:
            require_admin(call)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            try:
                outcome = await self._storage.scrub(self._lock_seconds if lock_seconds is None else lock_seconds)
            except VaultError as error:
                await self._break_off(trace, snapshot.now, trigger, error)
                raise
            if outcome is None:
                await self._queue.record(trace.granted(detail="nothing to do"))
                return (None,)
            record = await self._record(outcome, snapshot.now, trigger)
            row = trace.granted(detail=_described(record))
            await self._queue.commit(Write((row,), changes=(SaveScrub(record),)))
            _tell(record)
            return (record,)

        return (await self._auditor.run_audited(trace, attempt))[0]

    async def _record(self, outcome: ScrubOutcome, started_at: datetime, trigger: str) -> ScrubRecord:
        return ScrubRecord(
            scrub_id=secrets.token_hex(16),
            started_at=started_at,
            finished_at=(await self._queue.read()).now,
            trigger=trigger,
            through=outcome.through,
            rewritten=outcome.rewritten,
            completed=not outcome.left,
            left=_left(outcome),
        )

    async def _break_off(self, trace: AuditContext, started_at: datetime, trigger: str, error: VaultError) -> None:
        """Record that purged bytes may remain, in one commit with the row of the refusal."""
        try:
            last = await self._storage.last_scrub()
            outcome = ScrubOutcome(last.through if last else 0, 0, (f"interrupted: {error.slug}",))
            record = await self._record(outcome, started_at, trigger)
            changes = (SaveScrub(record),)
            await self._auditor.refuse(trace, error, _described(record), at=record.finished_at, changes=changes)
        except VaultError as second:
            log.warning("an interrupted scrub could not be recorded", extra={"error": second.slug})


def _left(outcome: ScrubOutcome) -> str | None:
    return "; ".join(outcome.left)[:MAX_LEFT_TEXT] or None


def _described(record: ScrubRecord) -> str:
    left = f", left: {record.left}" if record.left else ""
    return f"scrub {record.scrub_id}: {record.rewritten} rewritten{left}"


def _tell(record: ScrubRecord) -> None:
    facts = {"rewritten": record.rewritten, "trigger": record.trigger}
    if record.completed:
        log.info("scrub finished", extra=facts)
    else:
        log.warning(
            "scrub left purged bytes in the data files: the next scrub tries again",
            extra={**facts, "left": record.left},
        )
