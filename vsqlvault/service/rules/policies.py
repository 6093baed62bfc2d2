"""Access and retention policies: admins change them, admins and auditors read them."""

from __future__ import annotations

import logging
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import timedelta

from vsqlvault.errors import BuiltInPolicy, FieldError, PolicyInUse, PolicyNotFound, Unavailable, ValidationFailed
from vsqlvault.errors.suggestions import did_you_mean, undefined
from vsqlvault.interfaces.storage import PolicySnapshot, RetentionLimitChange, RetentionLimitEffect, Storage
from vsqlvault.interfaces.writes import (
    Committed,
    Conflict,
    DropAccessPolicy,
    PolicyUnused,
    SaveAccessPolicy,
    SaveRetentionPolicy,
)
from vsqlvault.model.audit import Operation
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.authorizer import Authorizer
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.purge.purger import Purger
from vsqlvault.service.roles import require_admin
from vsqlvault.service.rules.preconditions import ANY_STATE, VersionPreconditions
from vsqlvault.service.rules.rule_changes import Rules, RuleView

log = logging.getLogger(__name__)
_OF_RETENTION = (
    Operation.READ_RETENTION_POLICY,
    Operation.CHANGE_RETENTION_POLICY,
    Operation.PREVIEW_RETENTION_POLICY,
)


@dataclass(frozen=True, slots=True)
class SavedRetention:
    """A retention policy in force, or a preview. ``is_new``: its purpose had none. ``effect`` None: not counted."""

    policy: RetentionPolicy
    is_new: bool
    effect: RetentionLimitEffect | None
    warnings: tuple[str, ...] = ()


class Policies:
    """Operations on policies. Each change is a new version with author, time and audit row."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        authorizer: Authorizer,
        purges: Purger,
        auditor: Auditor,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._authorizer = authorizer
        self._purges = purges
        self._auditor = auditor
        self._rules = Rules(queue, policy_cache, auditor)

    @property
    def evaluator_names(self) -> list[str]:
        """The names of the evaluators that plugins offer."""
        return self._authorizer.evaluator_names

    @property
    def purge_method_names(self) -> list[str]:
        """The names of the purge methods that plugins offer."""
        return self._purges.method_names

    async def policy_snapshot(self) -> PolicySnapshot:
        """Return all policies in force, built-in ones included. For internal use: leaves no audit row."""
        return await self._policy_cache.at((await self._queue.read()).revision)

    async def access_policy(self, call: Call, name: str) -> AccessPolicy:
        """Return the version in force. Raises PolicyNotFound, RoleRequired."""
        return (await self.view_access_policy(call, name, ANY_STATE)).rule

    async def view_access_policy(
        self, call: Call, name: str, preconditions: VersionPreconditions
    ) -> RuleView[AccessPolicy]:
        """Return the version in force. Raises PolicyNotFound, RoleRequired, PreconditionFailed."""
        trace = _trace(call, Operation.READ_ACCESS_POLICY, name)
        return await self._rules.read_version(
            trace, lambda policies: policies.access.get(name), PolicyNotFound, preconditions
        )

    async def access_policies(self, call: Call) -> list[AccessPolicy]:
        """Return all policies in force, by name. Raises RoleRequired."""
        trace = _trace(call, Operation.READ_ACCESS_POLICY, None)
        return await self._rules.read(
            trace, lambda policies: sorted(policies.access.values(), key=lambda policy: policy.name), PolicyNotFound
        )

    async def retention_policy(self, call: Call, purpose: str) -> RetentionPolicy:
        """Return the version in force. Raises PolicyNotFound, RoleRequired."""
        return (await self.view_retention_policy(call, purpose, ANY_STATE)).rule

    async def view_retention_policy(
        self, call: Call, purpose: str, preconditions: VersionPreconditions
    ) -> RuleView[RetentionPolicy]:
        """Return the version in force. Raises PolicyNotFound, RoleRequired, PreconditionFailed."""
        trace = _trace(call, Operation.READ_RETENTION_POLICY, purpose)
        return await self._rules.read_version(
            trace, lambda policies: policies.retention.get(purpose), PolicyNotFound, preconditions
        )

    async def retention_policies(self, call: Call) -> list[RetentionPolicy]:
        """Return all policies in force, by purpose. Raises RoleRequired."""
        trace = _trace(call, Operation.READ_RETENTION_POLICY, None)
        return await self._rules.read(
            trace,
            lambda policies: sorted(policies.retention.values(), key=lambda policy: policy.purpose),
            PolicyNotFound,
        )

    async def save_access_policy(
        self, call: Call, wanted: AccessPolicy, preconditions: VersionPreconditions = ANY_STATE
    ) -> tuple[AccessPolicy, bool]:
        """Save ``wanted`` as the next version, and return it and whether the name is new.

        Raises:
            RoleRequired, BuiltInPolicy, ValidationFailed, PreconditionFailed, Unavailable.
        """
        trace = _trace(call, Operation.CHANGE_ACCESS_POLICY, wanted.name)

        async def attempt() -> tuple[AccessPolicy, bool] | None:
            require_admin(call)
            if self._policy_cache.is_built_in(wanted.name):
                raise BuiltInPolicy(f"{wanted.name} is built in: choose another name")
            self._authorizer.check(wanted)
            policies = await self._rules.current(trace)
            old = policies.access.get(wanted.name)
            preconditions.check(old.version if old else None)
            new = replace(
                wanted, version=_next_version(policies, wanted.name), created_by=call.principal.app, created_at=trace.at
            )
            outcome = await self._rules.change(trace, policies, SaveAccessPolicy(new), old, new)
            return (new, old is None) if isinstance(outcome, Committed) else None

        return await self._auditor.run_audited(trace, attempt)

    async def delete_access_policy(
        self, call: Call, name: str, preconditions: VersionPreconditions = ANY_STATE
    ) -> AccessPolicy:
        """Delete the policy, and return its last version; its versions are kept.

        Raises:
            RoleRequired, PolicyNotFound, BuiltInPolicy, PolicyInUse, PreconditionFailed, Unavailable.
        """
        trace = _trace(call, Operation.DELETE_ACCESS_POLICY, name)

        async def attempt() -> AccessPolicy | None:
            require_admin(call)
            if self._policy_cache.is_built_in(name):
                raise BuiltInPolicy
            policies = await self._rules.current(trace)
            old = policies.access.get(name)
            preconditions.check(old.version if old else None)
            if old is None or trace.at is None:
                raise PolicyNotFound
            drop = DropAccessPolicy(name, _next_version(policies, name), call.principal.app, trace.at)
            outcome = await self._rules.change(trace, policies, drop, old, None, expects=(PolicyUnused(name),))
            if isinstance(outcome, Conflict) and isinstance(outcome.broken, PolicyUnused):
                raise PolicyInUse
            return old if isinstance(outcome, Committed) else None

        return await self._auditor.run_audited(trace, attempt)

    async def save_retention_policy(
        self, call: Call, wanted: RetentionPolicy, preconditions: VersionPreconditions = ANY_STATE
    ) -> SavedRetention:
        """Save ``wanted`` as the next version, and return it with its effect on stored entries.

        The effect is counted just before the commit; entries stored or expiring in between are not included. If the
        storage cannot count it, the policy is saved without it.

        Raises:
            RoleRequired, ValidationFailed, PreconditionFailed, Unavailable.
        """
        trace = _trace(call, Operation.CHANGE_RETENTION_POLICY, wanted.purpose)

        async def attempt() -> SavedRetention | None:
            new, old, policies = await self._next_retention(trace, wanted, preconditions)
            try:
                effect: RetentionLimitEffect | None = await self._effect(trace, new, old)
            except Unavailable:
                log.warning("the effect of a retention policy could not be counted", extra={"purpose": wanted.purpose})
                effect = None
            outcome = await self._rules.change(
                trace, policies, SaveRetentionPolicy(new), old, new, detail=_described(effect)
            )
            saved = SavedRetention(new, old is None, effect, _undefined_policies(new, policies))
            return saved if isinstance(outcome, Committed) else None

        return await self._auditor.run_audited(trace, attempt)

    async def preview_retention_policy(
        self, call: Call, wanted: RetentionPolicy, preconditions: VersionPreconditions = ANY_STATE
    ) -> SavedRetention:
        """Return what ``save_retention_policy`` would return, without saving. Raises as that does."""
        trace = _trace(call, Operation.PREVIEW_RETENTION_POLICY, wanted.purpose)

        async def attempt() -> SavedRetention:
            new, old, policies = await self._next_retention(trace, wanted, preconditions)
            effect = await self._effect(trace, new, old)
            await self._queue.record(trace.granted(detail=_described(effect)))
            return SavedRetention(new, old is None, effect, _undefined_policies(new, policies))

        return await self._auditor.run_audited(trace, attempt)

    async def _next_retention(
        self, trace: AuditContext, wanted: RetentionPolicy, preconditions: VersionPreconditions
    ) -> tuple[RetentionPolicy, RetentionPolicy | None, PolicySnapshot]:
        """Return the next version and the version in force."""
        require_admin(trace.call)
        if wanted.purge_method not in self._purges.method_names:
            known = ", ".join(self._purges.method_names)
            near = did_you_mean(wanted.purge_method, self._purges.method_names)
            raise ValidationFailed(errors=[FieldError("purge_method", f"one of {known}{near}")])
        policies = await self._rules.current(trace)
        old = policies.retention.get(wanted.purpose)
        preconditions.check(old.version if old else None)
        author = trace.call.principal.app
        new = replace(wanted, version=old.version + 1 if old else 1, created_by=author, created_at=trace.at)
        return new, old, policies

    async def _effect(
        self, trace: AuditContext, new: RetentionPolicy, old: RetentionPolicy | None
    ) -> RetentionLimitEffect:
        """Return the effect of the new maximum; without an earlier policy no entry is affected."""
        if old is None or trace.at is None or old.max_retention_days == new.max_retention_days:
            return RetentionLimitEffect()
        change = RetentionLimitChange(
            purpose=new.purpose,
            now=trace.at,
            before=timedelta(days=old.max_retention_days),
            after=timedelta(days=new.max_retention_days),
        )
        return await self._storage.retention_limit_effect(change)

    def naming(self, call: Call, operation: Operation, subject: str) -> AbstractAsyncContextManager[None]:
        """Audit a refusal raised inside the block, with ``subject``, the policy's name."""
        return self._rules.naming(_trace(call, operation, subject))


def _undefined_policies(policy: RetentionPolicy, policies: PolicySnapshot) -> tuple[str, ...]:
    names = policy.allowed_access_policies or ()
    return undefined("access policy", names, policies.access, "owner-only rules apply until it is")


def _next_version(policies: PolicySnapshot, name: str) -> int:
    return policies.access_versions.get(name, 0) + 1


def _trace(call: Call, operation: Operation, subject: str | None) -> AuditContext:
    return AuditContext(call, operation, purpose=subject if operation in _OF_RETENTION else None, subject=subject)


def _described(effect: RetentionLimitEffect | None) -> str:
    if effect is None:
        return "effect not counted"
    return (
        f"effective_expiry_changed {effect.changed}, expired_at_once {effect.expired_at_once}, revived {effect.revived}"
    )
