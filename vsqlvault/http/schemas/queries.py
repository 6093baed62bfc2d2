"""The query strings as pydantic models."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from vsqlvault.errors import InvalidQuery, InvalidTime
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.http.schemas.field_errors import Model, field_errors
from vsqlvault.model.api_key import ApiKeyState
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import EntryState
from vsqlvault.model.purge import PurgeReason
from vsqlvault.model.text import is_readable
from vsqlvault.model.times import EPOCH, parse_time

MAX_LIMIT = 1000
DEFAULT_LIMIT = 100


def _ascii_integer(text: Any) -> Any:
    if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 9:  # noqa: PLR2004
        return int(text)
    raise ValueError("a whole number in digits")


def _tree_size(text: Any) -> Any:
    if isinstance(text, str) and text.isascii() and text.isdecimal() and len(text) <= 18:  # noqa: PLR2004
        return int(text)
    raise ValueError("a number of leaves in digits")


def _query_time(text: Any) -> Any:
    """Parse a time. A time before 1970 is before every stored time, so it is treated as 1970."""
    try:
        return max(parse_time(text), EPOCH)
    except InvalidTime as error:
        raise ValueError(str(error).removeprefix("expected ")) from None


def _query_boolean(text: Any) -> Any:
    if text in {"true", "false"}:
        return text == "true"
    raise ValueError("true or false")


def _operation(text: str) -> str:
    return _one_of(text, [each.value for each in Operation], "an operation of the access log")


def _purge_reason(text: str) -> str:
    return _one_of(text, [each.value for each in PurgeReason], "a reason of the purge log")


def _one_of(text: str, known: list[str], what: str) -> str:
    if text not in known:
        raise ValueError(f"{what}{did_you_mean(text, known)}")
    return text


WholeNumber = Annotated[int, BeforeValidator(_ascii_integer), Field(ge=0, le=999_999_999)]
TreeSize = Annotated[int, BeforeValidator(_tree_size), Field(ge=0, le=10**18 - 1)]
QueryTime = Annotated[datetime, BeforeValidator(_query_time)]
QueryBoolean = Annotated[bool, BeforeValidator(_query_boolean)]
QueryText = Annotated[str, Field(min_length=1, max_length=512)]
Cursor = Annotated[str, Field(min_length=1, max_length=8192)]
Limit = Annotated[WholeNumber, Field(ge=1, le=MAX_LIMIT)]


class Query(BaseModel):
    """A query string without unknown members."""

    model_config = ConfigDict(extra="forbid", defer_build=True)


class NoQuery(Query):
    """A query string without members."""


class ListQuery(Query):
    """The query of GET /vault/{purpose}."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None
    state: EntryState = EntryState.ACTIVE
    key_ref: QueryText | None = None
    owner_app: QueryText | None = None
    access_policy: QueryText | None = None
    expires_before: QueryTime | None = None


class SignInQuery(Query):
    """The query string of the sign-in form: the path to open afterwards."""

    next: QueryText | None = None


class LogQueryBase(Query):
    """The common query members of both logs."""

    limit: Limit | None = None
    cursor: Cursor | None = None
    order: Literal["asc", "desc"] = "desc"
    since: QueryTime | None = None
    until: QueryTime | None = None
    purpose: QueryText | None = None
    external_id: QueryText | None = None
    app: QueryText | None = None
    method: QueryText | None = None
    reason: QueryText | None = None
    request_id: QueryText | None = None

    @field_validator("until")
    @classmethod
    def _not_before_since(cls, until: datetime | None, info: ValidationInfo) -> datetime | None:
        since = info.data.get("since")
        if until is not None and since is not None and until < since:
            raise ValueError("a time that is not before since")
        return until


class AccessLogQuery(LogQueryBase):
    """The query of GET /admin/access-log."""

    operation: Annotated[QueryText, AfterValidator(_operation)] | None = None
    outcome: Literal["granted", "denied"] | None = None
    identity: QueryText | None = None
    credential_id: QueryText | None = None
    client_address: QueryText | None = None
    policy: QueryText | None = None
    status: WholeNumber | None = None


class PurgeLogQuery(LogQueryBase):
    """The query of GET /admin/purge-log. The reasons of the access log are not fixed: policy evaluators have their own."""

    reason: Annotated[QueryText, AfterValidator(_purge_reason)] | None = None
    owner_app: QueryText | None = None
    key_ref: QueryText | None = None
    purge_id: QueryText | None = None


class KeyRefsQuery(Query):
    """The query of GET /admin/key-refs."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None
    purpose: QueryText | None = None
    key_ref: QueryText | None = None


class ApiKeysQuery(Query):
    """The query of GET /admin/api-keys."""

    limit: Limit = DEFAULT_LIMIT
    cursor: Cursor | None = None
    app: QueryText | None = None
    state: ApiKeyState | None = None


class RetentionPolicyQuery(Query):
    """The query of PUT /admin/retention-policies/{purpose}."""

    dry_run: QueryBoolean = False


class SweepQuery(Query):
    """The query of POST /admin/purge/sweep."""

    dry_run: QueryBoolean = False
    confirm_clock: QueryBoolean = False


class ConsistencyQuery(Query):
    """The query of GET /audit/consistency: two sizes of the tree."""

    first: TreeSize = Field(alias="from")
    second: TreeSize = Field(alias="to")


class ReportQuery(Query):
    """The query of GET /compliance/report."""

    as_of: QueryTime | None = None
    since: QueryTime | None = None
    until: QueryTime | None = None
    format: Literal["json", "html", "oscal"] | None = None


class EvidenceQuery(Query):
    """The query of GET /compliance/evidence."""

    as_of: QueryTime | None = None
    since: QueryTime | None = None
    until: QueryTime | None = None


def read_query(model: type[Model], members: dict[str, str]) -> Model:
    """Return the model of a query string.

    Raises:
        InvalidQuery: with the members and what was expected, never the value.
    """
    for name, text in members.items():
        check_query_text(name, text)
    try:
        return model.model_validate(members)
    except ValidationError as refused:
        raise InvalidQuery(errors=field_errors(model, refused)) from None


def check_query_text(name: str, text: str) -> None:
    """Raise InvalidQuery for a member with a character that ``is_readable`` refuses."""
    if not (is_readable(name) and is_readable(text)):
        raise InvalidQuery("expected text without invisible or control characters")
