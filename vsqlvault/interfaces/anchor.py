"""The protocol of anchors, which store checkpoints of the transparency log outside of the vault."""

from __future__ import annotations

from typing import Protocol


class Anchor(Protocol):
    """Reads the newest stored checkpoint. The hook ``vault_checkpoint_signed`` stores it.

    An anchor that does not store every checkpoint may define ``interval_seconds``, the time between two of them.
    """

    name: str
    """The name of the anchor, unique among the loaded plugins."""

    async def newest(self) -> str | None:
        """Return the newest stored checkpoint, a signed note, unchanged, or None if there is none.

        Called at start, before anything is served. If this raises, the vault refuses to start: a restored database
        could go unnoticed. While the vault serves, the controls call it every five minutes, and more often while a
        checkpoint is missing.
        """
        ...

    def failure(self) -> str | None:
        """Return in a few words, without secrets, why the last checkpoint is not stored, or None if there is no
        failure.

        Called for each scrape of the metrics.
        """
        ...
