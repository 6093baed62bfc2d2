"""Cedar decides, and whatever is not a clear yes is a no."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import cedarpy

from vsqlvault.errors import FieldError, ValidationFailed
from vsqlvault.model.access import AccessRequest, Action, Allow, Decision, Deny
from vsqlvault.model.policy import AccessPolicy
from vsqlvault_access_cedar.compiled import Compiled, compile_parameters, policy_number
from vsqlvault_access_cedar.question import MetadataMismatch, entities_of, request_of

log = logging.getLogger(__name__)

PURPOSE_NOT_HELD = "purpose-not-held"
METADATA_MISMATCH = "metadata-mismatch"
POLICY_ERROR = "policy-error"
NO_PERMIT = "no-permit"
FORBIDDEN = "forbidden"
USED_UP = "max-retrievals-reached"


class CedarEvaluator:
    """Decides by the Cedar policies that a document holds in its parameters, and by nothing else of it."""

    name = "cedar"

    def built_in_policies(self) -> Iterable[AccessPolicy]:
        """Return none: policies are each site's own."""
        return ()

    def check(self, policy: AccessPolicy) -> None:
        """Accept policies that parse and fit the schema, in a document without rules.

        Raises:
            ValidationFailed: naming each field at fault, and in the policies line and column, never what stands there.
        """
        if policy.rules:
            raise ValidationFailed(errors=[FieldError("rules", "none: the Cedar policies say it all")])
        compile_parameters(policy.parameters)

    def evaluate(self, request: AccessRequest, policy: AccessPolicy) -> Decision:
        """Answer by the policies; an app that does not hold the purpose is denied before they are asked.

        Cedar leaves out a policy whose evaluation fails, a ``forbid`` too. Here such a failure denies.

        Raises:
            ValidationFailed: the stored parameters cannot be read, so the vault denies.
        """
        if not request.principal.has_purpose(request.key.purpose):
            return Deny(PURPOSE_NOT_HELD)
        compiled = compile_parameters(policy.parameters)
        try:
            entities = entities_of(request, compiled.metadata)
        except MetadataMismatch:
            return Deny(METADATA_MISMATCH)
        asked = request_of(request, compiled.timezone)
        answer = cedarpy.is_authorized(asked, compiled.policies, entities, compiled.schema)
        if answer.diagnostics.errors or answer.decision is cedarpy.Decision.NoDecision:
            log.warning("cedar policy failed", extra={"policy": policy.name, "policy_version": policy.version})
            return Deny(POLICY_ERROR)
        determining = sorted(answer.diagnostics.reasons, key=policy_number)
        if answer.decision is not cedarpy.Decision.Allow:
            return Deny(_reason(compiled, determining))
        return _allowed(request, compiled, determining)


def _reason(compiled: Compiled, forbidding: Sequence[str]) -> str:
    """Return the ``@id`` of the first policy that forbids."""
    if not forbidding:
        return NO_PERMIT
    ids = [compiled.named(policy).id for policy in forbidding]
    return next((known for known in ids if known), FORBIDDEN)


def _allowed(request: AccessRequest, compiled: Compiled, permitting: Sequence[str]) -> Decision:
    """Return how much is allowed: the most that any of the permits gives, for a permit never takes away."""
    if request.action is not Action.RETRIEVE:
        return Allow()
    limits = [compiled.named(policy).max_retrievals for policy in permitting]
    limit = None if None in limits else max(limit for limit in limits if limit)
    if limit is not None and request.entry and request.entry.retrievals >= limit:
        return Deny(USED_UP)
    return Allow(limit)
