"""The checkpoints that this process remembers. Nothing that does not continue them is signed or served."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence

from vsqlvault.errors import TreeDamaged
from vsqlvault.interfaces.tree_storage import TreeStorage
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.log.stored_tree import root_at

MAX_REMEMBERED = 128
"""The maximum number of checkpoints in memory. The newest one decides; the others show where a forked log differs."""

CheckpointObserver = Callable[[Checkpoint], None]


@dataclass(frozen=True, slots=True)
class Discontinuity:
    """The stored log does not continue ``checkpoint``. ``why`` contains sizes, roots and the lost leaves."""

    checkpoint: Checkpoint
    why: str


class Continuity:
    """Remembers the checkpoints that this process signed or saw, and compares the stored tree with the newest of them.

    The memory ends with the process. Anchors keep checkpoints longer.
    """

    def __init__(self, storage: TreeStorage, observers: Sequence[CheckpointObserver] = ()) -> None:
        """``observers`` are called with each new newest checkpoint, whichever process signed it."""
        self._storage = storage
        self._observers = tuple(observers)
        self._remembered: deque[Checkpoint] = deque(maxlen=MAX_REMEMBERED)

    @property
    def newest(self) -> Checkpoint | None:
        """The newest checkpoint signed or seen."""
        return self._remembered[-1] if self._remembered else None

    def remember(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint that is durable in the storage, if it is larger than the newest known."""
        newest = self.newest
        if newest is not None and checkpoint.size <= newest.size:
            return
        self._remembered.append(checkpoint)
        for observer in self._observers:
            observer(checkpoint)

    async def served(self, checkpoint: Checkpoint) -> None:
        """Remember a stored checkpoint before it is served, unless it does not continue the newest known. Raises Unavailable.

        Without this, a process that did not sign it might go on with a database that lacks it.
        """
        newest = self.newest
        if newest is not None and (checkpoint.size <= newest.size or not await self._agrees(newest)):
            return
        if await self._agrees(checkpoint):
            self.remember(checkpoint)

    def forget(self) -> None:
        """Start again with the stored log, because an operator has accepted it."""
        self._remembered.clear()

    async def look(self) -> Discontinuity | None:
        """Compare the stored log with the newest known checkpoint, and remember its newest one if it continues that.

        Raises:
            TreeDamaged: the stored tree does not match its own newest checkpoint. Unavailable.
        """
        known = self.newest  # before the storage is read: what is signed during the read is in no earlier answer
        stored = await self._storage.newest_checkpoint()
        if known is not None and not await self._continues(known, stored):
            return Discontinuity(known, await self._describe(known, stored))
        if stored is not None and (known is None or stored.size > known.size):
            if await root_at(self._storage, stored.size) != stored.root:
                raise TreeDamaged(f"the first {stored.size} leaves do not match the signed ones")
            self.remember(stored)
        return None

    async def _continues(self, known: Checkpoint, stored: Checkpoint | None) -> bool:
        if stored is None or stored.size < known.size:
            return False
        if stored.size == known.size:
            return stored.root == known.root
        return await self._agrees(known)

    async def _agrees(self, checkpoint: Checkpoint) -> bool:
        """Return whether the stored tree has the checkpoint's root at its size."""
        try:
            return await root_at(self._storage, checkpoint.size) == checkpoint.root
        except TreeDamaged:
            return False

    async def _describe(self, known: Checkpoint, stored: Checkpoint | None) -> str:
        size = await self._storage.tree_size()
        common = 0
        for checkpoint in reversed(self._remembered):
            if checkpoint.size <= size and await self._agrees(checkpoint):
                common = checkpoint.size
                break
        newest = f"newest checkpoint of {stored.size}, root {stored.root.hex()}" if stored else "no checkpoint"
        return (
            f"the stored log has {size} leaves ({newest}); this vault knows a checkpoint of {known.size} leaves, root"
            f" {known.root.hex()}; both agree up to leaf {common}: leaves {common} to {known.size - 1} are lost"
        )
