"""``/admin/legal-holds``: placing, changing, releasing and reading legal holds."""

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
)
from vsqlvault.http.conditions import read_version_preconditions, version_etag
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.admin_bodies import HeldEntriesQuery, HoldsQuery, LegalHoldBody
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.queries import read_query
from vsqlvault.http.schemas.responses import list_json
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.hold import LegalHold
from vsqlvault.service.rules.documents import legal_hold_document
from vsqlvault.service.rules.held_entries import HeldEntriesRequest, HeldPlace
from vsqlvault.service.rules.rule_changes import require_admin


async def put_legal_hold(exchange: RequestContext) -> Reply:
    """Place a hold, or change it."""
    name = exchange.request.params["name"]
    async with exchange.vault.rules.legal_holds.naming(exchange.call, Audited.CHANGE_LEGAL_HOLD, name):
        require_admin(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
        wanted = (await exchange.body(LegalHoldBody)).hold(name)
    hold, is_new = await exchange.vault.rules.legal_holds.save(exchange.call, wanted, preconditions)
    return _shown(hold, 201 if is_new else 200)


async def get_legal_hold(exchange: RequestContext) -> Reply:
    """Answer with the newest version of a hold."""
    return _shown(await exchange.vault.rules.legal_holds.hold(exchange.call, exchange.request.params["name"]))


async def list_legal_holds(exchange: RequestContext) -> Reply:
    """Answer with the holds in force, or with those released."""
    query = exchange.query(HoldsQuery)
    holds = await exchange.vault.rules.legal_holds.holds(exchange.call, released=query.released)
    return Reply(200, dump_json({"legal_holds": [legal_hold_document(hold) for hold in holds]}))


async def list_held_entries(exchange: RequestContext) -> Reply:
    """Answer with a page of the entries that a hold keeps, without values."""
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
    """Release a hold and answer with its last version."""
    name = exchange.request.params["name"]
    async with exchange.vault.rules.legal_holds.naming(exchange.call, Audited.RELEASE_LEGAL_HOLD, name):
        require_admin(exchange.call)
        preconditions = read_version_preconditions(exchange.request)
    return _shown(await exchange.vault.rules.legal_holds.release(exchange.call, name, preconditions))


def _shown(hold: LegalHold, status: int = 200) -> Reply:
    return Reply(status, dump_json(legal_hold_document(hold)), headers=[("ETag", version_etag(hold.version))])


_BODY = (InvalidJson, PayloadTooLarge, UnsupportedMediaType, ContentEncodingRefused, ValidationFailed)
_ETAG_HEADER = {"ETag": "The version, for If-Match."}

OPERATIONS = (
    Operation(
        method="PUT",
        path="/admin/legal-holds/{name}",
        name="put_legal_hold",
        summary="Place a legal hold, or change it",
        description=(
            "From the answer on, no entry that the selector fits is destroyed, by whatever path, until the hold is released. "
            "Every change is a new version. `If-None-Match: *` only places, `If-Match` only changes that version."
        ),
        handler=put_legal_hold,
        audited=Audited.CHANGE_LEGAL_HOLD,
        body=LegalHoldBody,
        answers={201: "In force; no hold of that name was.", 200: "In force, as a new version."},
        headers=_ETAG_HEADER,
        problems=(RoleRequired, PreconditionFailed, *_BODY),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/legal-holds/{name}",
        name="get_legal_hold",
        summary="Read a legal hold",
        handler=get_legal_hold,
        audited=Audited.READ_LEGAL_HOLD,
        answers={200: "Its newest version, which may be the one that says it is released."},
        headers=_ETAG_HEADER,
        problems=(RoleRequired, HoldNotFound),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/legal-holds",
        name="list_legal_holds",
        summary="List legal holds",
        handler=list_legal_holds,
        audited=Audited.READ_LEGAL_HOLD,
        query=HoldsQuery,
        answers={200: "All that are in force, or all that are released."},
        problems=(RoleRequired, InvalidQuery),
        tag="admin",
    ),
    Operation(
        method="GET",
        path="/admin/legal-holds/{name}/entries",
        name="list_held_entries",
        summary="List the entries that a legal hold keeps",
        description=(
            "Metadata only, by purpose and external_id, of what is live or has expired; `state` asks for one of the two. "
            "A page can be short, or empty, and still have a `next_cursor`: one request looks at no more than some thousand "
            "entries. There is no more when it is null."
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
        summary="Release a legal hold",
        description="Its versions are kept. What it stopped is purged by the next sweep, unless another hold keeps it.",
        handler=release_legal_hold,
        audited=Audited.RELEASE_LEGAL_HOLD,
        answers={200: "Released; this is its last version."},
        headers=_ETAG_HEADER,
        problems=(RoleRequired, HoldNotFound, PreconditionFailed),
        tag="admin",
    ),
)
