"""From a question to an answer: which policy decides, and what becomes of an evaluator that does not."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass

from vsqlvault.errors import FieldError, PluginFailed, ValidationFailed, VaultError
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.access import AccessRequest, Action, Allow, Decision, Deny
from vsqlvault.model.policy import DEFAULT_POLICY, AccessPolicy
from vsqlvault.service.plugin_calls import Pending, begin_call, call_plain, finish_call

log = logging.getLogger(__name__)
_DECISIONS = (Allow, Deny)
_REASON = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


@dataclass(frozen=True, slots=True)
class AuthorizationResult:
    """A decision and the policy it came from; ``failed`` where its evaluator gave none."""

    decision: Decision
    policy: str | None = None
    version: int | None = None
    failed: bool = False

    @property
    def reason(self) -> str | None:
        """Why not, where not: the evaluator's word, if it is one."""
        if not isinstance(self.decision, Deny):
            return None
        reason = self.decision.reason
        return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else "denied"


class Decisions:
    """Asks the evaluator that a policy names."""

    def __init__(self, evaluators: Mapping[str, PolicyEvaluator], timeout_seconds: float) -> None:
        self._evaluators = dict(evaluators)
        self._timeout_seconds = timeout_seconds

    def check(self, policy: AccessPolicy) -> None:
        """Have the evaluator that the policy names look at it.

        Raises:
            ValidationFailed: there is no such evaluator, or it refuses the policy. PluginFailed: it fails.
        """
        evaluator = self._evaluators.get(policy.evaluator)
        if evaluator is None:
            raise ValidationFailed(errors=[FieldError("evaluator", "an evaluator that a loaded plugin offers")])
        call_plain(evaluator, lambda: evaluator.check(policy), passes=(VaultError,))

    async def decide(self, request: AccessRequest, policy_name: str, book: PolicySnapshot) -> AuthorizationResult:
        """Answer by the named policy; by ``owner-only`` where it is not defined. Whatever goes wrong denies.

        Admins and auditors may always inspect: no evaluator is asked, so that none can keep an entry out of their sight.
        """
        policy = book.access.get(policy_name) or book.access.get(DEFAULT_POLICY)
        if policy is None:
            return AuthorizationResult(Deny("no-policy"))
        if request.action is Action.INSPECT and request.principal.may_inspect_all:
            return AuthorizationResult(Allow(), policy.name, policy.version)
        evaluator = self._evaluators.get(policy.evaluator)
        if evaluator is None:
            log.error("no plugin offers the evaluator", extra={"policy": policy.name, "evaluator": policy.evaluator})
            return AuthorizationResult(Deny(PluginFailed.reason), policy.name, policy.version, failed=True)
        try:
            given = begin_call(
                evaluator, lambda: evaluator.evaluate(request, policy), _DECISIONS, self._timeout_seconds
            )
            if type(given) is Pending:
                given = await finish_call(evaluator, given, _DECISIONS, self._timeout_seconds)
        except PluginFailed:
            return AuthorizationResult(Deny(PluginFailed.reason), policy.name, policy.version, failed=True)
        decision: Decision = given
        if not _is_sound(decision):
            log.error("policy evaluator gave an unusable decision", extra={"policy": policy.name})
            return AuthorizationResult(Deny(PluginFailed.reason), policy.name, policy.version, failed=True)
        return AuthorizationResult(decision, policy.name, policy.version)


def _is_sound(decision: Decision) -> bool:
    """Whether what the decision grants can be kept: a plugin can put anything into it."""
    limit = decision.max_retrievals if isinstance(decision, Allow) else None
    return limit is None or (type(limit) is int and limit >= 0)
