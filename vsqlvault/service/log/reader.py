"""Reads of the transparency log: checkpoints, tiles, entries, proofs and receipts. Each read is audited."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from vsqlvault.errors import (
    NothingSigned,
    NotInTree,
    PurgeNotFound,
    ReceiptPending,
    RowsArchived,
    TreeDamaged,
    Unavailable,
)
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.audit import Operation
from vsqlvault.model.log_archive import ArchivedRows
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import Checkpoint, TileKey
from vsqlvault.proof.checkpoint import write_proof
from vsqlvault.proof.leaf import row_hash, row_leaf
from vsqlvault.proof.note import VerifierKey
from vsqlvault.proof.receipt import write_receipt
from vsqlvault.proof.tiles import WIDTH, write_bundle
from vsqlvault.proof.tree import HASH_BYTES, ProofInvalid, check_inclusion, consistency_proof, inclusion_proof
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.archive.rows import archived_rows, where_all_archived, where_archived
from vsqlvault.service.log.continuity import Continuity
from vsqlvault.service.log.stored_tree import from_tiles
from vsqlvault.service.roles import require_reader

Result = TypeVar("Result")
LOOK_AGAIN_SECONDS = 0.1
NOT_YET_REACHED = ("the data files of the storage, until the next scrub",)
NOT_REACHED = ("backups", "replicas", "write-ahead logs and their archives", "copies kept by clients")
"""Where the bytes of a purged value may remain with any storage; a storage's description may be more specific."""


class Transparency:
    """Reads of the tree. Hashes and checkpoints reveal nothing; entries are rows, for admins and auditors."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        auditor: Auditor,
        continuity: Continuity,
        verifier: VerifierKey | None,
    ) -> None:
        self._storage = storage
        self._continuity = continuity
        self._queue = queue
        self._auditor = auditor
        self._verifier = verifier

    async def checkpoint(self, call: Call) -> str:
        """Return the newest checkpoint, a signed note. Raises NothingSigned, Unavailable."""

        async def read() -> str:
            return (await self._newest()).note

        return await self._audited(call, "checkpoint", read)

    async def verifier_key(self, call: Call) -> str:
        """Return the key that verifies new signatures. Raises NothingSigned, Unavailable."""

        async def read() -> str:
            if self._verifier is None:
                raise NothingSigned
            return f"{self._verifier}\n"

        return await self._audited(call, "vkey", read)

    async def tile(self, call: Call, key: TileKey, width: int) -> bytes:
        """Return the first ``width`` hashes of a tile. Raises NotInTree, Unavailable."""

        async def read() -> bytes:
            tile = (await self._storage.tiles([key])).get(key, b"")
            if len(tile) < width * HASH_BYTES:
                raise NotInTree
            return tile[: width * HASH_BYTES]

        return await self._audited(call, f"tile {key.level}/{key.index} of {width}", read)

    async def entries(self, call: Call, index: int, width: int) -> bytes:
        """Return the entry bundle of a level-0 tile, computed from the present rows.

        A leaf whose row is missing is empty, so that a verifier sees which one.

        Raises:
            RoleRequired, NotInTree, RowsArchived (a row was dropped, and is in an archive), Unavailable.
        """

        async def read() -> bytes:
            require_reader(call)
            if index * WIDTH + width > await self._storage.tree_size():
                raise NotInTree
            rows = {row.index: row.record for row in await self._storage.leaf_rows(index * WIDTH, width)}
            end = index * WIDTH + width
            if len(rows) < width and (where := await where_archived(self._storage, index * WIDTH, end)):
                raise RowsArchived(where)
            records = (rows.get(number) for number in range(index * WIDTH, end))
            return write_bundle(row_leaf(record) if record else b"" for record in records)

        return await self._audited(call, f"entries {index} of {width}", read)

    async def archived(self, query: LogQuery) -> ArchivedRows | None:
        """Return which rows of the logs are no longer in the vault; None if no row that ``query`` finds can be among them.

        Raises:
            Unavailable.
        """
        found = await archived_rows(self._storage)
        return found if found is not None and (query.since is None or query.since <= found.newest_row_at) else None

    async def inclusion(self, call: Call, index: int) -> str:
        """Return the inclusion proof of a leaf in the newest checkpoint. Raises RoleRequired, NotInTree, NothingSigned."""

        async def read() -> str:
            require_reader(call)
            newest = await self._newest()
            if index >= newest.size:
                raise NotInTree(f"the checkpoint has {newest.size} leaves")
            return write_proof(index, await self._path(index, newest), newest.note)

        return await self._audited(call, f"proof {index}", read)

    async def consistency(self, call: Call, first: int, second: int) -> list[bytes]:
        """Prove that the tree of ``first`` leaves is a prefix of that of ``second``. Raises NotInTree, Unavailable."""

        async def read() -> list[bytes]:
            size = await self._storage.tree_size()
            if not first <= second <= size:
                raise NotInTree(f"expected from <= to <= {size}")
            return await from_tiles(self._storage, lambda node: consistency_proof(first, second, node))

        return await self._audited(call, f"consistency {first} to {second}", read)

    async def receipt(self, call: Call, purge_id: str) -> dict[str, Any]:
        """Return the receipt of a purge as JSON types.

        Raises:
            RoleRequired, PurgeNotFound, ReceiptPending, NothingSigned.
            TreeDamaged: the row differs from the signed one, so no receipt would verify. Unavailable.
        """

        async def read() -> dict[str, Any]:
            require_reader(call)
            rows = await self._storage.purge_log(LogQuery(limit=1, equals={"purge_id": purge_id}))
            if not rows:
                where = await where_all_archived(self._storage)
                raise PurgeNotFound(f"if it is older, its row is in {where}" if where else None)
            return await self._receipt_of(rows[0].record, is_scrubbed=rows[0].scrubbed_at is not None)

        return await self._audited(call, purge_id, read, Operation.READ_RECEIPT)

    async def receipt_within(self, record: PurgeRecord, seconds: float) -> dict[str, Any] | None:
        """Return the receipt of a new purge once it exists; None if there is none within ``seconds``."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return await self._receipt_of(record)
            except (ReceiptPending, Unavailable):
                if time.monotonic() + LOOK_AGAIN_SECONDS > deadline:
                    return None
            except NothingSigned:
                if self._verifier is None or time.monotonic() + LOOK_AGAIN_SECONDS > deadline:
                    return None
            await asyncio.sleep(LOOK_AGAIN_SECONDS)

    async def _receipt_of(self, record: PurgeRecord, *, is_scrubbed: bool = False) -> dict[str, Any]:
        newest = await self._newest()
        index = await self._storage.purge_index(record.purge_id)
        if index is None or index >= newest.size:
            raise ReceiptPending
        if self._verifier is None:
            raise NothingSigned
        path = await self._path(index, newest)
        try:
            check_inclusion(index, newest.size, row_hash(record), path, newest.root)
        except ProofInvalid:
            raise TreeDamaged(f"leaf {index} is not the purge {record.purge_id}") from None
        return write_receipt(record, index, path, newest.note, self._verifier, self._not_reached(is_scrubbed))

    def _not_reached(self, is_scrubbed: bool) -> Sequence[str]:
        described = self._storage.describe()
        until_scrub = () if is_scrubbed else described.get("purge_reaches_with_scrub", NOT_YET_REACHED)
        return [*until_scrub, *described.get("purge_does_not_reach", NOT_REACHED)]

    async def _newest(self) -> Checkpoint:
        newest = await self._storage.newest_checkpoint()
        if newest is None:
            raise NothingSigned
        await self._continuity.served(newest)
        return newest

    async def _path(self, index: int, checkpoint: Checkpoint) -> list[bytes]:
        return await from_tiles(self._storage, lambda node: inclusion_proof(index, checkpoint.size, node))

    async def _audited(
        self,
        call: Call,
        subject: str,
        read: Callable[[], Awaitable[Result]],
        operation: Operation = Operation.READ_TRANSPARENCY_LOG,
    ) -> Result:
        trace = AuditContext(call, operation, subject=subject)

        async def attempt() -> Result:
            trace.observe(await self._queue.read())
            found = await read()
            await self._queue.record(trace.granted())
            return found

        return await self._auditor.run_audited(trace, attempt)
