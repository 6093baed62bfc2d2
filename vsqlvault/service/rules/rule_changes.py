"""Reading and changing policies and legal holds, each time with its audit row."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from vsqlvault.errors import VaultError
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.interfaces.writes import Change, Expectation, RevisionIs, Write, WriteOutcome
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import CREATED, NOT_MODIFIED, OK, AuditContext, Auditor
from vsqlvault.service.audit.rule_documents import StoredRule, as_json, rule_document
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.roles import require_reader
from vsqlvault.service.rules.preconditions import VersionPreconditions

Picked = TypeVar("Picked")
Rule = TypeVar("Rule", AccessPolicy, RetentionPolicy, LegalHold)


@dataclass(frozen=True, slots=True)
class RuleView(Generic[Rule]):
    """A policy or legal hold as it was read. ``unmodified``: the caller has this version, as ``If-None-Match`` says."""

    rule: Rule
    unmodified: bool


class Rules:
    """What policies and legal holds share: one policy snapshot, one revision, an audit row for every operation."""

    def __init__(self, queue: CommitQueue, policy_cache: PolicyCache, auditor: Auditor) -> None:
        self._queue = queue
        self._policy_cache = policy_cache
        self._auditor = auditor

    async def current(self, trace: AuditContext) -> PolicySnapshot:
        """Return the policy snapshot in force, and give the audit context its time."""
        snapshot = await self._queue.read()
        trace.observe(snapshot)
        return await self._policy_cache.at(snapshot.revision)

    async def read(
        self, trace: AuditContext, pick: Callable[[PolicySnapshot], Picked | None], missing: type[VaultError]
    ) -> Picked:
        """Return the result of ``pick``, for admins and auditors. Raises ``missing`` if that is None, RoleRequired."""

        async def attempt() -> Picked:
            require_reader(trace.call)
            found = pick(await self.current(trace))
            if found is None:
                raise missing
            await self._queue.record(trace.granted())
            return found

        return await self._auditor.run_audited(trace, attempt)

    async def read_version(
        self,
        trace: AuditContext,
        pick: Callable[[PolicySnapshot], Rule | None],
        missing: type[VaultError],
        preconditions: VersionPreconditions,
    ) -> RuleView[Rule]:
        """Return the rule that ``pick`` returns, as ``read`` does. Raises as ``read``, and PreconditionFailed."""

        async def attempt() -> RuleView[Rule]:
            require_reader(trace.call)
            found = pick(await self.current(trace))
            if found is None:
                raise missing
            preconditions.check_read(found.version)
            unmodified = preconditions.is_unmodified(found.version)
            await self._queue.record(trace.granted(NOT_MODIFIED if unmodified else OK))
            return RuleView(found, unmodified)

        return await self._auditor.run_audited(trace, attempt)

    async def change(
        self,
        trace: AuditContext,
        policies: PolicySnapshot,
        change: Change,
        old: StoredRule | None,
        new: StoredRule | None,
        *,
        expects: tuple[Expectation, ...] = (),
        detail: str | None = None,
        why: str | None = None,
    ) -> WriteOutcome:
        """Commit a change decided by ``policies``, with the row that has both values; a Conflict means: decide again.

        ``why``: a further member of the new value in the row.
        """
        said = {} if why is None else {"why": why}
        record = trace.granted(
            CREATED if old is None else OK,
            old_value=as_json(rule_document(old)) if old else None,
            new_value=as_json(rule_document(new) | said) if new else None,
            detail=detail,
        )
        return await self._queue.commit(Write((record,), (RevisionIs(policies.revision), *expects), (change,)))

    @asynccontextmanager
    async def naming(self, trace: AuditContext) -> AsyncIterator[None]:
        """Audit a refusal raised inside the block, with the subject of the audit context."""
        try:
            yield
        except VaultError as error:
            await self._auditor.refuse(trace, error)
            raise
