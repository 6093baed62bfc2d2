"""The ``parameters`` of a policy document."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vsqlvault.errors import FieldError, ValidationFailed
from vsqlvault_access_cedar.policy_text import MAX_TEXT

MAX_MEMBERS = 64
_HOST_DEPENDENT = frozenset({"localtime"})
_EXPECTED = {
    "policies": f"Cedar policies: a string, or a list of lines, of at most {MAX_TEXT} characters",
    "metadata": f"at most {MAX_MEMBERS} names, each with String, Long, Bool, Set<String> or Set<Long>",
    "timezone": "the name of a time zone, such as Europe/Berlin",
}

MemberName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$")]
MemberType = Literal["String", "Long", "Bool", "Set<String>", "Set<Long>"]


class Parameters(BaseModel):
    """The policies, the metadata members that they use, and the time zone of ``context.local``."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    policies: str | list[str]
    metadata: dict[MemberName, MemberType] = Field(default_factory=dict, max_length=MAX_MEMBERS)
    timezone: str = "UTC"

    @property
    def text(self) -> str:
        """The policies as one text."""
        return self.policies if isinstance(self.policies, str) else "\n".join(self.policies)

    @field_validator("timezone")
    @classmethod
    def _known(cls, value: str) -> str:
        if value not in _time_zones():
            raise ValueError("unknown time zone")
        return value


def read_parameters(parameters: str) -> Parameters:
    """Parse a policy's JSON text.

    Raises:
        ValidationFailed: with each invalid field, never its content.
    """
    try:
        return Parameters.model_validate_json(parameters)
    except ValidationError as refused:
        faults = refused.errors(include_url=False, include_context=False, include_input=False)
        raise ValidationFailed(errors=_field_errors([fault["loc"] for fault in faults])) from None


def _field_errors(locations: Iterable[tuple[int | str, ...]]) -> list[FieldError]:
    """Return one error per field, in order. An unknown key, which a caller chose, is not repeated."""
    whole = FieldError("parameters", f"an object with policies and optionally {', '.join(list(_EXPECTED)[1:])}")
    known = {name: FieldError(f"parameters.{name}", expected) for name, expected in _EXPECTED.items()}
    faults = [known.get(str(location[0]), whole) if location else whole for location in locations]
    return list(dict.fromkeys(faults))


@cache
def _time_zones() -> frozenset[str]:
    return frozenset(available_timezones()) - _HOST_DEPENDENT
