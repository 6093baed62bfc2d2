"""The protocol of anchors, which store checkpoints of the transparency log outside of the vault."""

from __future__ import annotations

from typing import Protocol


class Anchor(Protocol):
    """Reports the newest checkpoint kept outside. The hook ``vault_checkpoint_signed`` brings it there, in every process."""

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

    def supersede(self, note: str) -> None:
        """Accept checkpoints of smaller trees from now on, if ``note`` is the newest stored checkpoint.

        Called after an operator has confirmed a restored database that does not continue this checkpoint. Otherwise an
        anchor never keeps a checkpoint of a smaller tree than the newest one. Default: no effect.
        """

    def failure(self) -> str | None:
        """Return why the last checkpoint is not kept, in a few words and without secrets; None if it is kept.

        Called for each scrape of the metrics. It must not block. Default: None.
        """
        return None
