"""Legal holds: admins place, change and release them, admins and auditors read them."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from datetime import datetime

from vsqlvault.errors import HoldNotFound
from vsqlvault.errors.suggestions import undefined
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.interfaces.writes import Committed, SaveLegalHold
from vsqlvault.model.audit import Operation
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.roles import require_admin
from vsqlvault.service.rules.preconditions import ANY_STATE, VersionPreconditions
from vsqlvault.service.rules.rule_changes import Rules, RuleView


@dataclass(frozen=True, slots=True)
class SavedHold:
    """A hold that was placed or changed, whether its name is new or was released, and warnings for the caller."""

    hold: LegalHold
    is_new: bool
    warnings: tuple[str, ...] = ()


class LegalHolds:
    """Operations on legal holds. Each change is a new version with its audit row; none is ever deleted.

    A hold applies from the commit that places it: every commit that destroys an entry expects the policy revision to be
    unchanged since its read (``vsqlvault.service.purge.purger``).
    """

    def __init__(self, *, queue: CommitQueue, policy_cache: PolicyCache, auditor: Auditor) -> None:
        self._auditor = auditor
        self._rules = Rules(queue, policy_cache, auditor)

    async def hold(self, call: Call, name: str) -> LegalHold:
        """Return the newest version, released or not. Raises HoldNotFound, RoleRequired."""
        return (await self.view(call, name, ANY_STATE)).rule

    async def view(self, call: Call, name: str, preconditions: VersionPreconditions) -> RuleView[LegalHold]:
        """Return the newest version, released or not. Raises HoldNotFound, RoleRequired, PreconditionFailed."""
        trace = AuditContext(call, Operation.READ_LEGAL_HOLD, subject=name)
        return await self._rules.read_version(
            trace, lambda policies: policies.holds.get(name), HoldNotFound, preconditions
        )

    async def holds(self, call: Call, *, released: bool = False) -> list[LegalHold]:
        """Return the holds in force, or those released, by name. Raises RoleRequired."""

        def pick(policies: PolicySnapshot) -> list[LegalHold]:
            found = (hold for hold in policies.holds.values() if hold.is_released is released)
            return sorted(found, key=lambda hold: hold.name)

        return await self._rules.read(AuditContext(call, Operation.READ_LEGAL_HOLD), pick, HoldNotFound)

    async def save(
        self,
        call: Call,
        wanted: LegalHold,
        preconditions: VersionPreconditions = ANY_STATE,
        *,
        held_since: datetime | None = None,
        why: str | None = None,
    ) -> SavedHold:
        """Save ``wanted`` as the next version, and return it, with a warning if its purpose has no retention policy.

        ``held_since``: when a hold that is not in force was placed; default: now. ``why``: a further member in the row.

        Raises:
            RoleRequired, PreconditionFailed, Unavailable.
        """
        trace = AuditContext(call, Operation.CHANGE_LEGAL_HOLD, subject=wanted.name)

        async def attempt() -> SavedHold | None:
            require_admin(call)
            policies = await self._rules.current(trace)
            newest, old = policies.holds.get(wanted.name), _in_force(policies, wanted.name)
            preconditions.check(old.version if old else None)
            new = replace(
                wanted,
                version=newest.version + 1 if newest else 1,
                held_since=old.held_since if old else held_since or trace.at,
                created_by=call.principal.app,
                created_at=trace.at,
            )
            outcome = await self._rules.change(trace, policies, SaveLegalHold(new), old, new, why=why)
            saved = SavedHold(new, old is None, _undefined_purpose(new, policies))
            return saved if isinstance(outcome, Committed) else None

        return await self._auditor.run_audited(trace, attempt)

    async def release(self, call: Call, name: str, preconditions: VersionPreconditions = ANY_STATE) -> LegalHold:
        """Release the hold, and return its last version; the purges that it stopped happen in the next sweep.

        Raises:
            RoleRequired, HoldNotFound (also if it is already released), PreconditionFailed, Unavailable.
        """
        trace = AuditContext(call, Operation.RELEASE_LEGAL_HOLD, subject=name)

        async def attempt() -> LegalHold | None:
            require_admin(call)
            policies = await self._rules.current(trace)
            old = _in_force(policies, name)
            preconditions.check(old.version if old else None)
            if old is None:
                raise HoldNotFound
            new = replace(old, version=old.version + 1, released_by=call.principal.app, released_at=trace.at)
            outcome = await self._rules.change(trace, policies, SaveLegalHold(new), old, new)
            return new if isinstance(outcome, Committed) else None

        return await self._auditor.run_audited(trace, attempt)

    def naming(self, call: Call, operation: Operation, name: str) -> AbstractAsyncContextManager[None]:
        """Audit a refusal raised inside the block, with the hold's name."""
        return self._rules.naming(AuditContext(call, operation, subject=name))


def _undefined_purpose(hold: LegalHold, policies: PolicySnapshot) -> tuple[str, ...]:
    purpose = hold.selector.purpose
    return undefined("purpose", [purpose] if purpose else [], policies.retention, "the hold keeps no entry")


def _in_force(policies: PolicySnapshot, name: str) -> LegalHold | None:
    hold = policies.holds.get(name)
    return None if hold is None or hold.is_released else hold
