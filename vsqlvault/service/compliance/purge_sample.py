"""Draws purges from the log by the rule of ``vsqlvault.proof.sample`` and verifies each."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Sequence
from datetime import datetime

from vsqlvault.errors import TreeDamaged
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.watch_storage import PurgesByIdQuery
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import LogName
from vsqlvault.proof.leaf import row_hash
from vsqlvault.proof.purge_proof import kept_proof
from vsqlvault.proof.sample import draw
from vsqlvault.proof.tree import ProofInvalid, check_inclusion, inclusion_proof
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.stored_tree import from_tiles

PAGE = 64
_PROOF = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Reach:
    """The population of a sample: rows of a period among the first ``size`` leaves, whose root is the seed."""

    since: datetime
    until: datetime
    size: int
    root: bytes


@dataclass(frozen=True, slots=True)
class DrawnPurge:
    """A sampled purge and its leaf index."""

    record: PurgeRecord
    index: int


async def draw_purges(storage: Storage, reach: Reach, size: int) -> Sequence[DrawnPurge]:
    """Return the sample: ``size`` purges, or all if there are fewer. Raises Unavailable."""
    drawn: dict[str, DrawnPurge] = {}
    while len(drawn) < size:
        first = draw(reach.root, len(drawn))
        found = await _next(storage, reach, drawn, first) or await _next(storage, reach, drawn, "", first)
        if found is None:
            break
        drawn[found.record.purge_id] = found
    return list(drawn.values())


async def check_purge(storage: Storage, queue: CommitQueue, reach: Reach, drawn: DrawnPurge) -> list[str]:
    """Return what is wrong with a purge, one sentence each; empty if its record is intact and its entry is gone.

    Raises:
        Unavailable.
    """
    record, problems = drawn.record, []
    leaf = row_hash(record)
    kept = next(iter(await storage.leaf_rows(drawn.index, 1)), None)
    if kept is None or kept.place.log is not LogName.PURGE or kept.record != record:
        problems.append("the leaf is not that of this row")
    elif kept.leaf_hash is not None and kept.leaf_hash != leaf:
        problems.append("the stored leaf hash differs from the hash of the row")
    try:
        path = await from_tiles(storage, lambda node: inclusion_proof(drawn.index, reach.size, node))
        check_inclusion(drawn.index, reach.size, leaf, path, reach.root)
    except (ProofInvalid, TreeDamaged):
        problems.append("the row is not in the tree")
    if not _PROOF.fullmatch(record.proof_hash):
        problems.append("the proof is not a SHA-256")
    problems += await _left(queue, record)
    return problems


async def _left(queue: CommitQueue, record: PurgeRecord) -> list[str]:
    """Return what is wrong with the present entry under the purge's key."""
    entry = (await queue.read(record.key)).entry
    if entry is None or entry.entry_id != record.entry_id or entry.version > record.entry_version:
        return []
    if entry.purged_at is None:
        return ["the entry still exists"]
    if kept_proof(entry) != record.proof_hash:
        return ["the proof differs from that of the row kept without its value"]
    return []


async def _next(
    storage: Storage, reach: Reach, drawn: dict[str, DrawnPurge], first_id: str, end: str | None = None
) -> DrawnPurge | None:
    async for record in _from(storage, reach, first_id):
        if end is not None and record.purge_id >= end:
            return None
        if record.purge_id in drawn:
            continue
        index = await storage.purge_index(record.purge_id)
        if index is not None and index < reach.size:
            return DrawnPurge(record, index)
    return None


async def _from(storage: Storage, reach: Reach, first_id: str) -> AsyncIterator[PurgeRecord]:
    limit = 2  # the first candidate usually matches
    while True:
        query = PurgesByIdQuery(first_id=first_id, since=reach.since, until=reach.until, limit=limit)
        page = await storage.purges_by_id(query)
        for record in page:
            yield record
        if len(page) < limit:
            return
        first_id, limit = f"{page[-1].purge_id}0", PAGE  # no id lies between the two
