"""Reading and changing access policies and retention policies: admins change, admins and auditors read."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any, TypeVar

from vsqlvault.errors import (
    BuiltInPolicy,
    FieldError,
    PolicyInUse,
    PolicyNotFound,
    RoleRequired,
    ValidationFailed,
    VaultError,
)
from vsqlvault.interfaces.storage import (
    Change,
    Committed,
    Conflict,
    DropAccessPolicy,
    PolicyUnused,
    RevisionIs,
    Rulebook,
    SaveAccessPolicy,
    SaveRetentionPolicy,
    Write,
)
from vsqlvault.model.audit import Operation
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy, Rule
from vsqlvault.model.principal import Call
from vsqlvault.model.times import format_time
from vsqlvault.service.audit import CREATED, OK, Auditor, Trace
from vsqlvault.service.commit_queue import CommitQueue
from vsqlvault.service.decisions import Decisions
from vsqlvault.service.plugin_calls import check_with_plugin
from vsqlvault.service.purges import Purges
from vsqlvault.service.rulebooks import Rulebooks

Picked = TypeVar("Picked")
_OF_RETENTION = (Operation.READ_RETENTION_POLICY, Operation.CHANGE_RETENTION_POLICY)


def require_admin(call: Call) -> None:
    """Raise RoleRequired unless the caller is an admin."""
    if not call.principal.is_admin:
        raise RoleRequired("admin")


def require_reader(call: Call) -> None:
    """Raise RoleRequired unless the caller is an admin or an auditor."""
    if not call.principal.roles:
        raise RoleRequired("admin or auditor")


class Policies:
    """What can be done with policies. Each change is a new version, with author and time, and its audit row."""

    def __init__(
        self, *, queue: CommitQueue, rulebooks: Rulebooks, decisions: Decisions, purges: Purges, auditor: Auditor
    ) -> None:
        self._queue = queue
        self._rulebooks = rulebooks
        self._decisions = decisions
        self._purges = purges
        self._auditor = auditor

    async def rulebook(self) -> Rulebook:
        """Return all policies in force now, the built-in ones among them. Leaves no audit row: for the vault's own use."""
        return await self._rulebooks.at((await self._queue.read()).revision)

    async def access_policy(self, call: Call, name: str) -> AccessPolicy:
        """Return the version in force. Raises PolicyNotFound, RoleRequired."""
        return await self._read(call, Operation.READ_ACCESS_POLICY, lambda book: book.access.get(name), name)

    async def access_policies(self, call: Call) -> list[AccessPolicy]:
        """Return all that are in force, by name. Raises RoleRequired."""
        return await self._read(
            call, Operation.READ_ACCESS_POLICY, lambda book: sorted(book.access.values(), key=lambda p: p.name)
        )

    async def retention_policy(self, call: Call, purpose: str) -> RetentionPolicy:
        """Return the version in force. Raises PolicyNotFound, RoleRequired."""
        return await self._read(
            call, Operation.READ_RETENTION_POLICY, lambda book: book.retention.get(purpose), purpose
        )

    async def retention_policies(self, call: Call) -> list[RetentionPolicy]:
        """Return all that are in force, by purpose. Raises RoleRequired."""
        return await self._read(
            call, Operation.READ_RETENTION_POLICY, lambda book: sorted(book.retention.values(), key=lambda p: p.purpose)
        )

    async def save_access_policy(self, call: Call, wish: AccessPolicy) -> tuple[AccessPolicy, bool]:
        """Put ``wish`` in force as the next version, and return it, and whether the name is new.

        Raises:
            RoleRequired, BuiltInPolicy, ValidationFailed, Unavailable.
        """
        trace = _trace(call, Operation.CHANGE_ACCESS_POLICY, wish.name)

        async def attempt() -> tuple[AccessPolicy, bool] | None:
            require_admin(call)
            if self._rulebooks.is_built_in(wish.name):
                raise BuiltInPolicy(f"{wish.name} is built in: choose another name")
            self._check(wish)
            book, old = await self._current(trace, lambda book: book.access.get(wish.name))
            new = replace(
                wish, version=self._next_version(book, wish.name), created_by=call.principal.app, created_at=trace.at
            )
            saved = await self._change(trace, book, SaveAccessPolicy(new), old, new)
            return (new, old is None) if saved else None

        return await self._auditor.carry_out(trace, attempt)

    async def delete_access_policy(self, call: Call, name: str) -> AccessPolicy:
        """Take the policy out of force, and return what it was; its versions are kept.

        Raises:
            RoleRequired, PolicyNotFound, BuiltInPolicy, PolicyInUse, Unavailable.
        """
        trace = _trace(call, Operation.DELETE_ACCESS_POLICY, name)

        async def attempt() -> AccessPolicy | None:
            require_admin(call)
            if self._rulebooks.is_built_in(name):
                raise BuiltInPolicy
            book, old = await self._current(trace, lambda book: book.access.get(name))
            if old is None or trace.at is None:
                raise PolicyNotFound
            drop = DropAccessPolicy(name, self._next_version(book, name), call.principal.app, trace.at)
            return old if await self._change(trace, book, drop, old, None) else None

        return await self._auditor.carry_out(trace, attempt)

    async def save_retention_policy(self, call: Call, wish: RetentionPolicy) -> tuple[RetentionPolicy, bool]:
        """Put ``wish`` in force as the next version, and return it, and whether the purpose is new.

        Raises:
            RoleRequired, ValidationFailed, Unavailable.
        """
        trace = _trace(call, Operation.CHANGE_RETENTION_POLICY, wish.purpose)

        async def attempt() -> tuple[RetentionPolicy, bool] | None:
            require_admin(call)
            if wish.purge_method not in self._purges.method_names:
                known = ", ".join(self._purges.method_names)
                raise ValidationFailed(errors=[FieldError("purge_method", f"one of {known}")])
            book, old = await self._current(trace, lambda book: book.retention.get(wish.purpose))
            new = replace(
                wish, version=old.version + 1 if old else 1, created_by=call.principal.app, created_at=trace.at
            )
            saved = await self._change(trace, book, SaveRetentionPolicy(new), old, new)
            return (new, old is None) if saved else None

        return await self._auditor.carry_out(trace, attempt)

    @asynccontextmanager
    async def naming(self, call: Call, operation: Operation, subject: str) -> AsyncIterator[None]:
        """Give a refusal inside the block its row, with ``subject``, the policy's name, on it."""
        try:
            yield
        except VaultError as error:
            await self._auditor.refuse(_trace(call, operation, subject), error)
            raise

    def _check(self, policy: AccessPolicy) -> None:
        evaluator = self._decisions.evaluator(policy.evaluator)
        if evaluator is None:
            raise ValidationFailed(errors=[FieldError("evaluator", "an evaluator that a loaded plugin offers")])
        check_with_plugin(evaluator, lambda: evaluator.check(policy))

    def _next_version(self, book: Rulebook, name: str) -> int:
        return book.access_versions.get(name, 0) + 1

    async def _current(self, trace: Trace, pick: Callable[[Rulebook], Picked | None]) -> tuple[Rulebook, Picked | None]:
        snapshot = await self._queue.read()
        trace.see(snapshot)
        book = await self._rulebooks.at(snapshot.revision)
        return book, pick(book)

    async def _read(
        self, call: Call, operation: Operation, pick: Callable[[Rulebook], Picked | None], subject: str | None = None
    ) -> Picked:
        trace = _trace(call, operation, subject)

        async def attempt() -> Picked:
            require_reader(call)
            _, found = await self._current(trace, pick)
            if found is None:
                raise PolicyNotFound
            await self._queue.record(trace.granted())
            return found

        return await self._auditor.carry_out(trace, attempt)

    async def _change(self, trace: Trace, book: Rulebook, change: Change, old: Any, new: Any) -> bool:
        expects: tuple[RevisionIs | PolicyUnused, ...] = (RevisionIs(book.revision),)
        if isinstance(change, DropAccessPolicy):
            expects = (*expects, PolicyUnused(change.name))
        record = trace.granted(
            CREATED if old is None else OK,
            old_value=_as_json(old) if old else None,
            new_value=_as_json(new) if new else None,
        )
        outcome = await self._queue.commit(Write((record,), expects, (change,)))
        if isinstance(outcome, Conflict) and isinstance(outcome.broken, PolicyUnused):
            raise PolicyInUse
        return isinstance(outcome, Committed)


def _trace(call: Call, operation: Operation, subject: str | None) -> Trace:
    return Trace(call, operation, purpose=subject if operation in _OF_RETENTION else None, subject=subject)


def _as_json(policy: AccessPolicy | RetentionPolicy) -> str:
    document = access_policy_document(policy) if isinstance(policy, AccessPolicy) else retention_policy_document(policy)
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True)


def access_policy_document(policy: AccessPolicy) -> dict[str, Any]:
    """Return the policy as JSON types, in the words of the wire."""
    return {
        "name": policy.name,
        "version": policy.version,
        "description": policy.description,
        "evaluator": policy.evaluator,
        "rules": {action.value: rule_document(rule) for action, rule in sorted(policy.rules.items())},
        "parameters": json.loads(policy.parameters),
        "built_in": policy.built_in,
        "created_by": policy.created_by,
        "created_at": format_time(policy.created_at) if policy.created_at else None,
    }


def rule_document(rule: Rule) -> dict[str, Any]:
    """Return the rule as JSON types."""
    return {
        "allowed_apps": None if rule.allowed_apps is None else sorted(rule.allowed_apps),
        "require_identity": rule.require_identity,
        "max_retrievals": rule.max_retrievals,
        "any_purpose": rule.any_purpose,
    }


def retention_policy_document(policy: RetentionPolicy) -> Mapping[str, Any]:
    """Return the policy as JSON types, in the words of the wire."""
    return {
        "purpose": policy.purpose,
        "version": policy.version,
        "max_retention_days": policy.max_retention_days,
        "default_ttl_days": policy.default_ttl_days,
        "purge_method": policy.purge_method,
        "require_purge_proof": True,
        "description": policy.description,
        "justification": policy.justification,
        "legal_basis": policy.legal_basis,
        "data_class": policy.data_class,
        "created_by": policy.created_by,
        "created_at": format_time(policy.created_at) if policy.created_at else None,
    }
