"""The evaluator of Cedar policies. Everything but a clear permit denies."""

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
    """Decides by the Cedar policies in a document's parameters alone."""

    name = "cedar"

    def built_in_policies(self) -> Iterable[AccessPolicy]:
        """Return none: there are no built-in policies."""
        return ()

    def check(self, policy: AccessPolicy) -> None:
        """Accept a document without rules whose policies parse and match the schema.

        Raises:
            ValidationFailed: with each invalid field, and for policies line and column, never their content.
        """
        if policy.rules:
            raise ValidationFailed(errors=[FieldError("rules", "none, because the Cedar policies decide everything")])
        compile_parameters(policy.parameters)

    def evaluate(self, request: AccessRequest, policy: AccessPolicy) -> Decision:
        """Decide by the policies. An app without the purpose is denied before they are evaluated.

        Cedar ignores a policy whose evaluation fails, even a ``forbid``. Here such a failure denies.

        Raises:
            ValidationFailed: the stored parameters cannot be parsed, so the vault denies.
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
    """Return the limit: the highest of the permits that apply, because a permit never restricts."""
    if request.action is not Action.RETRIEVE:
        return Allow()
    limits = [compiled.named(policy).max_retrievals for policy in permitting]
    limit = None if None in limits else max(limit for limit in limits if limit)
    if limit is not None and request.entry and request.entry.retrievals >= limit:
        return Deny(USED_UP)
    return Allow(limit)
