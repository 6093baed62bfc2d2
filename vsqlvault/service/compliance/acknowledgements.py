"""Acknowledgements of failed controls: their cause and remedy, as rows of the access log (PCI DSS 4.0.1, 10.7.3)."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from vsqlvault.errors import ControlFailureNotFound, VaultError
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.evidence import Evidence
from vsqlvault.interfaces.report_section import MAX_CONTROL_CHANGES
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.control import Acknowledgement, ControlState
from vsqlvault.model.principal import Call
from vsqlvault.model.times import format_time, stored_time
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.roles import require_admin

CREATED = 201
_TICK = timedelta(microseconds=1)
_DAYS_BACK = (1, 30, 36_500)
"""How far before the newest change of a control its newest failure is looked for. Storages read changes oldest first."""

_FIRST = datetime(1970, 1, 1, tzinfo=UTC)


class Acknowledgements:
    """Records the cause and the remedy of a failure. A failure can be acknowledged again; the newest row counts."""

    def __init__(self, *, storage: Storage, queue: CommitQueue, auditor: Auditor, controls: Collection[str]) -> None:
        """``controls``: the names of all controls."""
        self._storage = storage
        self._queue = queue
        self._auditor = auditor
        self._controls = controls

    @asynccontextmanager
    async def naming(self, call: Call, control: str) -> AsyncIterator[None]:
        """Audit a refusal raised inside the block, with the control's name."""
        try:
            yield
        except VaultError as error:
            await self._auditor.refuse(AuditContext(call, Operation.ACKNOWLEDGE_FAILURE, subject=control), error)
            raise

    async def acknowledge(
        self, call: Call, control: str, failed_at: datetime, cause: str, remedy: str
    ) -> Acknowledgement:
        """Commit the row of an acknowledgement, and return it.

        Raises:
            RoleRequired, ControlFailureNotFound (the control did not begin to fail at that time), Unavailable.
        """
        trace = AuditContext(call, Operation.ACKNOWLEDGE_FAILURE, subject=f"{control} from {format_time(failed_at)}")

        async def attempt() -> Acknowledgement:
            require_admin(call)
            now = (snapshot := await self._queue.read()).now
            trace.observe(snapshot)
            if not await self._has_failed(control, failed_at):
                raise ControlFailureNotFound(await self._what_failed(control))
            document = {"control": control, "failed_at": format_time(failed_at), "cause": cause, "remedy": remedy}
            await self._queue.record(trace.granted(CREATED, new_value=json.dumps(document, ensure_ascii=False)))
            return Acknowledgement(control, failed_at, cause, remedy, now, call.principal.app, call.principal.identity)

        return await self._auditor.run_audited(trace, attempt)

    async def _has_failed(self, control: str, at: datetime) -> bool:
        changes = await self._storage.control_changes(at, at + _TICK, MAX_CONTROL_CHANGES)
        return any(each.name == control and each.state is ControlState.FAILING for each in changes)

    async def _what_failed(self, control: str) -> str:
        """Return the nearest name of a control, or the time of the newest failure."""
        newest = {each.name: each for each in await self._storage.control_states()}.get(control)
        if newest is None and control not in self._controls:
            return f"expected the name of a control{did_you_mean(control, self._controls)}"
        if newest is None:
            return "this control has not failed"
        for days in _DAYS_BACK:
            since = max(newest.at - timedelta(days=days), _FIRST)
            changes = await self._storage.control_changes(since, newest.at + _TICK, MAX_CONTROL_CHANGES)
            failed = [each.at for each in changes if each.name == control and each.state is ControlState.FAILING]
            if failed:
                return f"its newest failure began at {format_time(failed[-1])}"
        return "this control has not failed"


async def acknowledgements(storage: Storage, evidence: Evidence) -> list[Acknowledgement]:
    """Return the newest acknowledgements of the report's period, newest first, at most ``MAX_CONTROL_CHANGES``.

    The log is read only if the counts of the period have such rows, and only between the first and the last of them.
    """
    counts = [each for each in evidence.access if each.operation == Operation.ACKNOWLEDGE_FAILURE]
    if not counts:
        return []
    query = LogQuery(
        limit=MAX_CONTROL_CHANGES,
        since=min(each.first_at for each in counts),
        until=max(each.last_at for each in counts) + _TICK,
        equals={"operation": Operation.ACKNOWLEDGE_FAILURE.value, "outcome": Outcome.GRANTED.value},
    )
    return _read([row.record for row in await storage.access_log(query)])


def _read(records: Sequence[AccessRecord]) -> list[Acknowledgement]:
    """Return the acknowledgements. A row that is none was changed in the database: the verification of the log names it."""
    return [made for record in records if (made := _acknowledgement(record)) is not None]


def _acknowledgement(record: AccessRecord) -> Acknowledgement | None:
    try:
        document: Any = json.loads(record.new_value or "")
        texts = [document[name] for name in ("control", "cause", "remedy")]
        failed_at = stored_time(document["failed_at"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    if not all(isinstance(each, str) for each in texts):
        return None
    control, cause, remedy = texts
    return Acknowledgement(control, failed_at, cause, remedy, record.at, record.app or "", record.identity)
