"""``/admin/legal-holds``: places, changes, releases and reads legal holds."""

from __future__ import annotations

from vsqlvault.errors import (
    ContentEncodingRefused,
    HoldNotFound,
    InvalidJson,
    InvalidQuery,
    PayloadTooLarge,
    PreconditionFailed,
    RoleRequired,
    UnsupportedMediaType,
    ValidationFailed,
    VaultError,
)
from vsqlvault.http.conditions import read_version_preconditions, version_etag
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.operations.known_apps import undefined_apps
from vsqlvault.http.schemas.admin_bodies import HeldEntriesQuery, HoldsQuery, LegalHoldBody
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.queries import read_query
from vsqlvault.http.schemas.responses import list_json
from vsqlvault.http.schemas.results.entries import EntryPage
from vsqlvault.http.schemas.results.rules import LegalHold as LegalHoldResult
from vsqlvault.http.schemas.results.rules import LegalHolds, SavedLegalHold
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.hold import LegalHold
from vsqlvault.service.audit.rule_documents import legal_hold_document
from vsqlvault.service.entries.held_entries import HeldCount, HeldEntriesRequest, HeldPlace
from vsqlvault.service.roles import require_admin, require_reader


async def put_legal_hold(exchange: RequestContext) -> Reply:
    """Place or change a hold."""
    name = exchange.request.params["name"]
    async with exchange.vault.rules.legal_holds.naming(exchange.call, Audited.CHANGE_LEGAL_HOLD, name):
        require_admin(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
        wanted = (await exchange.body(LegalHoldBody)).hold(name)
    saved = await exchange.vault.rules.legal_holds.save(exchange.call, wanted, preconditions)
    owners = [wanted.selector.owner_app] if wanted.selector.owner_app else []
    held = await _count_held(exchange, saved.hold)
    warnings = (*saved.warnings, *undefined_apps(exchange, owners)) or _keeps_nothing(held)
    document = {
        **legal_hold_document(saved.hold),
        "entries_held": held.entries if held else None,
        "entries_held_is_complete": held is not None and held.is_complete,
        **({"warnings": list(warnings)} if warnings else {}),
    }
    headers = [("ETag", version_etag(saved.hold.version))]
    return Reply(201 if saved.is_new else 200, dump_json(document), headers=headers)


async def _count_held(exchange: RequestContext, hold: LegalHold) -> HeldCount | None:
    """Count the entries under a new version of a hold. None if that fails: the hold is in force nevertheless."""
    try:
        return await exchange.vault.rules.held_entries.count(hold)
    except VaultError:
        return None


def _keeps_nothing(held: HeldCount | None) -> tuple[str, ...]:
    is_empty = held is not None and held.is_complete and not held.entries
    return ("no entry matches the selector now: the hold keeps those that are stored later",) if is_empty else ()


async def get_legal_hold(exchange: RequestContext) -> Reply:
    """Return the newest version of a hold."""
    name, holds = exchange.request.params["name"], exchange.vault.rules.legal_holds
    async with holds.naming(exchange.call, Audited.READ_LEGAL_HOLD, name):
        require_reader(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
    viewed = await holds.view(exchange.call, name, preconditions)
    if viewed.unmodified:
        return Reply(304, content_type=None, headers=[("ETag", version_etag(viewed.rule.version))])
    return _shown(viewed.rule)


async def list_legal_holds(exchange: RequestContext) -> Reply:
    """Return the holds in force, or the released ones."""
    query = exchange.query(HoldsQuery)
    holds = await exchange.vault.rules.legal_holds.holds(exchange.call, released=query.released)
    return Reply(200, dump_json({"legal_holds": [legal_hold_document(hold) for hold in holds]}))


async def list_held_entries(exchange: RequestContext) -> Reply:
    """Return a page of the entries under a hold, without values."""
    name = exchange.request.params["name"]
    app, route = exchange.call.principal.app, f"/admin/legal-holds/{name}/entries"
    members = exchange.request.query()
    read_query(HeldEntriesQuery, members)
    members, place = exchange.cursors.open(app, route, members)
    query = read_query(HeldEntriesQuery, members)
    after = HeldPlace(str(place[0]), str(place[1])) if place else None
    wanted = HeldEntriesRequest(limit=query.limit, state=query.wanted, after=after)
    listed = await exchange.vault.rules.held_entries.list(exchange.call, name, wanted)
    cursor = exchange.cursors.seal(app, route, members, list(listed.after)) if listed.after else None
    return Reply(200, list_json(listed.entries, cursor))


async def release_legal_hold(exchange: RequestContext) -> Reply:
    """Release a hold and return its last version."""
    name = exchange.request.params["name"]
    async with exchange.vault.rules.legal_holds.naming(exchange.call, Audited.RELEASE_LEGAL_HOLD, name):
        require_admin(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
    return _shown(await exchange.vault.rules.legal_holds.release(exchange.call, name, preconditions))


def _shown(hold: LegalHold) -> Reply:
    return Reply(200, dump_json(legal_hold_document(hold)), headers=[("ETag", version_etag(hold.version))])


_BODY = (InvalidJson, PayloadTooLarge, UnsupportedMediaType, ContentEncodingRefused, ValidationFailed)
_ETAG_HEADER = {"ETag": "The version, for If-Match."}

OPERATIONS = (
    Operation(
        method="PUT",
        path="/admin/legal-holds/{name}",
        name="put_legal_hold",
        result=SavedLegalHold,
        summary="Place or change a legal hold",
        description=(
            "After the response, no operation destroys a matching entry until the hold is released. Every change "
            "is a new version. `If-None-Match: *` only places a hold, and `If-Match` only changes that version. The response "
            "counts the matching entries; one request examines at most some thousand."
        ),
        handler=put_legal_hold,
        audited=Audited.CHANGE_LEGAL_HOLD,
        body=LegalHoldBody,
        answers={201: "Placed.", 200: "Changed, as a new version."},
        headers=_ETAG_HEADER,
        problems=(RoleRequired, PreconditionFailed, *_BODY),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/legal-holds/{name}",
        name="get_legal_hold",
        result=LegalHoldResult,
        summary="Read a legal hold",
        handler=get_legal_hold,
        audited=Audited.READ_LEGAL_HOLD,
        answers={200: "The newest version, which may be the release.", 304: "The caller has this version."},
        headers=_ETAG_HEADER,
        problems=(RoleRequired, HoldNotFound, PreconditionFailed),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/legal-holds",
        name="list_legal_holds",
        result=LegalHolds,
        summary="List legal holds",
        handler=list_legal_holds,
        audited=Audited.READ_LEGAL_HOLD,
        query=HoldsQuery,
        answers={200: "The holds in force, or the released ones."},
        problems=(RoleRequired, InvalidQuery),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/legal-holds/{name}/entries",
        name="list_held_entries",
        result=EntryPage,
        summary="List the entries under a legal hold",
        description=(
            "Metadata only, by purpose and external_id, of active and expired entries; `state` selects one of the "
            "two. One request examines at most some thousand entries, so a page may be short or empty and still "
            "have a `next_cursor`. The list is complete when `next_cursor` is null."
        ),
        handler=list_held_entries,
        audited=Audited.READ_LEGAL_HOLD,
        query=HeldEntriesQuery,
        answers={200: "A page."},
        problems=(RoleRequired, HoldNotFound, InvalidQuery),
        tag="admin",
    ),
    Operation(
        method="DELETE",
        path="/admin/legal-holds/{name}",
        name="release_legal_hold",
        result=LegalHoldResult,
        summary="Release a legal hold",
        description="The versions of the hold are kept. The next sweep purges the expired entries that it "
        "kept, unless another hold keeps them.",
        handler=release_legal_hold,
        audited=Audited.RELEASE_LEGAL_HOLD,
        answers={200: "Released. The response is the last version."},
        headers=_ETAG_HEADER,
        problems=(RoleRequired, HoldNotFound, PreconditionFailed),
        tag="admin",
    ),
)
