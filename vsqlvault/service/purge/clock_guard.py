"""Guards against a wrong storage clock: expired entries stay expired when it goes back, and a forward jump stops sweeps."""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from datetime import datetime, timedelta

from vsqlvault.errors import ClockJumped
from vsqlvault.interfaces.storage import ClockReading, Snapshot, Storage
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.times import format_time
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.tasks import Lease, PeriodicTask

log = logging.getLogger(__name__)
CHECK_INTERVAL_SECONDS = 60.0
MAX_LEAP = timedelta(days=1)
TOLERANCE = timedelta(seconds=2)
ROW_LEASE_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class ClockState:
    """The storage's clock relative to the high-water mark; both values are zero in normal operation.

    ``behind`` is how long the vault's time stands still until the clock reaches the mark. ``leap`` is how far the clock
    jumped past the mark, if that is more than a day and unconfirmed.
    """

    behind: timedelta = timedelta()
    leap: timedelta = timedelta()


class ClockGuard:
    """Keeps the high-water mark at most a minute behind the clock, and records clock errors.

    If the clock is more than a day past the mark, it may have jumped, or no vault may have run for that time; the vault
    cannot distinguish the two (docs/decisions/0016-clocks.md). So the mark stays, sweeps are refused until an
    administrator confirms the time, and everything else uses the clock.
    """

    def __init__(
        self, storage: Storage, queue: CommitQueue, *, interval_seconds: float = CHECK_INTERVAL_SECONDS
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._holder = secrets.token_hex(16)
        self._looking = asyncio.Lock()
        self.state = ClockState()
        self.task = PeriodicTask("clock check", self._step, interval_seconds)
        """Reads the clock once a minute."""

    async def look(self) -> ClockState:
        """Read the clock, raise the mark if the clock is sound, and record it if not."""
        await self._looked()
        return self.state

    async def sound_time(self, call: Call, *, confirmed: bool) -> datetime:
        """Return the vault's time if the clock has not jumped, or if ``call`` confirms it; the confirmation is audited.

        Raises:
            ClockJumped: it may have jumped and is not confirmed.
        """
        reading = await self._looked()
        mark = reading.mark or reading.clock
        if not _state_of(reading).leap:
            return max(reading.clock, mark)
        if not confirmed:
            told = f"the clock says {format_time(reading.clock)}, and was last seen at {format_time(mark)}"
            raise ClockJumped(f"{told}: if that is right, confirm it with confirm_clock")
        trace = AuditContext(call, Operation.CONFIRM_CLOCK)
        trace.at = reading.clock
        await self._queue.record(
            trace.granted(
                old_value=json.dumps({"clock": format_time(mark)}),
                new_value=json.dumps({"clock": format_time(reading.clock)}),
            )
        )
        await self._storage.raise_mark(reading.clock)
        self.state = ClockState()
        log.warning("a forward jump of the clock was confirmed", extra={"clock": format_time(reading.clock)})
        return reading.clock

    async def reach(self, snapshot: Snapshot, at: datetime) -> None:
        """Return once the mark is at ``at`` or later, so that an answer about that instant is never reversed.

        ``at`` is not after ``snapshot.now``. An unconfirmed jump does not raise the mark.
        """
        if snapshot.mark is None or (snapshot.mark < at and snapshot.now - snapshot.mark <= MAX_LEAP):
            await self._storage.raise_mark(snapshot.now)

    async def _step(self) -> None:
        await self.look()

    async def _looked(self) -> ClockReading:
        async with self._looking:
            reading = await self._storage.clock()
            state = _state_of(reading)
            if state.leap and not self.state.leap:
                await self._tell_leap(reading)
            elif state.behind and not self.state.behind:
                await self._tell_behind(reading)
            elif not state.leap and (reading.mark is None or reading.clock > reading.mark):
                await self._storage.raise_mark(reading.clock)
            self.state = state
        return reading

    async def _tell_leap(self, reading: ClockReading) -> None:
        mark = reading.mark or reading.clock
        detail = f"from {format_time(mark)} to {format_time(reading.clock)}"
        log.error(
            "the clock jumped forward by more than a day: sweeps are stopped until the time is confirmed",
            extra={"seen": format_time(mark), "clock": format_time(reading.clock)},
        )
        await self._record(Operation.CLOCK_JUMP, reading.clock, detail)

    async def _tell_behind(self, reading: ClockReading) -> None:
        mark = reading.mark or reading.clock
        log.error(
            "the clock went back: the vault's time stands still until the clock has caught up",
            extra={"seen": format_time(mark), "clock": format_time(reading.clock)},
        )
        await self._record(Operation.CLOCK_BACKWARDS, mark, f"from {format_time(mark)} to {format_time(reading.clock)}")

    async def _record(self, operation: Operation, at: datetime, detail: str) -> None:
        """Record what every process sees, once: a lease decides which process writes the row."""
        if await Lease(self._storage, operation.value, ROW_LEASE_SECONDS, holder=self._holder).acquire():
            trace = AuditContext(Call(SYSTEM, secrets.token_hex(16)), operation)
            trace.at = at
            await self._queue.record(trace.granted(detail=detail))


def _state_of(reading: ClockReading) -> ClockState:
    if reading.mark is None:
        return ClockState()
    leap = reading.clock - reading.mark
    if leap > MAX_LEAP:
        return ClockState(leap=leap)
    return ClockState(behind=-leap) if -leap > TOLERANCE else ClockState()
