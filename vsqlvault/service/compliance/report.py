"""The compliance report: one instant, one count, and a section from each plugin that offers one."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.config import Settings
from vsqlvault.errors import FieldError, InvalidQuery, PluginFailed, PluginUnusable
from vsqlvault.interfaces.evidence import MAX_LISTED_KEYS, Evidence, EvidenceQuery
from vsqlvault.interfaces.report_section import (
    MAX_ATTESTATIONS,
    MAX_CONTROL_CHANGES,
    RESERVED_MEMBERS,
    LogTree,
    Period,
    ReportContext,
    ReportSection,
)
from vsqlvault.interfaces.statistics import KeyRefUse
from vsqlvault.interfaces.storage import KeyRefQuery, PolicySnapshot, Storage
from vsqlvault.model import pci_dss
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.audit import Operation
from vsqlvault.model.control import CONTROLS
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.principal import Call
from vsqlvault.model.read_only import plain_mapping, read_only
from vsqlvault.model.sandbox import StepState
from vsqlvault.model.times import format_time
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.authorizer import Authorizer
from vsqlvault.service.access.probes import PROBE_SECONDS, probe_policies, run_self_tests
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.compliance.access_lists import access_lists
from vsqlvault.service.compliance.acknowledgements import acknowledgements
from vsqlvault.service.compliance.document_faults import attestation_faults, review_faults
from vsqlvault.service.credentials.inventory import Credentials
from vsqlvault.service.entries.key_usage import KeyUsage
from vsqlvault.service.log.archive.rows import archived_rows
from vsqlvault.service.log.verifier import LogVerifier
from vsqlvault.service.plugin_calls import call_plain, call_plugin
from vsqlvault.service.purge.held_counts import count_held
from vsqlvault.service.purge.overdue import FIRST_INSTANT, sweep_grace
from vsqlvault.service.purge.sweeper import retention_limits
from vsqlvault.service.roles import require_reader

log = logging.getLogger(__name__)
SECTION_SECONDS = 5.0
MAX_LISTED_RUNS = 1_000


@dataclass(frozen=True, slots=True)
class ReportRequest:
    """Which report: the instant (None: now) and the period of the log counts (None: see ``Report.write``)."""

    as_of: datetime | None = None
    since: datetime | None = None
    until: datetime | None = None


class Report:
    """Creates the report for admins and auditors."""

    def __init__(
        self,
        *,
        settings: Settings,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        auditor: Auditor,
        authorizer: Authorizer,
        sections: Sequence[ReportSection],
        credentials: Credentials,
        verifier: LogVerifier,
        key_usage: KeyUsage,
        plugins: Sequence[PluginOrigin] = (),
        hardening: Sequence[StepState] = (),
        controls: Mapping[str, tuple[str, ...]] = CONTROLS,
        section_seconds: float = SECTION_SECONDS,
        probe_seconds: float = PROBE_SECONDS,
    ) -> None:
        """Register the sections; ``section_seconds`` is the limit of each, ``probe_seconds`` of all probes together.

        Raises:
            PluginUnusable: a section has the name of a member of the core.
        """
        if taken := [section.name for section in sections if section.name in RESERVED_MEMBERS]:
            raise PluginUnusable(
                f"report section {taken[0]!r}: expected another name, because the report itself has that member"
            )
        self._settings = settings
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._auditor = auditor
        self._authorizer = authorizer
        self._sections = tuple(sections)
        self._plugins = tuple(plugins)
        self._hardening = tuple(hardening)
        self._controls = controls
        self._credentials = credentials
        self._verifier = verifier
        self._key_usage = key_usage
        self._section_seconds = section_seconds
        self._probe_seconds = probe_seconds

    async def write(
        self,
        call: Call,
        as_of: datetime | None = None,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
    ) -> dict[str, Any]:
        """Return the report as JSON types: ``as_of``, ``period``, a member for each section, ``requirements``.

        ``as_of`` decides which entries count and which have expired; entries purged since are not restored.
        Log rows count from ``since`` (default: ``compliance.period_days`` before ``until``) to ``until`` (default: ``as_of``).

        Raises:
            RoleRequired, InvalidQuery (``as_of`` in the future, ``until`` after it, ``since`` not before ``until``),
            Unavailable.
        """
        trace = AuditContext(call, Operation.READ_REPORT)
        wanted = ReportRequest(as_of, since, until)

        async def attempt() -> dict[str, Any]:
            require_reader(call)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            instant = wanted.as_of or snapshot.now
            if instant > snapshot.now:
                raise InvalidQuery(errors=[FieldError("as_of", "a time that is not in the future")])
            context = await self._context(instant, self._period(wanted, instant), snapshot.revision)
            report: dict[str, Any] = {"as_of": format_time(context.as_of), "period": _shown(context.period)}
            for section in self._sections:
                report[section.name] = await _written(section, context, self._section_seconds)
            report["requirements"] = _requirements(report)
            await self._queue.record(trace.granted())
            return report

        return await self._auditor.run_audited(trace, attempt)

    def _period(self, wanted: ReportRequest, as_of: datetime) -> Period:
        until = wanted.until or as_of
        if until > as_of:
            raise InvalidQuery(errors=[FieldError("until", "a time that is not after as_of")])
        since = wanted.since or _earlier(until, timedelta(days=self._settings.compliance.period_days))
        if since >= until and wanted.since is not None:
            raise InvalidQuery(errors=[FieldError("since", "a time before until")])
        return Period(since, until)

    async def context(self, as_of: datetime, since: datetime | None, revision: int) -> ReportContext:
        """Return the facts of a report up to ``as_of`` from ``since`` on (default: ``compliance.period_days`` earlier)."""
        return await self._context(as_of, self._period(ReportRequest(as_of, since), as_of), revision)

    async def _context(self, as_of: datetime, period: Period, revision: int) -> ReportContext:
        policies = await self._policy_cache.at(revision)
        ends = retention_limits(policies, as_of)
        grace = sweep_grace(policies, as_of, self._settings.purge.sweep_interval_hours)
        known = sorted(policies.access)
        evidence = await self._storage.evidence(
            EvidenceQuery(
                as_of=as_of,
                since=period.since,
                until=period.until,
                retention_limits=ends,
                grace=grace,
                known_policies=known,
            )
        )
        entry_statistics = evidence.entry_statistics or await self._storage.entry_statistics(as_of, ends, known)
        uses = await self._key_uses(as_of, ends) if evidence.key_uses is None else evidence.key_uses
        probed = await probe_policies(
            self._authorizer, policies, _used_policies(policies, evidence), as_of, seconds=self._probe_seconds
        )
        credentials = await self._credentials.inventory()
        lists = access_lists(policies, evidence, probed, credentials, as_of)
        context = ReportContext(
            as_of,
            entry_statistics,
            await self._storage.last_sweep(),
            policies.retention,
            policies.access,
            credentials,
            hardening=self._hardening,
            legal_holds=(holds := _in_force(policies, as_of)),
            period=period,
            evidence=evidence,
            key_uses=uses[:MAX_LISTED_KEYS],
            key_lifetimes=await self._key_usage.lifetimes(),
            key_uses_complete=len(uses) <= MAX_LISTED_KEYS,
            probes=probed.probes,
            probes_complete=probed.complete,
            log_tree=LogTree(await self._storage.tree_size(), await self._storage.newest_checkpoint()),
            log_verification=await self._verifier.newest(),
            archived=await archived_rows(self._storage),
            self_tests=await run_self_tests(self._authorizer, policies, as_of),
            plugins=self._plugins,
            storage=dict(self._storage.describe()),
            held=await count_held(self._storage, policies.retention, holds.values(), as_of, grace=grace),
            sweeps=await self._storage.sweeps(period.since, period.until, MAX_LISTED_RUNS),
            last_scrub=await self._storage.last_scrub(),
            scrubs=await self._storage.scrubs(period.since, as_of, MAX_LISTED_RUNS),
            controls=self._controls,
            control_states=await self._storage.control_states(),
            acknowledgements=await acknowledgements(self._storage, evidence),
            access_lists=lists.by_purpose,
            database_access=await self._storage.database_access(),
            role_list=lists.roles,
            control_changes=await self._storage.control_changes(period.since, period.until, MAX_CONTROL_CHANGES),
            **await self._signed(as_of),
        )
        return read_only(context)

    async def _signed(self, as_of: datetime) -> dict[str, Any]:
        """Return the fields of the context with stored signed documents, and why some of them do not verify."""
        attestations, reviews = await self._attestations(as_of), await self._storage.newest_access_reviews(as_of)
        keys = await self._verifier.trusted_keys() if attestations or reviews else ()
        notes = [*(each.note for each in attestations), *(each.note for each in reviews)]
        return {
            "attestations": attestations,
            "attestation_faults": attestation_faults(attestations, keys),
            "access_reviews": reviews,
            "review_faults": review_faults(reviews, keys),
            "signatures_verified": bool(keys) or all(note is None for note in notes),
        }

    async def _attestations(self, as_of: datetime) -> list[Attestation]:
        found: list[Attestation] = []
        before: int | None = None
        while len(found) < MAX_ATTESTATIONS:
            page = await self._storage.attestations(before, MAX_ATTESTATIONS)
            found += [each for each in page if each.at <= as_of]
            if len(page) < MAX_ATTESTATIONS:
                break
            before = page[-1].number
        return found[:MAX_ATTESTATIONS]

    async def _key_uses(self, as_of: datetime, ends: Mapping[str, datetime]) -> Sequence[tuple[str, KeyRefUse]]:
        """Return keys with their purposes: at most one more than the list limit."""
        uses: list[tuple[str, KeyRefUse]] = []
        for purpose, retention_limit in sorted(ends.items()):
            left = MAX_LISTED_KEYS + 1 - len(uses)
            if left == 0:
                break
            query = KeyRefQuery(purpose=purpose, now=as_of, created_before=retention_limit, limit=left)
            uses += [(purpose, use) for use in await self._storage.key_refs(query)]
        return uses


def _earlier(at: datetime, span: timedelta) -> datetime:
    """Return the instant ``span`` earlier, or the earliest representable one."""
    return at - min(span, at - FIRST_INSTANT)


def _in_force(policies: PolicySnapshot, as_of: datetime) -> dict[str, LegalHold]:
    """Return the legal holds in force, but for those placed after ``as_of``."""
    return {
        name: hold
        for name, hold in policies.holds.items()
        if not hold.is_released and hold.held_since and hold.held_since <= as_of
    }


def _used_policies(policies: PolicySnapshot, evidence: Evidence) -> list[tuple[str, str]]:
    """Return purposes with the defined policies that their entries name."""
    return [(each.purpose, each.access_policy) for each in evidence.holdings if each.access_policy in policies.access]


def _shown(period: Period | None) -> dict[str, str] | None:
    return {"since": format_time(period.since), "until": format_time(period.until)} if period else None


def _requirements(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return every requirement that a section addresses, with those sections and the aliases."""
    sections: dict[str, list[str]] = {}
    for name, member in report.items():
        for number in _claimed(member):
            sections.setdefault(number, []).append(name)
    return {
        "standard": f"PCI DSS v{pci_dss.VERSION}",
        "note": (
            "Titles are in our own words. A section supports an assessment; none says that a requirement is met. "
            "Encryption alone does not take data out of scope: it can reduce scope, ask your QSA."
        ),
        "by_id": {
            number: {"title": title, "sections": sections[number]}
            for number, title in pci_dss.REQUIREMENTS.items()
            if number in sections
        },
        "aliases": [
            {"number": alias.number, "label": alias.label, "requirements": list(alias.requirements), "note": alias.note}
            for alias in pci_dss.ALIASES
        ],
    }


def _claimed(member: Any) -> list[str]:
    claimed = member.get("requirements", []) if isinstance(member, Mapping) else []
    return claimed if isinstance(claimed, list) else []


def _json_of(name: str, written: Mapping[str, Any]) -> str:
    """Return a member as JSON text. Raises for what is not JSON in UTF-8, such as a lone surrogate."""
    text = json.dumps({name: dict(written)}, allow_nan=False, ensure_ascii=False, default=plain_mapping)
    text.encode("utf-8")
    return text


async def _written(section: ReportSection, context: ReportContext, seconds: float) -> Any:
    try:
        written = await call_plugin(section, lambda: section.write(context), Mapping, seconds)
        text = call_plain(section, lambda: _json_of(section.name, written))
    except PluginFailed:
        return {"failed": True}
    member = json.loads(text)[section.name]
    if unknown := _unknown_ids(member):
        log.error("report section claims an unknown requirement", extra={"section": section.name, "id": unknown[0]})
        return {"failed": True}
    return member


def _unknown_ids(member: Mapping[str, Any]) -> list[str]:
    """Return the claimed requirements that are not valid ids."""
    claimed = member.get("requirements", [])
    if not isinstance(claimed, list) or not all(isinstance(each, str) for each in claimed):
        return ["not a list of ids"]
    return pci_dss.unknown_ids(claimed)
