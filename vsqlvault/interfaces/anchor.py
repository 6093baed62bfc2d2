"""The protocol of anchors, which store checkpoints of the transparency log outside of the vault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vsqlvault.model.transparency import Checkpoint


class Anchor(Protocol):
    """Keeps checkpoints outside of the vault, and reports the newest one."""

    name: str
    """The name of the anchor, unique among the loaded plugins."""

    interval_seconds: float = 0
    """The longest time between two checkpoints that it keeps; 0: it keeps each one. The control ``anchor_fresh`` allows twice
    that, and at least five minutes."""

    async def newest(self) -> str | None:
        """Return the newest checkpoint kept there, a signed note, unchanged; None if there never was one.

        Called at start, before the vault serves. If this raises then, the vault refuses to start: a restored database could
        go unnoticed. While the vault serves it is called every five minutes, and more often while a checkpoint is missing.
        It has ten seconds.
        """
        ...

    async def larger_than(self, size: int, limit: int) -> Sequence[str]:
        """Return the checkpoints of more than ``size`` leaves kept there, each unchanged; the largest ``limit`` of them.

        Called when an operator confirms a restored database: the row of the confirmation names them, so that a verifier can
        tell this restore from a log that was cut. Default: none. Without them the row names only the newest one. It has ten
        seconds.
        """
        del size, limit
        return ()

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep a checkpoint that is committed.

        Every process calls it for each checkpoint that it signs, and for the newest one that it finds in the storage. It must
        return at once: slow work belongs in a task or a thread of the anchor. Default: no effect.
        """
        del checkpoint

    def supersede(self, note: str) -> None:
        """Accept checkpoints of smaller trees from now on, if ``note`` is the newest stored checkpoint.

        Called after an operator has confirmed a restored database that does not continue this checkpoint. Otherwise an
        anchor never keeps a checkpoint of a smaller tree than the newest one. Default: no effect.
        """
        del note

    def failure(self) -> str | None:
        """Return why the last checkpoint is not kept, in a few words and without secrets; None if it is kept.

        Called for each scrape of the metrics. It must not block. Default: None.
        """
        return None
