"""The definition of a route, from which adapters, OpenAPI and metrics are derived."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import field, replace
from typing import Any

from pydantic import BaseModel

from vsqlvault.errors import (
    ContentEncodingRefused,
    InvalidPath,
    PayloadTooLarge,
    UnsupportedMediaType,
    ValidationFailed,
    VaultError,
)
from vsqlvault.http.cursors import Cursors
from vsqlvault.http.json_body import parse_json
from vsqlvault.http.media_types import JSON, is_one_of
from vsqlvault.http.messages import Reply, Request
from vsqlvault.http.schemas.bodies import NoBody, read_body
from vsqlvault.http.schemas.field_errors import Model
from vsqlvault.http.schemas.queries import NoQuery, read_query
from vsqlvault.http.sessions import Session, Sessions
from vsqlvault.model.api_key import PATH_KEY_ID
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.entry import EXTERNAL_ID, PURPOSE, EntryKey
from vsqlvault.model.policy import POLICY_NAME
from vsqlvault.model.principal import Call
from vsqlvault.proof.tiles import PATH as TILE_PATH
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.vault import Vault

PARAMETERS: Mapping[str, re.Pattern[str]] = {
    "purpose": PURPOSE,
    "external_id": EXTERNAL_ID,
    "name": POLICY_NAME,
    "version": re.compile(r"[1-9][0-9]{0,17}", re.ASCII),
    "number": re.compile(r"[1-9][0-9]{0,17}", re.ASCII),
    "key_id": PATH_KEY_ID,
    "level": re.compile(r"[0-9]|[1-5][0-9]|6[0-3]", re.ASCII),
    "tile": TILE_PATH,
    "index": re.compile(r"0|[1-9][0-9]{0,17}", re.ASCII),
    "purge_id": re.compile(r"[0-9a-f]{32}"),
}
NO_BODY = "this request has no body; its parameters are in the query, such as ?dry_run=true"
ENTRIES = "vault"
"""The tag of operations on entries."""

SEVERAL_SEGMENTS = frozenset({"tile"})
"""Parameters that match the rest of a path, including slashes."""


@dataclass(frozen=True, slots=True)
class Limits:
    """Size limits in bytes."""

    max_body_bytes: int
    max_value_bytes: int


@dataclass(frozen=True, slots=True)
class Browser:
    """What the pages for signing in need.

    ``recognise`` returns the call of a request with the given headers as its credential; ``old_session`` returns the
    session that the request has, if it is valid. ``key_header`` is the header of API keys.
    """

    sessions: Sessions
    key_header: str
    start_path: str
    client_address: str | None
    recognise: Callable[[Mapping[str, str]], Awaitable[Call]]
    old_session: Callable[[], Awaitable[Session | None]]


@dataclass(frozen=True, slots=True)
class RequestContext:
    """One request and what its operation needs.

    ``session`` is the browser session that authenticated it, and ``form`` are the fields that it sent.
    """

    request: Request
    call: Call
    vault: Vault
    cursors: Cursors
    limits: Limits
    session: Session | None = None
    form: Mapping[str, str] = field(default_factory=dict)
    pages: Browser | None = None

    @property
    def browser(self) -> Browser:
        """What the pages for signing in need."""
        if self.pages is None:
            raise RuntimeError("only pages have it")
        return self.pages

    @property
    def csrf_token(self) -> str | None:
        """The token of the forms of this session, or None if a credential header authenticated the request."""
        return None if self.session is None else self.browser.sessions.token(self.session.session_id)

    @property
    def key(self) -> EntryKey:
        """The key of the entry that the path names."""
        return EntryKey(self.request.params["purpose"], self.request.params["external_id"])

    async def body(self, model: type[Model], media_types: Sequence[str] = (JSON,)) -> Model:
        """Return the request's body.

        Raises:
            UnsupportedMediaType, ContentEncodingRefused, PayloadTooLarge, InvalidJson, ValidationFailed, ClientAborted.
        """
        request = self.request
        if not is_one_of(request.header("content-type") or "", media_types):
            raise UnsupportedMediaType(f"one of {', '.join(media_types)}" if len(media_types) > 1 else None)
        if request.header("content-encoding") is not None:
            raise ContentEncodingRefused
        length = request.header("content-length")
        limit = self.limits.max_body_bytes
        if length is not None and length.isdecimal() and int(length[:20]) > limit:
            raise PayloadTooLarge(f"a body has at most {limit} bytes")
        return read_body(model, parse_json(await request.read_body(limit)), request.params)

    async def no_body(self) -> None:
        """Refuse a body with members, which would be ignored. An empty body and ``{}`` are accepted.

        Raises:
            PayloadTooLarge, InvalidJson, ValidationFailed, ClientAborted.
        """
        content = await self.request.read_body(self.limits.max_body_bytes)
        if content:
            try:
                read_body(NoBody, parse_json(content))
            except ValidationFailed as refused:
                raise ValidationFailed(NO_BODY, errors=refused.errors) from None

    def query(self, model: type[Model]) -> Model:
        """Return the query string. Raises InvalidQuery."""
        return read_query(model, self.request.query())


Handler = Callable[[RequestContext], Awaitable[Reply]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method on one route: its input, its responses and how it is audited.

    ``path`` is in the form of OpenAPI (``/vault/{purpose}``). ``problems`` are errors beyond those of every route.
    ``result`` is the JSON body of a success; ``example`` is one body in another media type.
    ``in_browser``: a browser session authenticates it too. ``is_page``: it is a page for browsers only, and no part of the
    API description.
    ``audited`` is None for routes that access no data and have no audit row; the settings define which are open.
    """

    method: str
    path: str
    name: str
    summary: str
    handler: Handler
    audited: Audited | None = None
    body: type[BaseModel] | None = None
    body_types: tuple[str, ...] = (JSON,)
    query: type[BaseModel] = NoQuery
    result: type[BaseModel] | None = None
    answers: Mapping[int, str] = field(default_factory=lambda: {200: "Done."})
    problems: tuple[type[VaultError], ...] = ()
    media_types: tuple[str, ...] = ("application/json",)
    headers: Mapping[str, str] = field(default_factory=dict)
    takes_headers: Mapping[str, str] = field(default_factory=dict)
    example: str = ""
    description: str = ""
    tag: str = ENTRIES
    in_browser: bool = False
    is_page: bool = False


def also_head(operation: Operation) -> tuple[Operation, Operation]:
    """Return the operation, and one that answers HEAD on the same route without a body."""
    head = replace(
        operation, method="HEAD", name=f"{operation.name}_head", summary=f"{operation.summary}, without a body"
    )
    return operation, head


def check_params(params: Mapping[str, Any]) -> None:
    """Raise InvalidPath unless each path parameter matches its grammar."""
    for name, value in params.items():
        if not PARAMETERS[name].fullmatch(value):
            raise InvalidPath(f"{name}: expected {PARAMETERS[name].pattern}")
