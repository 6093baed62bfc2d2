"""The compliance report: one instant, one count, a section from each plugin that offers one."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from vsqlvault.errors import FieldError, InvalidQuery, PluginFailed
from vsqlvault.interfaces.report_section import ReportContext, ReportSection
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.audit import Operation
from vsqlvault.model.hardening import StepState
from vsqlvault.model.principal import Call
from vsqlvault.model.times import format_time
from vsqlvault.service.audit import Auditor, Trace
from vsqlvault.service.commit_queue import CommitQueue
from vsqlvault.service.credentials import Credentials
from vsqlvault.service.plugin_calls import call_plugin
from vsqlvault.service.rulebooks import Rulebooks
from vsqlvault.service.rules import require_reader
from vsqlvault.service.sweeper import ceilings

SECTION_SECONDS = 5.0


class Report:
    """Writes the report for admins and auditors."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        rulebooks: Rulebooks,
        auditor: Auditor,
        sections: Sequence[ReportSection],
        credentials: Credentials,
        hardening: Sequence[StepState] = (),
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._rulebooks = rulebooks
        self._auditor = auditor
        self._sections = tuple(sections)
        self._hardening = tuple(hardening)
        self._credentials = credentials

    async def write(self, call: Call, as_of: datetime | None = None) -> dict[str, Any]:
        """Return the report as JSON types: ``as_of``, then a member for each section.

        ``as_of`` decides what counts as expired and which entries count at all; what was purged since is not brought back.

        Raises:
            RoleRequired, InvalidQuery (``as_of`` in the future), Unavailable.
        """
        trace = Trace(call, Operation.READ_REPORT)

        async def attempt() -> dict[str, Any]:
            require_reader(call)
            snapshot = await self._queue.read()
            trace.see(snapshot)
            if as_of and as_of > snapshot.now:
                raise InvalidQuery(errors=[FieldError("as_of", "a time that is not in the future")])
            context = await self._context(as_of or snapshot.now, snapshot.revision)
            report: dict[str, Any] = {"as_of": format_time(context.as_of)}
            for section in self._sections:
                report[section.name] = await _written(section, context)
            await self._queue.record(trace.granted())
            return report

        return await self._auditor.carry_out(trace, attempt)

    async def _context(self, as_of: datetime, revision: int) -> ReportContext:
        book = await self._rulebooks.at(revision)
        census = await self._storage.census(as_of, ceilings(book, as_of), sorted(book.access))
        holds = {
            name: hold
            for name, hold in book.holds.items()
            if not hold.is_released and hold.held_since and hold.held_since <= as_of
        }
        sweep, credentials = await self._storage.last_sweep(), await self._credentials.inventory()
        return ReportContext(
            as_of, census, sweep, book.retention, book.access, credentials, hardening=self._hardening, legal_holds=holds
        )


async def _written(section: ReportSection, context: ReportContext) -> Any:
    try:
        written = dict(await call_plugin(section, lambda: section.write(context), Mapping, SECTION_SECONDS))
        text = json.dumps({section.name: written}, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")  # as it is answered: a lone surrogate is no text
    except (PluginFailed, TypeError, ValueError, RecursionError):
        return {"failed": True}
    return json.loads(text)[section.name]
