"""Decides whether a caller may perform an action on an entry."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.errors import (
    AccessDenied,
    EntryExpired,
    EntryNotFound,
    EntryPurged,
    FieldError,
    IdRetired,
    NoRetentionPolicy,
    PluginFailed,
    RetentionRefused,
    ValidationFailed,
    VaultError,
)
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.storage import PolicySnapshot, Snapshot
from vsqlvault.model.access import AccessRequest, Action, Allow, AuthorizationResult, Decision, Deny
from vsqlvault.model.entry import Entry, EntryKey, EntryState
from vsqlvault.model.policy import DEFAULT_POLICY, AccessPolicy, RetentionPolicy
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.plugin_calls import Pending, begin_call, call_plain, finish_call

log = logging.getLogger(__name__)
_DECISIONS = (Allow, Deny)
_NOT_HELD = AuthorizationResult(Deny("purpose-not-held"))


@dataclass(slots=True)
class LoadedEntry:
    """An entry as one read found it, with the policies in force and the state that they give it."""

    snapshot: Snapshot
    policies: PolicySnapshot
    retention: RetentionPolicy | None
    entry: Entry | None
    state: EntryState | None
    expires_at: datetime | None

    @classmethod
    def of(cls, snapshot: Snapshot, policies: PolicySnapshot, key: EntryKey) -> LoadedEntry:
        """Return what ``snapshot`` shows of the entry under ``key``."""
        retention = policies.retention.get(key.purpose)
        entry = snapshot.entry
        if entry is None:
            return cls(snapshot, policies, retention, None, None, None)
        expires_at = entry.expires_at
        if retention is not None:
            expires_at = min(expires_at, entry.created_at + timedelta(days=retention.max_retention_days))
        if entry.purged_at is not None:
            state = EntryState.PURGED
        else:
            state = EntryState.EXPIRED if snapshot.now >= expires_at else EntryState.ACTIVE
        return cls(snapshot, policies, retention, entry, state, expires_at)


class Authorizer:
    """Asks the evaluator of an access policy, and records the decision in the audit context."""

    def __init__(
        self,
        evaluators: Mapping[str, PolicyEvaluator],
        timeout_seconds: float,
        retires_id: Callable[[RetentionPolicy], bool] = lambda _: True,
    ) -> None:
        """``retires_id`` says whether the purge method of a retention policy makes the ids of purged entries unusable."""
        self._evaluators = dict(evaluators)
        self._timeout_seconds = timeout_seconds
        self._retires_id = retires_id

    @property
    def evaluator_names(self) -> list[str]:
        """The names of the evaluators that plugins offer."""
        return sorted(self._evaluators)

    def check(self, policy: AccessPolicy) -> None:
        """Have the evaluator that the policy names validate it.

        Raises:
            ValidationFailed: there is no such evaluator, or it rejects the policy. PluginFailed: it fails.
        """
        evaluator = self._evaluators.get(policy.evaluator)
        if evaluator is None:
            near = did_you_mean(policy.evaluator, self._evaluators)
            raise ValidationFailed(errors=[FieldError("evaluator", f"an evaluator that a loaded plugin offers{near}")])
        call_plain(evaluator, lambda: evaluator.check(policy), passes=(VaultError,))

    async def decide(self, request: AccessRequest, policy_name: str, policies: PolicySnapshot) -> AuthorizationResult:
        """Decide by the named policy, or by ``owner-only`` where it is not defined. Every failure denies.

        Admins and auditors may always inspect: no evaluator is asked, so that none can hide an entry from them.
        """
        policy = policies.access.get(policy_name) or policies.access.get(DEFAULT_POLICY)
        if policy is None:
            return AuthorizationResult(Deny("no-policy"))
        if request.action is Action.INSPECT and request.principal.may_inspect_all:
            return AuthorizationResult(Allow(), policy.name, policy.version)
        evaluator = self._evaluators.get(policy.evaluator)
        if evaluator is None:
            log.error("no plugin offers the evaluator", extra={"policy": policy.name, "evaluator": policy.evaluator})
            return _failure(policy)
        try:
            decision: Any = begin_call(
                evaluator, evaluator.evaluate, _DECISIONS, self._timeout_seconds, request, policy
            )
            if type(decision) is Pending:
                decision = await finish_call(evaluator, decision, _DECISIONS, self._timeout_seconds)
        except PluginFailed:
            return _failure(policy)
        is_plain = type(decision) is Allow and decision.max_retrievals is None
        if not is_plain and not _is_sound(decision):
            log.error("policy evaluator gave an unusable decision", extra={"policy": policy.name})
            return _failure(policy)
        return AuthorizationResult(decision, policy.name, policy.version)

    def require_purpose(self, context: AuditContext, key: EntryKey) -> None:
        """Raise AccessDenied unless the caller has the entry's purpose."""
        if not context.call.principal.has_purpose(key.purpose):
            self.require(context, _NOT_HELD)

    def require(self, context: AuditContext, decided: AuthorizationResult) -> Allow:
        """Record a decision in the context, and return its Allow.

        Raises:
            AccessDenied: it is a Deny. PluginFailed: the evaluator gave none.
        """
        context.decided = decided
        if type(decided.decision) is Allow:
            return decided.decision
        if decided.failed:
            raise PluginFailed
        if isinstance(decided.decision, Allow):
            return decided.decision
        raise AccessDenied(_what_the_credential_lacks(context))

    async def authorize(
        self, context: AuditContext, key: EntryKey, action: Action, loaded: LoadedEntry
    ) -> tuple[Entry, Allow]:
        """Return the live entry and the Allow for the action. Callers that are denied do not learn the entry's state.

        Raises:
            AccessDenied, EntryNotFound, EntryPurged, EntryExpired, PluginFailed.
        """
        principal, entry = context.call.principal, loaded.entry
        if entry is None:
            if not (action is Action.INSPECT and principal.may_inspect_all):
                self.require_purpose(context, key)
            raise EntryNotFound
        request = AccessRequest(principal, action, key, entry, loaded.snapshot.now)
        allowed = self.require(context, await self.decide(request, entry.access_policy, loaded.policies))
        if loaded.state is not EntryState.ACTIVE:
            if loaded.state is EntryState.PURGED:
                raise EntryPurged
            note_retention(context, loaded.retention)
            raise EntryExpired
        return entry, allowed

    async def authorize_store(
        self, context: AuditContext, key: EntryKey, access_policy: str, loaded: LoadedEntry
    ) -> RetentionPolicy:
        """Return the retention policy under which the caller may store an entry that names ``access_policy``.

        The policy of the entry present decides on its replacement. A new policy must let the caller store, too.

        Raises:
            AccessDenied, NoRetentionPolicy, RetentionRefused, IdRetired, EntryHeld, PluginFailed.
        """
        entry, principal, now = loaded.entry, context.call.principal, loaded.snapshot.now
        if entry is not None:
            request = AccessRequest(principal, Action.STORE, key, entry, now)
            self.require(context, await self.decide(request, entry.access_policy, loaded.policies))
        if entry is None or entry.access_policy != access_policy:
            await self.authorize_policy(context, key, access_policy, loaded)
        retention = loaded.retention
        if retention is None:
            raise NoRetentionPolicy(f"set one with PUT /admin/retention-policies/{key.purpose}")
        require_allowed(context, access_policy, retention)
        if loaded.state is EntryState.PURGED:
            raise IdRetired
        if loaded.state is EntryState.EXPIRED and self._retires_id(retention):
            if entry is not None:
                loaded.policies.require_free(entry, names_holds=principal.may_inspect_all)
            note_retention(context, retention)
            raise IdRetired
        return retention

    async def authorize_policy(
        self, context: AuditContext, key: EntryKey, access_policy: str, loaded: LoadedEntry
    ) -> None:
        """Require that the policy which an entry is to name lets the caller store. An earlier decision stays in the context.

        Raises:
            AccessDenied, PluginFailed.
        """
        decided = context.decided
        request = AccessRequest(context.call.principal, Action.STORE, key, None, loaded.snapshot.now)
        self.require(context, await self.decide(request, access_policy, loaded.policies))
        context.decided = decided or context.decided

    async def may_inspect(self, context: AuditContext, entry: Entry, loaded: LoadedEntry) -> bool:
        """Whether the caller may inspect the entry. Raises PluginFailed, since omitting the entry would deny its existence."""
        request = AccessRequest(context.call.principal, Action.INSPECT, entry.key, entry, loaded.snapshot.now)
        decided = await self.decide(request, entry.access_policy, loaded.policies)
        if decided.failed:
            self.require(context, decided)
        return isinstance(decided.decision, Allow)


def require_allowed(context: AuditContext, access_policy: str, retention: RetentionPolicy) -> None:
    """Raise RetentionRefused where the purpose does not allow its entries to name the access policy."""
    allowed = retention.allowed_access_policies
    if allowed is not None and access_policy not in allowed:
        note_retention(context, retention)
        near = did_you_mean(access_policy, allowed)
        raise RetentionRefused(errors=[FieldError("access_policy", f"one of {', '.join(allowed)}{near}")])


def note_retention(context: AuditContext, retention: RetentionPolicy | None) -> None:
    """Put the version of the retention policy that decided into the row of the refusal."""
    if retention is not None:
        context.detail = f"retention {retention.reference}"


def _failure(policy: AccessPolicy) -> AuthorizationResult:
    """Return the result where the evaluator gives no decision that can be used."""
    return AuthorizationResult(Deny(PluginFailed.reason), policy.name, policy.version, failed=True)


def _is_sound(decision: Decision) -> bool:
    """Whether the decision's obligation can be kept; a plugin can put anything into it."""
    limit = decision.max_retrievals if isinstance(decision, Allow) else None
    return limit is None or (type(limit) is int and limit >= 0)


def _what_the_credential_lacks(context: AuditContext) -> str | None:
    """Return a fact about the caller's own credential; None if it has the purpose.

    It depends on the credential and the path only, so that it says nothing of the entry or its policy.
    """
    purpose = context.purpose
    if purpose is None or context.call.principal.has_purpose(purpose):
        return None
    return f"the credential does not have the purpose {purpose}"
