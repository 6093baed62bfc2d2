"""Finds the archived rows of entries under a legal hold: they stay in the vault."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence

from vsqlvault.interfaces.storage import Read, Storage
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.hold import HoldIndex, LegalHold
from vsqlvault.proof.tiles import WIDTH
from vsqlvault.service.log.archive.files import ArchiveFiles

FRESH_SECONDS = 2.0
MAX_KNOWN = 100_000


class HeldLeaves:
    """Divides the leaves of a bundle into those that may go. Without a hold in force, no bundle is read."""

    def __init__(self, storage: Storage, files: ArchiveFiles) -> None:
        self._storage = storage
        self._files = files
        self._holds: list[LegalHold] = []
        self._read_at: float | None = None
        self._known: dict[EntryKey, bool] = {}

    async def spans(self, first: int) -> Sequence[tuple[int, int]]:
        """Return the spans of a bundle, which begins at the leaf ``first``, that have no row of a held entry.

        A hold that is placed meanwhile counts after at most two seconds. Raises Unavailable, ArchiveUnusable.
        """
        await self._refresh()
        if not self._holds:
            return [(first, first + WIDTH)]
        leaves = await asyncio.to_thread(self._files.bundle, first // WIDTH)
        keys = [_key_of(leaf) for leaf in leaves]
        if len(self._known) > MAX_KNOWN:
            self._known = {}
        await self._look({key for key in keys if key is not None and key not in self._known})
        spans: list[tuple[int, int]] = []
        begin = first
        for index, key in enumerate(keys, start=first):
            if key is not None and self._known[key]:
                if begin < index:
                    spans.append((begin, index))
                begin = index + 1
        return [*spans, (begin, first + WIDTH)] if begin < first + WIDTH else spans

    async def _refresh(self) -> None:
        now = time.monotonic()
        if self._read_at is not None and now - self._read_at < FRESH_SECONDS:
            return
        policies = await self._storage.policy_snapshot()
        self._holds = [hold for hold in policies.holds.values() if not hold.is_released]
        self._read_at, self._known = now, {}

    async def _look(self, keys: set[EntryKey]) -> None:
        index = HoldIndex(self._holds)
        wanted = list(keys)
        snapshots = await self._storage.read([Read(key) for key in wanted]) if wanted else ()
        for key, snapshot in zip(wanted, snapshots, strict=True):
            self._known[key] = snapshot.entry is not None and bool(index.on(snapshot.entry))


def _key_of(leaf: bytes) -> EntryKey | None:
    """Return the entry that the row of a leaf is about."""
    try:
        row = next(iter(json.loads(leaf).values()))
        return EntryKey(str(row["purpose"]), str(row["external_id"]))
    except (ValueError, KeyError, TypeError, AttributeError, StopIteration, RecursionError):
        return None
