"""Evidence bundles: one signed file with everything an assessor receives, verifiable offline."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from vsqlvault.config import Settings
from vsqlvault.errors import FieldError, InvalidQuery, NothingSigned, RowsArchived
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.audit import Operation
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.principal import Call
from vsqlvault.model.times import parse_time
from vsqlvault.proof.log_part import LogPart
from vsqlvault.proof.note import Signer
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.compliance.evidence_bundle import BundlePlan, EvidenceBundle, members_of
from vsqlvault.service.compliance.public_settings import public_settings
from vsqlvault.service.compliance.report import Report
from vsqlvault.service.log.archive.rows import archived_rows, where_all_archived
from vsqlvault.service.log.log_range import leaf_range
from vsqlvault.service.log.verification import Progress
from vsqlvault.service.roles import require_reader

MAX_LOG_MEMBERS = 300_000
"""Limits of one bundle, in tiles and entry bundles: about forty million rows."""

Render = Callable[[dict[str, Any]], bytes]


class Evidence:
    """Creates evidence bundles for admins and auditors."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        auditor: Auditor,
        report: Report,
        plugins: Sequence[PluginOrigin],
        signer: Signer | None,
        max_log_members: int = MAX_LOG_MEMBERS,
    ) -> None:
        self._max_log_members = max_log_members
        self._settings = settings
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._auditor = auditor
        self._report = report
        self._plugins = tuple(plugins)
        self._signer = signer

    async def bundle(
        self,
        call: Call,
        render: Render,
        *,
        as_of: datetime | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        progress: Progress = lambda _done, _of: None,
    ) -> AsyncIterator[bytes]:
        """Yield the bytes of a bundle; ``render`` makes the HTML page of the report. Times are as for the report.

        The content is fixed and audited before this returns. The log part is that of the period, under the first checkpoint
        that covers it.

        Raises:
            RoleRequired, NothingSigned, InvalidQuery (as for the report, or the period has too many rows), Unavailable.
        """
        trace = AuditContext(call, Operation.EXPORT_EVIDENCE)

        async def attempt() -> tuple[BundlePlan, Signer]:
            require_reader(call)
            trace.observe(await self._queue.read())
            if self._signer is None:
                raise NothingSigned
            report = await self._report.write(call, as_of, since=since, until=until)
            plan = await self._plan(report)
            part = plan.part
            await self._queue.record(
                trace.granted(
                    detail=f"leaves {part.first} to {part.end} of {part.size}, report as of {report['as_of']}"
                )
            )
            return plan, self._signer

        plan, signer = await self._auditor.run_audited(trace, attempt)
        bundle = EvidenceBundle(
            plan,
            storage=self._storage,
            signer=signer,
            configuration=self._configuration(),
            plugins=self._plugins,
            progress=progress,
        )
        return bundle.pieces(render(dict(plan.report)))

    async def _plan(self, report: Mapping[str, Any]) -> BundlePlan:
        period = report["period"]
        since, until = parse_time(period["since"]), parse_time(period["until"])
        newest = await self._storage.newest_checkpoint()
        if newest is None:
            raise NothingSigned
        first, end = await leaf_range(self._storage, since, until, newest.size)
        archived = await archived_rows(self._storage)
        if archived is not None and since <= archived.newest_row_at:
            where = await where_all_archived(self._storage)
            raise RowsArchived(f"since: rows of the period are in {where}: begin it later, and add the archive")
        covering = await self._storage.checkpoints(max(end - 1, 0), 1)
        checkpoint = covering[0] if covering else newest
        part = LogPart(checkpoint.size, min(first, checkpoint.size), min(end, checkpoint.size))
        if members_of(part) > self._max_log_members:
            raise InvalidQuery(
                errors=[FieldError("since", "a later time: the period has too many rows for one bundle")]
            )
        policies = await self._policy_cache.at((await self._queue.read()).revision)
        return BundlePlan(report, parse_time(report["as_of"]), since, until, policies, checkpoint, part)

    def _configuration(self) -> Mapping[str, Any]:
        return {"settings": public_settings(self._settings), "storage": _plain(self._storage.describe())}


def _plain(storage: Mapping[str, Any]) -> dict[str, Any]:
    return {str(name): _simple(value) for name, value in sorted(storage.items())}


def _simple(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_simple(each) for each in value]
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)
