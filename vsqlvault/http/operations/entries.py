"""``/vault``: storing, retrieving, inspecting, purging and listing entries."""

from __future__ import annotations

import re

from vsqlvault.errors import (
    AccessDenied,
    ContentEncodingRefused,
    EntryExpired,
    EntryHeld,
    EntryNotFound,
    EntryPurged,
    IdRetired,
    InvalidJson,
    InvalidQuery,
    KeyRefWithoutValue,
    NoRetentionPolicy,
    PayloadTooLarge,
    PreconditionFailed,
    RetentionExceeded,
    UndefinedPolicy,
    UnsupportedMediaType,
    ValidationFailed,
)
from vsqlvault.http.conditions import read_conditions
from vsqlvault.http.messages import Reply, Request
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import StoreBody, dump_json
from vsqlvault.http.schemas.queries import ListQuery, read_query
from vsqlvault.http.schemas.responses import entry_json, etag, list_json, purge_row
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.entry import EntryVersion
from vsqlvault.model.times import format_time
from vsqlvault.service.entries.service import ListRequest, Preconditions

_ETAG = re.compile(r'"([0-9a-f]{32})\.([1-9][0-9]{0,17})"')
_WAIT = re.compile(r'wait(?:\s*=\s*"?([0-9]{1,9})"?)?', re.IGNORECASE | re.ASCII)
DEFAULT_WAIT_SECONDS = 5
MAX_WAIT_SECONDS = 10


async def store(exchange: RequestContext) -> Reply:
    """Create or replace an entry; the purpose is asked for before the body is looked at."""
    vault, call, key = exchange.vault, exchange.call, exchange.key
    await vault.entries.require_purpose(call, Audited.STORE, key)
    preconditions = read_preconditions(exchange.request)
    body = await exchange.body(StoreBody)
    stored = await vault.entries.store(call, key, body.wanted(preconditions, exchange.limits.max_value_bytes))
    reply = Reply(201 if stored.created else 200, entry_json(stored.viewed, warnings=stored.warnings))
    reply.headers.append(("ETag", etag(stored.viewed.entry)))
    reply.headers.append(("Location", f"/vault/{key.purpose}/{key.external_id}"))
    return reply


async def retrieve(exchange: RequestContext) -> Reply:
    """Answer with the blob."""
    viewed = await exchange.vault.entries.retrieve(exchange.call, exchange.key)
    return Reply(200, entry_json(viewed), headers=[("ETag", etag(viewed.entry))])


async def inspect(exchange: RequestContext) -> Reply:
    """Answer with headers only: no blob is read and no retrieval counted."""
    viewed = await exchange.vault.entries.inspect(exchange.call, exchange.key)
    entry = viewed.entry
    headers = [
        ("ETag", etag(entry)),
        ("X-Vault-Expires-At", format_time(viewed.effective_expires_at)),
        ("X-Vault-Created-At", format_time(entry.created_at)),
        ("X-Vault-Access-Policy", entry.access_policy),
    ]
    return Reply(200, headers=headers)


async def purge(exchange: RequestContext) -> Reply:
    """Destroy an entry and answer with the purge record."""
    preconditions = read_preconditions(exchange.request)
    seconds = read_wait(exchange.request)
    record = await exchange.vault.entries.purge(exchange.call, exchange.key, preconditions)
    shown = purge_row(record)
    if seconds is None:
        return Reply(200, dump_json(shown))
    receipt = await exchange.vault.log.reader.receipt_within(record, seconds)
    applied = [("Preference-Applied", f"wait={seconds}")] if receipt else []
    return Reply(200, dump_json({**shown, "receipt": receipt}), headers=applied)


async def list_entries(exchange: RequestContext) -> Reply:
    """Answer with a page of metadata."""
    purpose = exchange.request.params["purpose"]
    app, members = exchange.call.principal.app, exchange.request.query()
    read_query(ListQuery, members)
    members, after = exchange.cursors.open(app, f"/vault/{purpose}", members)
    query = read_query(ListQuery, members)
    wanted = ListRequest(
        limit=query.limit,
        after=str(after[0]) if after else None,
        key_ref=query.key_ref,
        owner_app=query.owner_app,
        access_policy=query.access_policy,
        expires_before=query.expires_before,
        state=query.state,
    )
    listed = await exchange.vault.entries.list_purpose(exchange.call, purpose, wanted)
    cursor = exchange.cursors.seal(app, f"/vault/{purpose}", members, [listed.after]) if listed.after else None
    return Reply(200, list_json(((viewed, query.state) for viewed in listed.entries), cursor))


def read_preconditions(request: Request) -> Preconditions:
    """Return what ``If-Match`` and ``If-None-Match`` ask; a weak tag never matches (RFC 9110, section 13.1.1).

    Raises:
        InvalidHeader: not a list of entity tags, or an ``If-None-Match`` other than ``*``.
    """
    asked = read_conditions(request)
    match = None
    if asked.tags is not None:
        found = (_ETAG.fullmatch(tag) for tag in asked.tags)
        match = frozenset(EntryVersion(tag[1], int(tag[2])) for tag in found if tag)
    return Preconditions(asked.none_exists, asked.any_match, match)


def read_wait(request: Request) -> int | None:
    """Return for how many seconds ``Prefer: wait`` asks (RFC 7240, section 4.3), within the limit; None where it does not."""
    for name, value in request.headers:
        if name == "prefer":
            for preference in value.split(","):
                if asked := _WAIT.fullmatch(preference.strip()):
                    return min(int(asked[1] or DEFAULT_WAIT_SECONDS), MAX_WAIT_SECONDS)
    return None


_READING = (AccessDenied, EntryNotFound, EntryExpired, EntryPurged)
_BODY = (InvalidJson, PayloadTooLarge, UnsupportedMediaType, ContentEncodingRefused, ValidationFailed)
_ETAG_HEADER = {"ETag": "The version of the entry, for If-Match."}

OPERATIONS = (
    Operation(
        method="PUT",
        path="/vault/{purpose}/{external_id}",
        name="store",
        summary="Store an encrypted blob",
        description=(
            "Creates the entry, or replaces it: then the version replaced gets a purge record with proof. "
            "`If-None-Match: *` only creates, `If-Match` only replaces that version. Repeating a request is safe: an entry "
            "that is already so stays as it is."
        ),
        handler=store,
        audited=Audited.STORE,
        body=StoreBody,
        answers={201: "Created.", 200: "Replaced, or already so."},
        headers={**_ETAG_HEADER, "Location": "The entry's path."},
        problems=(
            AccessDenied,
            IdRetired,
            PreconditionFailed,
            EntryHeld,
            *_BODY,
            NoRetentionPolicy,
            RetentionExceeded,
            UndefinedPolicy,
            KeyRefWithoutValue,
        ),
    ),
    Operation(
        method="GET",
        path="/vault/{purpose}/{external_id}",
        name="retrieve",
        summary="Retrieve a blob, if its access policy allows",
        handler=retrieve,
        audited=Audited.RETRIEVE,
        answers={200: "The blob and what is known of it."},
        headers=_ETAG_HEADER,
        problems=_READING,
    ),
    Operation(
        method="HEAD",
        path="/vault/{purpose}/{external_id}",
        name="inspect",
        summary="Check existence and expiry, without the blob",
        handler=inspect,
        audited=Audited.INSPECT,
        answers={200: "It is there."},
        headers={
            **_ETAG_HEADER,
            "X-Vault-Expires-At": "When it expires: the earlier of its own time and its retention policy's.",
            "X-Vault-Created-At": "When it was created.",
            "X-Vault-Access-Policy": "The access policy it names.",
        },
        problems=_READING,
    ),
    Operation(
        method="DELETE",
        path="/vault/{purpose}/{external_id}",
        name="purge",
        summary="Purge an entry, with proof",
        description=(
            "Destroys it by the method of its purpose's retention policy and answers with the purge record. `Prefer: wait`, or "
            "`wait=` up to 10 seconds, asks for its `receipt`, which is null where there is none by then."
        ),
        handler=purge,
        audited=Audited.PURGE,
        answers={200: "Purged; the record proves it."},
        problems=(*_READING, PreconditionFailed, EntryHeld),
    ),
    Operation(
        method="GET",
        path="/vault/{purpose}",
        name="list",
        summary="List entries of a purpose, metadata only",
        description=(
            "Lists what the caller may inspect, by external_id. A page can be short and still have a `next_cursor`; "
            "there is no more when that is null."
        ),
        handler=list_entries,
        audited=Audited.LIST,
        query=ListQuery,
        answers={200: "A page."},
        problems=(AccessDenied, InvalidQuery),
    ),
)
