"""The evaluator of rules with office hours."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from pydantic import ValidationError

from vsqlvault.errors import FieldError, ValidationFailed
from vsqlvault.model.access import AccessRequest, Action, Allow, Decision, Deny
from vsqlvault.model.policy import AccessPolicy
from vsqlvault_access_hours.hours import OfficeHours

OUTSIDE = "outside-office-hours"
_MAX_CACHED_DOCUMENTS = 256
_EXPECTED = {
    "timezone": "the name of a time zone, such as Europe/Berlin",
    "days": "one or more of mon, tue, wed, thu, fri, sat and sun, each once",
    "opens": "a time of day as HH:MM",
    "closes": "a time of day as HH:MM, 24:00 for the end of the day, other than opens",
}


class OfficeHoursEvaluator:
    """Decides by the rules of the document, and allows retrieving only during the hours in its parameters."""

    name = "office-hours"

    def built_in_policies(self) -> Iterable[AccessPolicy]:
        """Return none: there are no built-in policies."""
        return ()

    def check(self, policy: AccessPolicy) -> None:
        """Accept parameters that are valid OfficeHours.

        Raises:
            ValidationFailed: with each invalid field (``parameters.opens``), never its content.
        """
        try:
            read_hours(policy.parameters)
        except ValidationError as refused:
            faults = refused.errors(include_url=False, include_context=False, include_input=False)
            raise ValidationFailed(errors=_field_errors([fault["loc"] for fault in faults])) from None

    async def evaluate(self, request: AccessRequest, policy: AccessPolicy) -> Decision:
        """Decide by the rules. A retrieval that they allow is denied outside the hours.

        Raises:
            pydantic.ValidationError: the stored parameters are not OfficeHours, so the vault denies.
        """
        hours = read_hours(policy.parameters)
        decision = policy.decide_by_rules(request)
        if isinstance(decision, Allow) and request.action is Action.RETRIEVE and not hours.include(request.at):
            return Deny(OUTSIDE)
        return decision


@lru_cache(maxsize=_MAX_CACHED_DOCUMENTS)
def read_hours(parameters: str) -> OfficeHours:
    """Parse the hours in a policy's JSON text.

    Raises:
        pydantic.ValidationError: the text is invalid.
    """
    return OfficeHours.model_validate_json(parameters)


def _field_errors(locations: Iterable[tuple[int | str, ...]]) -> list[FieldError]:
    """Return one error per field, in order. An unknown key, which a caller chose, is not repeated."""
    whole = FieldError("parameters", f"an object with {', '.join(_EXPECTED)} and nothing else")
    known = {name: FieldError(f"parameters.{name}", expected) for name, expected in _EXPECTED.items()}
    faults = [known.get(str(location[0]), whole) if location else whole for location in locations]
    return list(dict.fromkeys(faults))
