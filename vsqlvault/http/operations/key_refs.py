"""``/admin/key-refs``: what still lies under which key."""

from __future__ import annotations

from vsqlvault.errors import InvalidQuery, RoleRequired
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.queries import KeyRefsQuery, read_query
from vsqlvault.http.schemas.responses import key_ref_document
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.service.entries.key_refs import KeyRefRequest

ROUTE = "/admin/key-refs"


async def list_key_refs(exchange: RequestContext) -> Reply:
    """Answer with a page of key_refs."""
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
        summary="List which keys encrypted what still lies here",
        description=(
            "By purpose and key_ref: how many entries, and when the values in place were stored. A key_ref that no entry has "
            "is not in the list: its key can be retired. `key_ref` null stands for entries that name none."
        ),
        handler=list_key_refs,
        audited=Audited.READ_KEY_REFS,
        query=KeyRefsQuery,
        answers={200: "A page."},
        problems=(RoleRequired, InvalidQuery),
        tag="admin",
    ),
)
