"""Bodies and query strings of the routes under ``/admin`` for legal holds and the history of rules."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, field_validator, model_validator

from vsqlvault.errors.wording import worded
from vsqlvault.http.schemas.bodies import (
    HELD_PURPOSE,
    Body,
    ExternalId,
    PolicyName,
    Prose,
    Purpose,
    body_time,
)
from vsqlvault.http.schemas.metadata import metadata_text
from vsqlvault.http.schemas.queries import DEFAULT_LIMIT, Cursor, Limit, Query, QueryTime, WholeNumber
from vsqlvault.model.access import Action
from vsqlvault.model.entry import EntryKey, EntryState
from vsqlvault.model.hold import HoldSelector, LegalHold
from vsqlvault.model.policy import DEFAULT_POLICY
from vsqlvault.model.principal import Principal, Role
from vsqlvault.service.access.explain import Question
from vsqlvault.service.access.replay import Window

DEFAULT_REPLAY = 10_000
UPDATE = "update"
MAX_REPLAY = 100_000
AnyApp = Annotated[
    str, Field(min_length=1, max_length=256, pattern=worded("^[^@]", "an app, whose name does not begin with @"))
]
"""The app names that an authenticator may return."""


_NOT_GIVEN: Any = None
"""Stands for a member that is left out. Null in a body is refused, as the types say."""


class SelectorBody(Body):
    """The entries under a hold: those that match all given members."""

    model_config = ConfigDict(json_schema_extra={"minProperties": 1})

    purpose: Purpose = _NOT_GIVEN
    external_id: ExternalId = _NOT_GIVEN
    owner_app: AnyApp = _NOT_GIVEN
    metadata: dict[str, Any] = Field(
        default=_NOT_GIVEN,
        min_length=1,
        description="Members that an entry's metadata must have, each with exactly this value.",
    )

    @model_validator(mode="after")
    def _something(self) -> SelectorBody:
        if not self.model_fields_set:
            raise ValueError("at least one of purpose, external_id, owner_app, metadata")
        return self

    def selector(self) -> HoldSelector:
        """Return the selector. Raises MetadataTooLarge."""
        metadata = metadata_text(self.metadata) if "metadata" in self.model_fields_set else None
        return HoldSelector(self.purpose, self.external_id, self.owner_app, metadata)


class LegalHoldBody(Body):
    """The body of PUT /admin/legal-holds/{name}."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "case_reference": "2027-17",
                    "reason": "Pending claim",
                    "selector": {"purpose": "card", "owner_app": "payments"},
                }
            ]
        }
    )

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
        """Return the requested hold. The vault sets version, author and times."""
        return LegalHold(name, 0, self.case_reference, self.reason, self.selector.selector())


class AccessReviewBody(Body):
    """The body of POST /admin/access-reviews."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"purpose": "card", "statement": "All grants are needed; the batch app was removed."}]
        }
    )

    statement: Annotated[Prose, Field(min_length=1)] = Field(
        description="What the reviewer found, and what was done about access that is not needed."
    )
    purpose: Purpose | None = Field(
        None, description="The purpose whose access was reviewed. Default: all purposes, and the accounts with a role."
    )
    interval_days: Annotated[int, Field(ge=1, le=366)] | None = Field(
        None, description="Days until the next review is due. Default: `compliance.access_review_interval_days`."
    )
    may_sha256: Annotated[str, Field(pattern=worded("^[0-9a-f]{64}$", "64 hex digits in lower case"))] | None = Field(
        None,
        description=(
            "The digest of the list that was reviewed, from the section `access_review` of the report. If it is another list "
            "now, the response is 422. Default: not compared."
        ),
    )

    @field_validator("statement")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("a text")
        return text


class AcknowledgementBody(Body):
    """The body of POST /admin/controls/{name}/acknowledgements."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "failed_at": "2027-02-16T04:00:12Z",
                    "cause": "The disk was full",
                    "remedy": "Twice the space, and an alert at 80 percent",
                }
            ]
        }
    )

    failed_at: str = Field(
        description="When the control began to fail: RFC 3339 with offset.", json_schema_extra={"format": "date-time"}
    )
    cause: Annotated[Prose, Field(min_length=1)]
    remedy: Annotated[Prose, Field(min_length=1)]

    @field_validator("cause", "remedy")
    @classmethod
    def _says_something(cls, text: str) -> str:
        if not text.strip():
            raise ValueError("a text")
        return text

    def failure_time(self) -> datetime:
        """Return the start of the failure. Raises InvalidTime."""
        return body_time("failed_at", self.failed_at)


class HoldsQuery(Query):
    """The query of GET /admin/legal-holds."""

    state: Literal["active", "released"] = "active"

    @property
    def released(self) -> bool:
        """Whether released holds are requested."""
        return self.state == "released"


class HeldEntriesQuery(Query):
    """The query of GET /admin/legal-holds/{name}/entries."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None
    state: Literal["active", "expired"] | None = None

    @property
    def wanted(self) -> EntryState | None:
        """The requested state, or None for both."""
        return EntryState(self.state) if self.state else None


HeldPurpose = Annotated[str, Field(pattern=worded(HELD_PURPOSE, "* for all, or a purpose"))]


class ExplainBody(Body):
    """The body of POST /admin/access-policies/explain: a principal, an operation and an entry."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "app": "billing",
                    "purposes": ["card"],
                    "operation": "retrieve",
                    "purpose": "card",
                    "external_id": "tok_1",
                }
            ]
        }
    )

    app: AnyApp
    identity: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    purposes: list[HeldPurpose] = Field(
        default=[], max_length=1000, description="The purposes of the app; `*` for all."
    )
    roles: list[Literal["admin", "auditor"]] = Field(default=[], max_length=2)
    operation: Literal["store", "update", "retrieve", "inspect", "purge"] = Field(
        description="`store`: PUT. `update`: PATCH. `retrieve`: GET. `inspect`: HEAD, and being in a list. `purge`: DELETE."
    )
    purpose: Purpose
    external_id: ExternalId
    access_policy: PolicyName = Field(
        default=DEFAULT_POLICY, description="For `store`: the access policy that the entry would name."
    )

    def question(self) -> Question:
        """Return the request to explain. The principal has no credential, so nobody can act as it."""
        principal = Principal(
            app=self.app,
            method="explain",
            credential_id="none",
            identity=self.identity,
            purposes=None if "*" in self.purposes else frozenset(self.purposes),
            roles=frozenset(Role(role) for role in self.roles),
        )
        updates = self.operation == UPDATE
        action = Action.STORE if updates else Action(self.operation)
        return Question(principal, action, EntryKey(self.purpose, self.external_id), self.access_policy, updates)


Version = Annotated[WholeNumber, Field(ge=1)]


class VersionsQuery(Query):
    """The query of the routes that list versions."""

    limit: Limit = DEFAULT_LIMIT
    before: Version | None = None


class DiffQuery(Query):
    """The query of the routes that compare two versions."""

    from_version: Version | None = Field(default=None, alias="from")


class ReplayQuery(Query):
    """The query of POST /admin/access-policies/{name}/replay."""

    since: QueryTime
    until: QueryTime | None = None
    limit: Annotated[WholeNumber, Field(ge=1, le=MAX_REPLAY)] = DEFAULT_REPLAY

    def window(self) -> Window:
        """Return the rows to decide again."""
        return Window(self.since, self.until, self.limit)
