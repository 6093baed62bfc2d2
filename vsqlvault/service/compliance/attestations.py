"""Retention attestations (PCI DSS 4.0.1, 3.2.1): signed results of checking every purpose and a sample of purges."""

from __future__ import annotations

import json
import logging
import secrets
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault import __version__
from vsqlvault.errors import AttestationNotFound
from vsqlvault.interfaces.evidence import Evidence, EvidenceQuery
from vsqlvault.interfaces.storage import PolicySnapshot, Storage
from vsqlvault.interfaces.watch_storage import NewestAttestationIs, SaveAttestation
from vsqlvault.interfaces.writes import Committed, Write
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.times import format_time
from vsqlvault.proof.attestation import FORMAT, digest_of, write_document
from vsqlvault.proof.note import Signer
from vsqlvault.proof.sample import RULE
from vsqlvault.proof.statement import sign_statement
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import CREATED, AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.compliance.attestation_schedule import AttestationSchedule
from vsqlvault.service.compliance.purge_sample import Reach, check_purge, draw_purges
from vsqlvault.service.log.stored_tree import root_at
from vsqlvault.service.purge.expired import PAGE as EXPIRED_PAGE
from vsqlvault.service.purge.overdue import Overdue, find_overdue, sweep_grace
from vsqlvault.service.purge.sweeper import retention_limits
from vsqlvault.service.roles import require_admin, require_reader
from vsqlvault.service.tasks import Lease, PeriodicTask

log = logging.getLogger(__name__)
SAMPLE_SIZE = 25
MAX_LISTED = 100
LEASE = "attestation"
LEASE_SECONDS = 600.0
CHECK_INTERVAL_SECONDS = 60.0
EARLY = 0.1
"""The share of the interval before the due time at which an attestation is made automatically."""


@dataclass(frozen=True, slots=True)
class _Found:
    """The findings of one run."""

    at: datetime
    policies: PolicySnapshot
    evidence: Evidence
    overdue: Overdue
    grace: timedelta
    reach: Reach
    checked: Sequence[Mapping[str, Any]]
    checkpoint: str | None

    @property
    def failed(self) -> int:
        return sum(not each["holds"] for each in self.checked)

    @property
    def is_clean(self) -> bool:
        return not self.overdue.count and not self.failed


class Attestations:
    """Creates attestations and returns them to admins and auditors."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        auditor: Auditor,
        beginning: AttestationSchedule,
        signer: Signer | None,
        sweep_interval_hours: float,
        interval_seconds: float = CHECK_INTERVAL_SECONDS,
        max_listed: int = MAX_LISTED,
        expired_page: int = EXPIRED_PAGE,
    ) -> None:
        """``max_listed``: overdue entries that a document lists; ``expired_page``: expired entries read at once."""
        self._max_listed = max_listed
        self._expired_page = expired_page
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._auditor = auditor
        self._signer = signer
        self._sweep_interval_hours = sweep_interval_hours
        self.beginning = beginning
        self.task = PeriodicTask("attestation", self._step, interval_seconds)
        """Attests when it is due; checks that once a minute."""

    async def attest(self, call: Call, trigger: str = "request") -> Attestation:
        """Check every purpose now, and sign and store the findings, good or bad.

        Raises:
            RoleRequired, TreeDamaged (the stored tree cannot be read: nothing is attested), Unavailable.
        """
        trace = AuditContext(call, Operation.ATTEST)

        async def attempt() -> Attestation | None:
            require_admin(call)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            newest = next(iter(await self._storage.attestations(None, 1)), None)
            since = newest.at if newest else await self.beginning.at(snapshot.now)
            found = await self._look(snapshot.now, since, await self._policy_cache.at(snapshot.revision))
            made = self._made(call, trigger, newest, found)
            row = trace.granted(CREATED, new_value=_told(made), detail=_described(made, found))
            expected = NewestAttestationIs(made.number - 1)
            outcome = await self._queue.commit(Write((row,), (expected,), (SaveAttestation(made),)))
            return made if isinstance(outcome, Committed) else None

        made = await self._auditor.run_audited(trace, attempt)
        await self.beginning.attestation_due_at(made.at)
        facts = {"number": made.number, "trigger": trigger}
        if made.is_clean:
            log.info("retention is attested", extra=facts)
        else:
            log.warning("retention is attested, with exceptions", extra=facts)
        return made

    async def attestations(self, call: Call, before: int | None, limit: int) -> Sequence[Attestation]:
        """Return a page, newest first. Raises RoleRequired, Unavailable."""
        trace = AuditContext(call, Operation.READ_ATTESTATION)

        async def attempt() -> Sequence[Attestation]:
            require_reader(call)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            found = await self._storage.attestations(before, limit)
            await self.beginning.attestation_due_at(snapshot.now)
            await self._queue.record(trace.granted())
            return found

        return await self._auditor.run_audited(trace, attempt)

    async def attestation(self, call: Call, number: int) -> Attestation:
        """Return one attestation. Raises RoleRequired, AttestationNotFound, Unavailable."""
        trace = AuditContext(call, Operation.READ_ATTESTATION, subject=str(number))

        async def attempt() -> Attestation:
            require_reader(call)
            trace.observe(await self._queue.read())
            found = await self._storage.attestations(number + 1, 1)
            if not found or found[0].number != number:
                raise AttestationNotFound
            await self._queue.record(trace.granted())
            return found[0]

        return await self._auditor.run_audited(trace, attempt)

    async def attest_if_due(self) -> Attestation | None:
        """Attest if it is due and no other process is doing so. Raises as ``attest``."""
        lease = Lease(self._storage, LEASE, LEASE_SECONDS)
        if not await self._is_time() or not await lease.acquire():
            return None
        try:
            if not await self._is_time():  # another process that held the lease may have attested meanwhile
                return None
            return await self.attest(Call(SYSTEM, secrets.token_hex(16)), trigger="timer")
        finally:
            await lease.release()

    async def _step(self) -> None:
        await self.attest_if_due()

    async def _is_time(self) -> bool:
        now = (await self._queue.read()).now
        due_at = await self.beginning.attestation_due_at(now)
        return due_at is not None and now >= due_at - self.beginning.interval * EARLY

    async def _look(self, at: datetime, since: datetime, policies: PolicySnapshot) -> _Found:
        ends = retention_limits(policies, at)
        grace = sweep_grace(policies, at, self._sweep_interval_hours)
        query = EvidenceQuery(as_of=at, since=min(since, at), until=at, retention_limits=ends, grace=grace)
        evidence = await self._storage.evidence(query)
        overdue = await find_overdue(
            self._storage, policies, at, grace, max_listed=self._max_listed, page=self._expired_page
        )
        newest = await self._storage.newest_checkpoint()
        size = newest.size if newest else await self._storage.tree_size()
        reach = Reach(min(since, at), at, size, await root_at(self._storage, size))
        checked = [await self._checked(reach, each) for each in await draw_purges(self._storage, reach, SAMPLE_SIZE)]
        return _Found(at, policies, evidence, overdue, grace, reach, checked, newest.note if newest else None)

    async def _checked(self, reach: Reach, drawn: Any) -> Mapping[str, Any]:
        problems = await check_purge(self._storage, self._queue, reach, drawn)
        record = drawn.record
        return {
            "purge_id": record.purge_id,
            "purpose": record.purpose,
            "purged_at": format_time(record.purged_at),
            "method": record.method,
            "proof_hash": record.proof_hash,
            "leaf_index": drawn.index,
            "holds": not problems,
            "problems": problems,
        }

    def _made(self, call: Call, trigger: str, newest: Attestation | None, found: _Found) -> Attestation:
        number = newest.number + 1 if newest else 1
        document = write_document({
            "format": FORMAT,
            "number": number,
            "previous_sha256": digest_of(newest.document) if newest else None,
            "at": format_time(found.at),
            "requested_by": {"app": call.principal.app, "identity": call.principal.identity},
            "trigger": trigger,
            "software": f"vsqlvault {__version__}",
            "period": {"since": format_time(found.reach.since), "until": format_time(found.reach.until)},
            "result": "clean" if found.is_clean else "exceptions",
            "purposes": _purposes(found),
            "overdue": _overdue(found),
            "sample": _sample(found),
            "checkpoint": found.checkpoint,
        })  # fmt: skip
        note = sign_statement(FORMAT, document.encode(), self._signer) if self._signer else None
        return Attestation(number, found.at, found.is_clean, document, note)


def _purposes(found: _Found) -> list[dict[str, Any]]:
    active: Counter[str] = Counter()
    expired: Counter[str] = Counter()
    for holding in found.evidence.holdings:
        active[holding.purpose] += holding.active
        expired[holding.purpose] += holding.expired
    purged: Counter[str] = Counter()
    for purge in found.evidence.purges:
        purged[purge.purpose] += purge.count
    return [
        {
            "purpose": purpose,
            "policy_version": policy.version,
            "max_retention_days": policy.max_retention_days,
            "default_ttl_days": policy.default_ttl_days,
            "purge_method": policy.purge_method,
            "justification": policy.justification,
            "active": active[purpose],
            "expired_pending_purge": expired[purpose],
            "overdue": found.overdue.overdue.get(purpose, 0),
            "held": found.overdue.held.get(purpose, 0),
            "purged_in_period": purged[purpose],
        }
        for purpose, policy in sorted(found.policies.retention.items())
    ]


def _overdue(found: _Found) -> dict[str, Any]:
    return {
        "grace_seconds": int(found.grace.total_seconds()),
        "count": found.overdue.count,
        "held": sum(found.overdue.held.values()),
        "listed": [
            {
                "purpose": each.purpose,
                "external_id": each.external_id,
                "expired_at": format_time(each.expired_at),
            }
            for each in found.overdue.listed
        ],
    }


def _sample(found: _Found) -> dict[str, Any]:
    return {
        "rule": RULE,
        "seed": found.reach.root.hex(),
        "tree_size": found.reach.size,
        "population": sum(purge.count for purge in found.evidence.purges),
        "wanted": SAMPLE_SIZE,
        "failed": found.failed,
        "checked": list(found.checked),
    }


def _told(made: Attestation) -> str:
    """Return the summary that the audit row keeps: enough to show later that the document is unchanged."""
    return json.dumps({"number": made.number, "sha256": digest_of(made.document)})


def _described(made: Attestation, found: _Found) -> str:
    checked = len(found.checked)
    good = checked - found.failed
    return f"attestation {made.number}: {found.overdue.count} overdue, {good} of {checked} sampled purges verified"
