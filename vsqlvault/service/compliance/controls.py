"""Monitors the controls. Every process checks them; one records when a control begins to fail and when it recovers."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Mapping, Sequence
from datetime import datetime

from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.watch_storage import NewestControlChangeIs, SaveControlChange
from vsqlvault.interfaces.writes import Conflict, Write
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.control import Check, Control, ControlChange, ControlState
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.times import format_time
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.compliance.control_checks import ControlChecks
from vsqlvault.service.roles import require_reader
from vsqlvault.service.tasks import Lease, LeasedTask

log = logging.getLogger(__name__)
LEASE = "controls"
CHECK_INTERVAL_SECONDS = 30.0
LEASE_SECONDS = 90.0


class Controls:
    """Returns the state of the controls (PCI DSS 4.0.1, 10.7.2 and 10.7.3).

    Recorded changes survive restarts and are unique: the holder of the lease writes a change in one commit with its audit row,
    and only if no other change came before. Certificates and fetched keys differ by process: the record has the state of the
    lease holder, and ``known``, used for metrics, has the state of this process.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        auditor: Auditor,
        checks: ControlChecks,
        interval_seconds: float = CHECK_INTERVAL_SECONDS,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._auditor = auditor
        self.checks = checks
        self.known: Sequence[Control] = ()
        """The last results; empty before the first check."""
        self.task = LeasedTask(Lease(storage, LEASE, LEASE_SECONDS), "control checks", self.watch, interval_seconds)
        """Checks twice a minute."""

    async def read(self, call: Call) -> Sequence[Control]:
        """Check every control now and return the results. Raises RoleRequired, Unavailable."""
        trace = AuditContext(call, Operation.READ_CONTROLS)

        async def attempt() -> Sequence[Control]:
            require_reader(call)
            trace.observe(await self._queue.read())
            found = await self.look()
            await self._queue.record(trace.granted())
            return found

        return await self._auditor.run_audited(trace, attempt)

    async def look(self) -> Sequence[Control]:
        """Check every control now and keep the results. Raises Unavailable."""
        now = (await self._queue.read()).now
        return await self._look(now, await self._recorded())

    async def watch(self) -> None:
        """Check once, and record changes if this process holds the lease. Raises Unavailable."""
        now = (await self._queue.read()).now
        recorded = await self._recorded()
        found = await self._look(now, recorded)
        if await self.task.lead():
            for control in found:
                await self._put_on_record(control, recorded.get(control.name), now)

    async def _recorded(self) -> Mapping[str, ControlChange]:
        return {change.name: change for change in await self._storage.control_states()}

    async def _look(self, now: datetime, recorded: Mapping[str, ControlChange]) -> Sequence[Control]:
        checks = await self.checks.look(now, recorded)
        before = {control.name: control for control in self.known}
        self.known = [
            Control(
                name,
                check.state,
                _since(check, recorded.get(name), before.get(name), now),
                check.detail,
                self.checks.requirements[name],
            )
            for name, check in checks.items()
        ]
        return self.known

    async def _put_on_record(self, control: Control, recorded: ControlChange | None, now: datetime) -> None:
        """Commit the change of a control, if there is one, with the audit row of the failure or the recovery."""
        if recorded is not None and recorded.state is control.state:
            return
        number = recorded.number if recorded else 0
        change = ControlChange(control.name, number + 1, control.state, now, control.detail)
        rows = _rows(change, recorded)
        write = Write(rows, (NewestControlChangeIs(control.name, number),), (SaveControlChange(change),))
        if isinstance(await self._queue.commit(write), Conflict):
            return  # another process recorded the change first
        for row in rows:
            facts = {"control": control.name, "detail": control.detail}
            if row.operation is Operation.CONTROL_FAILED:
                log.error("a control fails", extra=facts)
            else:
                log.warning("a control has recovered", extra=facts)


def _since(check: Check, recorded: ControlChange | None, before: Control | None, now: datetime) -> datetime:
    """Return since when a control is in this state: from the record, or else from this process's own checks."""
    if recorded is not None and recorded.state is check.state:
        return recorded.at
    return before.since if before is not None and before.state is check.state else now


def _rows(change: ControlChange, recorded: ControlChange | None) -> tuple[AccessRecord, ...]:
    has_failed = recorded is not None and recorded.state is ControlState.FAILING
    if change.state is ControlState.FAILING:
        operation, detail = Operation.CONTROL_FAILED, f"{change.name}: {change.detail}"
    elif recorded is not None and has_failed:
        operation = Operation.CONTROL_RECOVERED
        detail = f"{change.name}: failed from {format_time(recorded.at)} to {format_time(change.at)}"
    else:
        return ()
    trace = AuditContext(Call(SYSTEM, secrets.token_hex(16)), operation)
    trace.at = change.at
    old, new = (_told(recorded) if recorded else None), _told(change)
    return (trace.granted(old_value=old, new_value=new, detail=detail),)


def _told(change: ControlChange) -> str:
    told = {"control": change.name, "state": change.state.value, "at": format_time(change.at), "detail": change.detail}
    return json.dumps(told, ensure_ascii=False)
