"""Decides by the day of the week."""

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.model.access import AccessRequest, Allow, Decision, Deny
from vsqlvault.model.policy import AccessPolicy

SATURDAY = 5


class ExampleEvaluator(PolicyEvaluator):
    """Allows holders of the purpose from Monday to Friday (UTC)."""

    name = "example"

    def built_in_policies(self) -> list[AccessPolicy]:
        """Return no policy: operators name the evaluator in theirs."""
        return []

    def check(self, policy: AccessPolicy) -> None:
        """Accept every policy document."""

    def evaluate(self, request: AccessRequest, policy: AccessPolicy) -> Decision:
        """Allow or deny by the storage's clock."""
        if not request.principal.has_purpose(request.key.purpose):
            return Deny("purpose-not-held")
        return Allow() if request.at.weekday() < SATURDAY else Deny("weekend")


@hookimpl
def vault_access_policies() -> list[PolicyEvaluator]:
    """Offer the evaluator."""
    return [ExampleEvaluator()]
