"""``/audit``: the transparency log, as C2SP tlog-tiles serves one; proofs, and receipts of purges."""

from __future__ import annotations

from base64 import b64encode

from vsqlvault.errors import (
    InvalidQuery,
    NothingSigned,
    NotInTree,
    PurgeNotFound,
    ReceiptPending,
    RoleRequired,
    TreeDamaged,
)
from vsqlvault.http.messages import Reply
from vsqlvault.http.operation import Operation, RequestContext
from vsqlvault.http.schemas.bodies import dump_json
from vsqlvault.http.schemas.queries import ConsistencyQuery
from vsqlvault.model.audit import Operation as Audited
from vsqlvault.model.transparency import TileKey
from vsqlvault.proof.tiles import parse_path

TEXT, BYTES = "text/plain; charset=utf-8", "application/octet-stream"


async def checkpoint(exchange: RequestContext) -> Reply:
    """Answer with the newest checkpoint."""
    note = await exchange.vault.log.reader.checkpoint(exchange.call)
    return Reply(200, note.encode(), TEXT)


async def verifier_key(exchange: RequestContext) -> Reply:
    """Answer with the key that checks it."""
    key = await exchange.vault.log.reader.verifier_key(exchange.call)
    return Reply(200, key.encode(), TEXT)


async def tile(exchange: RequestContext) -> Reply:
    """Answer with a tile of hashes."""
    index, width = _tile(exchange)
    key = TileKey(int(exchange.request.params["level"]), index)
    return Reply(200, await exchange.vault.log.reader.tile(exchange.call, key, width), BYTES)


async def entries(exchange: RequestContext) -> Reply:
    """Answer with a bundle of leaves."""
    index, width = _tile(exchange)
    return Reply(200, await exchange.vault.log.reader.entries(exchange.call, index, width), BYTES)


async def proof(exchange: RequestContext) -> Reply:
    """Answer with an inclusion proof and the checkpoint it leads to."""
    index = int(exchange.request.params["index"])
    text = await exchange.vault.log.reader.inclusion(exchange.call, index)
    return Reply(200, text.encode(), TEXT)


async def consistency(exchange: RequestContext) -> Reply:
    """Answer with a consistency proof."""
    query = exchange.query(ConsistencyQuery)
    hashes = await exchange.vault.log.reader.consistency(exchange.call, query.first, query.second)
    proof = [b64encode(one).decode("ascii") for one in hashes]
    return Reply(200, dump_json({"from": query.first, "to": query.second, "proof": proof}))


async def receipt(exchange: RequestContext) -> Reply:
    """Answer with the receipt of a purge."""
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
        summary="The newest checkpoint of the transparency log",
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
        summary="The key that checks the checkpoints",
        description="A verifier key (C2SP signed-note). Get it another way, too: who lies about a log lies about its key.",
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
        summary="A tile of the tree's hashes",
        description="C2SP tlog-tiles: `tile` is `x001/x234/067`, or `x001/x234/067.p/112` for the beginning of a tile.",
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
        summary="A bundle of the tree's leaves",
        description="C2SP tlog-tiles: up to 256 rows of the logs, each behind its length in two bytes. Admins and auditors.",
        handler=entries,
        audited=Audited.READ_TRANSPARENCY_LOG,
        answers={200: "Up to 256 leaves."},
        media_types=("application/octet-stream",),
        problems=(NotInTree, RoleRequired),
        tag="transparency",
    ),
    Operation(
        method="GET",
        path="/audit/proof/{index}",
        name="inclusion_proof",
        summary="The proof that a leaf is under the newest checkpoint",
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
        summary="The proof that a smaller tree is how a larger one begins",
        description="RFC 9162, section 2.1.4: `proof` holds the hashes, in base64.",
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
        summary="The receipt of a purge: proof that can be checked without the vault",
        handler=receipt,
        audited=Audited.READ_RECEIPT,
        answers={200: "The receipt."},
        problems=(RoleRequired, PurgeNotFound, ReceiptPending, NothingSigned, TreeDamaged),
        tag="admin",
    ),
)
