"""The bodies and query strings of the routes under ``/admin`` that are about legal holds and the history of rules."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from vsqlvault.http.wire import (
    DEFAULT_LIMIT,
    App,
    Body,
    ExternalId,
    Limit,
    Prose,
    Purpose,
    Query,
    WholeNumber,
    metadata_text,
)
from vsqlvault.model.hold import HoldSelector, LegalHold


class SelectorBody(Body):
    """Which entries a hold keeps: those that fit all that is given."""

    purpose: Purpose | None = None
    external_id: ExternalId | None = None
    owner_app: App | None = None
    metadata: dict[str, Any] | None = Field(
        default=None, min_length=1, description="Members that an entry's metadata has, each with exactly this value."
    )

    @model_validator(mode="after")
    def _something(self) -> SelectorBody:
        if all(given is None for given in (self.purpose, self.external_id, self.owner_app, self.metadata)):
            raise ValueError("at least one of purpose, external_id, owner_app, metadata")
        return self

    def selector(self) -> HoldSelector:
        """Return the selector. Raises MetadataTooLarge."""
        metadata = None if self.metadata is None else metadata_text(self.metadata)
        return HoldSelector(self.purpose, self.external_id, self.owner_app, metadata)


class LegalHoldBody(Body):
    """What PUT /admin/legal-holds/{name} takes."""

    case_reference: Annotated[str, Field(min_length=1, max_length=256)]
    reason: Annotated[Prose, Field(min_length=1)]
    selector: SelectorBody

    @field_validator("case_reference", "reason")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("a text")
        return text

    def hold(self, name: str) -> LegalHold:
        """Return the hold that is wished for; version, author and times are the vault's to give."""
        return LegalHold(name, 0, self.case_reference, self.reason, self.selector.selector())


class HoldsQuery(Query):
    """What GET /admin/legal-holds takes."""

    state: Literal["active", "released"] = "active"


Version = Annotated[WholeNumber, Field(ge=1)]


class VersionsQuery(Query):
    """What the routes that list versions take."""

    limit: Limit = DEFAULT_LIMIT
    before: Version | None = None


class DiffQuery(Query):
    """What the routes that compare two versions take."""

    from_version: Version | None = Field(default=None, alias="from")
