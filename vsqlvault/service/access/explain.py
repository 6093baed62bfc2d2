"""Explains a decision: who may do what with an entry, by which rules, until when, and what keeps it."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

from vsqlvault.errors import EntryNotFound, VaultError
from vsqlvault.interfaces.storage import LogQuery, LogRow, Storage
from vsqlvault.interfaces.writes import Committed, RevisionIs, Write
from vsqlvault.model.access import Action, Allow, AuthorizationResult
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.principal import Call, Principal
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.authorizer import Authorizer, LoadedEntry
from vsqlvault.service.access.loading import EntryLoader
from vsqlvault.service.audit.recorder import CREATED, OK, AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.roles import require_reader

_OPERATIONS = {
    Action.STORE: Operation.STORE,
    Action.RETRIEVE: Operation.RETRIEVE,
    Action.INSPECT: Operation.INSPECT,
    Action.PURGE: Operation.PURGE,
}


@dataclass(frozen=True, slots=True)
class Question:
    """A request to explain: whether ``principal`` may do ``action``. A store would name ``access_policy``.

    ``updates``: the store is an update of an entry that must exist (PATCH), which its own policy decides.
    """

    principal: Principal
    action: Action
    key: EntryKey
    access_policy: str
    updates: bool = False

    @property
    def operation(self) -> Operation:
        """The operation that the request would be."""
        return Operation.UPDATE if self.updates else _OPERATIONS[self.action]


@dataclass(frozen=True, slots=True)
class Explanation:
    """The explanation, as of ``at``.

    ``decided`` is the decision of the access policy, and ``allowed`` what it grants; None if no policy was evaluated,
    because there is no entry. ``refusal`` is the error of the request, or None if it would succeed with ``status``.
    ``policy`` is the version that decided. ``holds`` keep the entry. ``last_purge`` is the newest row of the purge log
    for the key.
    """

    question: Question
    at: datetime
    decided: AuthorizationResult | None
    allowed: Allow | None
    refusal: VaultError | None
    status: int
    policy: AccessPolicy | None
    entry: Entry | None
    state: EntryState | None
    retention: RetentionPolicy | None
    holds: tuple[LegalHold, ...]
    last_purge: LogRow[PurgeRecord] | None


class Explain:
    """Explains how a request would be answered, with the code that answers requests, up to the point where it would act."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        authorizer: Authorizer,
        auditor: Auditor,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._auditor = auditor
        self._authorizer = authorizer
        self._loader = EntryLoader(queue, policy_cache)

    async def explain(self, call: Call, question: Question) -> Explanation:
        """Return the explanation. No value is read, nothing is counted, and nothing but the audit row is written.

        Raises:
            RoleRequired: the caller is neither admin nor auditor. Unavailable.
        """
        context = AuditContext(call, Operation.EXPLAIN_ACCESS, question.key)

        async def attempt() -> Explanation | None:
            require_reader(call)
            would = AuditContext(replace(call, principal=question.principal), question.operation, question.key)
            loaded = await self._loader.load(would, question.key, with_value=False)
            context.observe(loaded.snapshot)
            found = await self._answer(would, question, loaded)
            row = context.granted(detail=_described(found))
            outcome = await self._queue.commit(Write((row,), (RevisionIs(loaded.policies.revision),)))
            return found if isinstance(outcome, Committed) else None

        return await self._auditor.run_audited(context, attempt)

    async def _answer(self, would: AuditContext, question: Question, loaded: LoadedEntry) -> Explanation:
        allowed, refusal = None, None
        try:
            allowed = await self._dry_run(would, question, loaded)
        except VaultError as error:
            refusal = error
        decided = would.decided
        purged = await self._storage.purge_log(
            LogQuery(limit=1, equals={"purpose": question.key.purpose, "external_id": question.key.external_id})
        )
        entry = loaded.entry
        creates = question.operation is Operation.STORE and loaded.state is not EntryState.ACTIVE
        return Explanation(
            question=question,
            at=loaded.snapshot.now,
            decided=decided,
            allowed=allowed or (decided.decision if decided and isinstance(decided.decision, Allow) else None),
            refusal=refusal,
            status=refusal.status if refusal else CREATED if creates else OK,
            policy=loaded.policies.access.get(decided.policy) if decided and decided.policy else None,
            entry=entry,
            state=loaded.state,
            retention=loaded.retention,
            holds=loaded.policies.holds_on(entry) if entry and entry.purged_at is None else (),
            last_purge=purged[0] if purged else None,
        )

    async def _dry_run(self, would: AuditContext, question: Question, loaded: LoadedEntry) -> Allow | None:
        """Run the operation up to the point where it acts. Checks that need a body, such as its size, are omitted."""
        key = question.key
        if question.operation is Operation.STORE:
            self._authorizer.require_purpose(would, key)
            await self._authorizer.authorize_store(would, key, question.access_policy, loaded)
            _require_free(would, loaded.entry, loaded)
            return None
        entry, allowed = await self._authorizer.authorize(would, key, question.action, loaded)
        if question.action is Action.PURGE:
            _require_free(would, entry, loaded)
        return allowed


def _require_free(would: AuditContext, entry: Entry | None, loaded: LoadedEntry) -> None:
    if entry:
        loaded.policies.require_free(entry, names_holds=would.call.principal.may_inspect_all)


def _described(found: Explanation) -> str:
    """Return the request and the explanation as text for the audit row."""
    by = f", by {found.decided.policy} v{found.decided.version}" if found.decided and found.decided.policy else ""
    end = found.refusal.slug if found.refusal and not isinstance(found.refusal, EntryNotFound) else "no entry"
    told = f"{found.status} {end}" if found.refusal else str(found.status)
    return f"{found.question.operation.value} by {found.question.principal.app}: {told}{by}"
