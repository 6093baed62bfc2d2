"""``/admin/key-refs``: encryption keys in use."""

from __future__ import annotations

from vsqlvault.errors import InvalidQuery, RoleRequired
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.queries import KeyRefsQuery, read_query
from vsqlvault.http.schemas.responses import key_ref_document
from vsqlvault.http.schemas.results.service import KeyRefs
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.service.entries.key_refs import KeyRefRequest

ROUTE = "/admin/key-refs"


async def list_key_refs(exchange: RequestContext) -> Reply:
    """Return a page of key_refs."""
    app, members = exchange.call.principal.app, exchange.request.query()
    read_query(KeyRefsQuery, members)
    members, place = exchange.cursors.open(app, ROUTE, members)
    query = read_query(KeyRefsQuery, members)
    after = (str(place[0]), place[1]) if place else None
    wanted = KeyRefRequest(limit=query.limit, purpose=query.purpose, key_ref=query.key_ref, after=after)
    listed = await exchange.vault.key_refs.list(exchange.call, wanted)
    cursor = None
    if listed.more:
        purpose, use = listed.uses[-1]
        cursor = exchange.cursors.seal(app, ROUTE, members, [purpose, use.key_ref])
    shown = [key_ref_document(purpose, use) for purpose, use in listed.uses]
    return Reply(200, dump_json({"key_refs": shown, "next_cursor": cursor}))


OPERATIONS = (
    Operation(
        method="GET",
        path=ROUTE,
        name="list_key_refs",
        result=KeyRefs,
        summary="List the encryption keys in use",
        description=(
            "By purpose and key_ref: the number of entries, and when the oldest and newest of their values were "
            "stored. A key without entries is not listed and can be retired. `key_ref` is null for entries without "
            "one."
        ),
        handler=list_key_refs,
        audited=Audited.READ_KEY_REFS,
        query=KeyRefsQuery,
        answers={200: "A page."},
        problems=(RoleRequired, InvalidQuery),
        tag="admin",
    ),
)
