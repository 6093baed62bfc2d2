"""``/audit``: the transparency log in the form of C2SP tlog-tiles, with proofs and purge receipts."""

from __future__ import annotations

from base64 import b64encode

from vsqlvault.errors import (
    InvalidQuery,
    NothingSigned,
    NotInTree,
    PurgeNotFound,
    ReceiptPending,
    RoleRequired,
    RowsArchived,
    TreeDamaged,
)
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.queries import ConsistencyQuery
from vsqlvault.http.schemas.results.entries import Receipt
from vsqlvault.http.schemas.results.service import ConsistencyProof
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.tiles import parse_path

TEXT, BYTES = "text/plain; charset=utf-8", "application/octet-stream"


async def checkpoint(exchange: RequestContext) -> Reply:
    """Return the newest checkpoint."""
    note = await exchange.vault.log.reader.checkpoint(exchange.call)
    return Reply(200, note.encode(), TEXT)


async def verifier_key(exchange: RequestContext) -> Reply:
    """Return the verifier key."""
    key = await exchange.vault.log.reader.verifier_key(exchange.call)
    return Reply(200, key.encode(), TEXT)


async def tile(exchange: RequestContext) -> Reply:
    """Return a tile of hashes."""
    index, width = _tile(exchange)
    key = TileKey(int(exchange.request.params["level"]), index)
    return Reply(200, await exchange.vault.log.reader.tile(exchange.call, key, width), BYTES)


async def entries(exchange: RequestContext) -> Reply:
    """Return a bundle of leaves."""
    index, width = _tile(exchange)
    return Reply(200, await exchange.vault.log.reader.entries(exchange.call, index, width), BYTES)


async def proof(exchange: RequestContext) -> Reply:
    """Return an inclusion proof with its checkpoint."""
    index = int(exchange.request.params["index"])
    text = await exchange.vault.log.reader.inclusion(exchange.call, index)
    return Reply(200, text.encode(), TEXT)


async def consistency(exchange: RequestContext) -> Reply:
    """Return a consistency proof."""
    query = exchange.query(ConsistencyQuery)
    hashes = await exchange.vault.log.reader.consistency(exchange.call, query.first, query.second)
    proof = [b64encode(one).decode("ascii") for one in hashes]
    return Reply(200, dump_json({"from": query.first, "to": query.second, "proof": proof}))


async def receipt(exchange: RequestContext) -> Reply:
    """Return the receipt of a purge."""
    purge_id = exchange.request.params["purge_id"]
    return Reply(200, dump_json(await exchange.vault.log.reader.receipt(exchange.call, purge_id)))


def _tile(exchange: RequestContext) -> tuple[int, int]:
    try:
        return parse_path(exchange.request.params["tile"])
    except ValueError as error:
        raise NotInTree(str(error)) from None


OPERATIONS = (
    Operation(
        method="GET",
        path="/audit/checkpoint",
        name="checkpoint",
        example="vault.example/audit\n2\n5Q…=\n\n— vault.example/audit …\n",
        summary="Get the newest checkpoint of the transparency log",
        description="A signed note (C2SP tlog-checkpoint): origin, size and root hash of the tree over both logs.",
        handler=checkpoint,
        audited=Audited.READ_TRANSPARENCY_LOG,
        answers={200: "The checkpoint."},
        media_types=("text/plain",),
        problems=(NothingSigned,),
        tag="transparency",
    ),
    Operation(
        method="GET",
        path="/audit/vkey",
        name="verifier_key",
        example="vault.example/audit+1a2b3c4d+AY…",
        summary="Get the verifier key of the checkpoints",
        description="A verifier key (C2SP signed-note). Compare it with a copy from another channel, because a "
        "dishonest vault would also return a wrong key.",
        handler=verifier_key,
        audited=Audited.READ_TRANSPARENCY_LOG,
        answers={200: "The key."},
        media_types=("text/plain",),
        problems=(NothingSigned,),
        tag="transparency",
    ),
    Operation(
        method="GET",
        path="/audit/tile/{level}/{tile}",
        name="tile",
        example="32 bytes for each hash",
        summary="Get a tile of the tree's hashes",
        description="C2SP tlog-tiles: `tile` is `x001/x234/067`, or `x001/x234/067.p/112` for a partial tile.",
        handler=tile,
        audited=Audited.READ_TRANSPARENCY_LOG,
        answers={200: "Up to 256 hashes of 32 bytes."},
        media_types=("application/octet-stream",),
        problems=(NotInTree,),
        tag="transparency",
    ),
    Operation(
        method="GET",
        path="/audit/tile/entries/{tile}",
        name="entries",
        example="two bytes of length, then the row, for each leaf",
        summary="Get a bundle of the tree's leaves",
        description="C2SP tlog-tiles: up to 256 log rows, each preceded by its length in two bytes. For admins and "
        "auditors. 410 if rows of the bundle were dropped: the detail names their archive, which any file server can serve.",
        handler=entries,
        audited=Audited.READ_TRANSPARENCY_LOG,
        answers={200: "Up to 256 leaves."},
        media_types=("application/octet-stream",),
        problems=(NotInTree, RoleRequired, RowsArchived),
        tag="transparency",
    ),
    Operation(
        method="GET",
        path="/audit/proof/{index}",
        name="inclusion_proof",
        example="c2sp.org/tlog-proof@v1\nindex 0\n…",
        summary="Get the inclusion proof of a leaf under the newest checkpoint",
        description="C2SP tlog-proof: the index, the hashes of the path, and the checkpoint. For admins and auditors.",
        handler=proof,
        audited=Audited.READ_TRANSPARENCY_LOG,
        answers={200: "The proof."},
        media_types=("text/plain",),
        problems=(NotInTree, NothingSigned, RoleRequired, TreeDamaged),
        tag="transparency",
    ),
    Operation(
        method="GET",
        path="/audit/consistency",
        name="consistency_proof",
        result=ConsistencyProof,
        summary="Get the consistency proof between two tree sizes",
        description="RFC 9162, section 2.1.4: `proof` contains the hashes in base64.",
        handler=consistency,
        audited=Audited.READ_TRANSPARENCY_LOG,
        query=ConsistencyQuery,
        answers={200: "The proof."},
        problems=(NotInTree, InvalidQuery, TreeDamaged),
        tag="transparency",
    ),
    Operation(
        method="GET",
        path="/admin/purge-log/{purge_id}/receipt",
        name="receipt",
        result=Receipt,
        summary="Get the receipt of a purge, which can be verified without the vault",
        handler=receipt,
        audited=Audited.READ_RECEIPT,
        answers={200: "The receipt."},
        problems=(RoleRequired, PurgeNotFound, ReceiptPending, NothingSigned, TreeDamaged),
        tag="admin",
    ),
)
