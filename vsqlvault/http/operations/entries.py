"""``/vault``: stores, retrieves, inspects, purges and lists entries."""

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
    RetentionRefused,
    UndefinedPolicy,
    UnsupportedMediaType,
    ValidationFailed,
    ValueCorrupt,
)
from vsqlvault.http.conditions import read_conditions
from vsqlvault.http.media_types import JSON, MERGE_PATCH
from vsqlvault.http.messages import Reply, Request
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import StoreBody, UpdateBody, dump_json
from vsqlvault.http.schemas.queries import ListQuery, read_query
from vsqlvault.http.schemas.responses import entry_json, etag, list_json, purge_row
from vsqlvault.http.schemas.results.entries import EntryPage, PurgeResult, RetrievedEntry, StoredEntry
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.entry import EntryVersion
from vsqlvault.model.times import format_time
from vsqlvault.service.entries.requests import NO_PRECONDITIONS, EntryView, ListRequest, Preconditions

_PATCH_TYPES = (MERGE_PATCH, JSON)
_ETAG = re.compile(r'"([0-9a-f]{32})\.([1-9][0-9]{0,17})"')
_WAIT = re.compile(r'wait(?:\s*=\s*"?([0-9]{1,9})"?)?', re.IGNORECASE | re.ASCII)
DEFAULT_WAIT_SECONDS = 5
MAX_WAIT_SECONDS = 10


async def store(exchange: RequestContext) -> Reply:
    """Create or replace an entry. The purpose is checked before the body is read."""
    vault, call, key = exchange.vault, exchange.call, exchange.key
    if not call.principal.has_purpose(key.purpose):
        await vault.entries.require_purpose(call, Audited.STORE, key)
    preconditions = read_preconditions(exchange.request)
    body = await exchange.body(StoreBody)
    stored = await vault.entries.store(call, key, body.wanted(preconditions, exchange.limits.max_value_bytes))
    reply = Reply(201 if stored.created else 200, entry_json(stored.viewed, warnings=stored.warnings))
    reply.headers.append(("ETag", etag(stored.viewed.entry)))
    reply.headers.append(("Location", f"/vault/{key.purpose}/{key.external_id}"))
    return reply


async def update(exchange: RequestContext) -> Reply:
    """Change what is known of an entry, and answer with its metadata; the value is not part of it."""
    vault, call, key = exchange.vault, exchange.call, exchange.key
    await vault.entries.require_purpose(call, Audited.UPDATE, key)
    preconditions = read_preconditions(exchange.request)
    body = await exchange.body(UpdateBody, _PATCH_TYPES)
    stored = await vault.entries.update(call, key, body.wanted(preconditions))
    reply = Reply(200, entry_json(stored.viewed, warnings=stored.warnings))
    reply.headers.append(("ETag", etag(stored.viewed.entry)))
    return reply


async def retrieve(exchange: RequestContext) -> Reply:
    """Answer with the blob."""
    preconditions = read_preconditions(exchange.request)
    viewed = await exchange.vault.entries.retrieve(exchange.call, exchange.key, preconditions)
    if viewed.unmodified:
        return _unmodified(viewed)
    return Reply(200, entry_json(viewed), headers=[("ETag", etag(viewed.entry))])


async def inspect(exchange: RequestContext) -> Reply:
    """Answer with headers only: no blob is read and no retrieval counted."""
    preconditions = read_preconditions(exchange.request)
    viewed = await exchange.vault.entries.inspect(exchange.call, exchange.key, preconditions)
    if viewed.unmodified:
        return _unmodified(viewed)
    entry = viewed.entry
    headers = [
        ("ETag", etag(entry)),
        ("X-Vault-Expires-At", format_time(viewed.effective_expires_at)),
        ("X-Vault-Created-At", format_time(entry.created_at)),
        ("X-Vault-Access-Policy", entry.access_policy),
    ]
    return Reply(200, headers=headers)


def _unmodified(viewed: EntryView) -> Reply:
    return Reply(304, content_type=None, headers=[("ETag", etag(viewed.entry))])


async def purge(exchange: RequestContext) -> Reply:
    """Destroy an entry and return the purge record."""
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
    """Return a page of metadata."""
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
    """Return what ``If-Match`` and ``If-None-Match`` ask; a weak tag never fits ``If-Match`` (RFC 9110, section 13.1.1).

    Raises:
        InvalidHeader: one of them is neither ``*`` nor a list of entity tags.
    """
    if "if-match" not in request.by_name and "if-none-match" not in request.by_name:
        return NO_PRECONDITIONS
    asked = read_conditions(request)
    return Preconditions(asked.none_exists, asked.any_match, _versions(asked.tags), _versions(asked.none_tags))


def _versions(tags: tuple[str, ...] | None) -> frozenset[EntryVersion] | None:
    if tags is None:
        return None
    found = (_ETAG.fullmatch(tag) for tag in tags)
    return frozenset(EntryVersion(tag[1], int(tag[2])) for tag in found if tag)


def read_wait(request: Request) -> int | None:
    """Return the seconds of ``Prefer: wait`` (RFC 7240, section 4.3), within the limit, or None if the header has none."""
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
        result=StoredEntry,
        summary="Store an entry",
        description=(
            "Creates the entry, or replaces it: then the version replaced gets a purge record with proof. "
            "`If-None-Match: *` only creates, `If-Match` only replaces that version. Repeating a request is safe: an entry "
            "that is already so stays as it is. The same value with other fields is an update: nothing is purged."
        ),
        handler=store,
        audited=Audited.STORE,
        body=StoreBody,
        answers={201: "Created.", 200: "Replaced, or unchanged."},
        headers={**_ETAG_HEADER, "Location": "The path of the entry."},
        problems=(
            AccessDenied,
            IdRetired,
            PreconditionFailed,
            EntryHeld,
            *_BODY,
            NoRetentionPolicy,
            RetentionExceeded,
            RetentionRefused,
            UndefinedPolicy,
            KeyRefWithoutValue,
        ),
    ),
    Operation(
        method="PATCH",
        path="/vault/{purpose}/{external_id}",
        name="update",
        result=StoredEntry,
        summary="Change the expiry, the metadata or the access policy of an entry",
        description=(
            "A merge patch (RFC 7396): a member that is left out stays, null removes it. The value, `key_ref` and "
            "`algorithm_hint` are not changed this way. The entry gets a new version, and no purge record: its value lives on. "
            "Retention and access policies decide as for PUT."
        ),
        handler=update,
        audited=Audited.UPDATE,
        body=UpdateBody,
        body_types=_PATCH_TYPES,
        answers={200: "Changed, or already so."},
        headers=_ETAG_HEADER,
        problems=(
            *_READING,
            PreconditionFailed,
            EntryHeld,
            *_BODY,
            KeyRefWithoutValue,
            NoRetentionPolicy,
            RetentionExceeded,
            RetentionRefused,
            UndefinedPolicy,
        ),
    ),
    Operation(
        method="GET",
        path="/vault/{purpose}/{external_id}",
        name="retrieve",
        result=RetrievedEntry,
        summary="Retrieve an entry",
        handler=retrieve,
        audited=Audited.RETRIEVE,
        answers={200: "The value and its metadata.", 304: "The caller has this version."},
        headers=_ETAG_HEADER,
        problems=(*_READING, PreconditionFailed, ValueCorrupt),
    ),
    Operation(
        method="HEAD",
        path="/vault/{purpose}/{external_id}",
        name="inspect",
        summary="Inspect an entry without its value",
        handler=inspect,
        audited=Audited.INSPECT,
        answers={200: "The entry exists.", 304: "The caller has this version."},
        headers={
            **_ETAG_HEADER,
            "X-Vault-Expires-At": (
                "The effective expiry: the earlier of the entry's own expiry and the maximum of its retention policy."
            ),
            "X-Vault-Created-At": "When the entry was created.",
            "X-Vault-Access-Policy": "The access policy that the entry names.",
        },
        problems=(*_READING, PreconditionFailed),
    ),
    Operation(
        method="DELETE",
        path="/vault/{purpose}/{external_id}",
        name="purge",
        result=PurgeResult,
        summary="Purge an entry, with proof",
        description=(
            "Destroys the entry by the purge method of its retention policy, and returns the purge record. "
            "`Prefer: wait`, or `wait=` up to 10 seconds, returns its `receipt`, which is null if there is no "
            "checkpoint by then."
        ),
        handler=purge,
        audited=Audited.PURGE,
        answers={200: "Purged. The record contains the proof."},
        headers={"Preference-Applied": "The seconds waited, where the receipt is there."},
        takes_headers={"Prefer": "`wait`, or `wait=` up to 10 seconds: wait for the receipt."},
        problems=(*_READING, PreconditionFailed, EntryHeld),
    ),
    Operation(
        method="GET",
        path="/vault/{purpose}",
        name="list",
        result=EntryPage,
        summary="List entries of a purpose",
        description=(
            "Lists metadata of the entries that the caller may inspect, by external_id. A page may be short and "
            "still have a `next_cursor`. The list is complete when `next_cursor` is null."
        ),
        handler=list_entries,
        audited=Audited.LIST,
        query=ListQuery,
        answers={200: "A page."},
        problems=(AccessDenied, InvalidQuery),
    ),
)
