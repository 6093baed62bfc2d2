"""What a storage commits while its disk is full."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from vsqlvault.errors import StorageFull
from vsqlvault.interfaces.writes import StoreEntry, Write, WriteOutcome

TRY_AGAIN_SECONDS = 1.0


class FullDisk:
    """Whether the disk of a server was full at the last write that stores an entry. Such a write is tried once a second."""

    def __init__(self, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._monotonic = monotonic
        self._found_at: float | None = None
        self.is_full = False
        """Whether the last write that stores an entry found no room."""

    async def commit(
        self, writes: Sequence[Write], commit: Callable[[Sequence[Write]], Awaitable[Sequence[WriteOutcome]]]
    ) -> Sequence[WriteOutcome | StorageFull]:
        """Commit the writes, and without those that store an entry while there is no room. Raises as ``commit``."""
        has_stores = any(map(stores, writes))
        if not has_stores or self._found_at is None or self._monotonic() - self._found_at >= TRY_AGAIN_SECONDS:
            try:
                outcomes = await commit(writes)
            except StorageFull:
                if not has_stores:
                    raise
                self._found_at, self.is_full = self._monotonic(), True
            else:
                if has_stores:
                    self._found_at, self.is_full = None, False
                return outcomes
        return await without_stores(writes, commit)


async def without_stores(
    writes: Sequence[Write], commit: Callable[[Sequence[Write]], Awaitable[Sequence[WriteOutcome]]]
) -> Sequence[WriteOutcome | StorageFull]:
    """Commit the writes that store no entry. The outcome of the others is StorageFull.

    Raises:
        StorageFull: there is not even room for the audit rows.
    """
    kept = [write for write in writes if not stores(write)]
    outcomes = iter(await commit(kept) if kept else ())
    return [StorageFull() if stores(write) else next(outcomes) for write in writes]


def stores(write: Write) -> bool:
    """Return whether the write stores an entry."""
    for change in write.changes:  # noqa: SIM110 - a generator costs each write of a batch another call
        if isinstance(change, StoreEntry):
            return True
    return False
