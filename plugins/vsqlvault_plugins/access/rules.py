"""The evaluator of rules, and the four built-in policies."""

from __future__ import annotations

from collections.abc import Iterable

from vsqlvault.config import Settings
from vsqlvault.errors import FieldError, ValidationFailed
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.model.access import AccessRequest, Action, Decision
from vsqlvault.model.policy import ADMIN, OWNER, AccessPolicy, Rule
from vsqlvault.model.sandbox import ProcessNeeds

_ANYONE = Rule()
_OWNER = Rule(allowed_apps=frozenset({OWNER}))
_OWNER_OR_ADMIN = Rule(allowed_apps=frozenset({OWNER, ADMIN}))
_ADMIN = Rule(allowed_apps=frozenset({ADMIN}))

_BUILT_IN = {
    "owner-only": (
        "Only the app that stored an entry may retrieve it.",
        {Action.STORE: _ANYONE, Action.RETRIEVE: _OWNER, Action.PURGE: _OWNER_OR_ADMIN},
    ),
    "same-purpose": (
        "Any app with the purpose may retrieve.",
        {Action.STORE: _ANYONE, Action.RETRIEVE: _ANYONE, Action.PURGE: _OWNER_OR_ADMIN},
    ),
    "open-retrieve": (
        "Any authenticated app may retrieve.",
        {Action.STORE: _ANYONE, Action.RETRIEVE: Rule(any_purpose=True), Action.PURGE: _OWNER_OR_ADMIN},
    ),
    "admin-only": (
        "Admin apps only.",
        {Action.STORE: _ADMIN, Action.RETRIEVE: _ADMIN, Action.PURGE: _ADMIN},
    ),
}


class RulesEvaluator:
    """Decides by the rules of the document alone."""

    name = "rules"

    def built_in_policies(self) -> Iterable[AccessPolicy]:
        """Return the four built-in policies."""
        for name, (description, rules) in _BUILT_IN.items():
            yield AccessPolicy(name, 1, self.name, rules, description=description, built_in=True)

    def check(self, policy: AccessPolicy) -> None:
        """Reject parameters, which this evaluator does not support."""
        if policy.parameters != "{}":
            raise ValidationFailed(errors=[FieldError("parameters", "nothing: the evaluator rules has no parameters")])

    def evaluate(self, request: AccessRequest, policy: AccessPolicy) -> Decision:
        """Decide by the rule of the action."""
        return policy.decide_by_rules(request)


@hookimpl
def vault_process_needs() -> list[ProcessNeeds]:
    """Declare that the plugin needs no files or ports."""
    return []


@hookimpl
def vault_access_policies(settings: Settings) -> list[PolicyEvaluator]:  # noqa: ARG001 - the hook's signature
    """Return the evaluator ``rules``."""
    return [RulesEvaluator()]
