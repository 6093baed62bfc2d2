"""A place outside the vault where checkpoints of the transparency log are kept."""

from __future__ import annotations

from typing import Protocol


class Anchor(Protocol):
    """Knows the newest checkpoint that got out. What puts it there is the hook ``vault_checkpoint_signed``.

    One that takes checkpoints only every so often may say in ``interval_seconds`` how often.
    """

    name: str
    """Unique among the plugins loaded."""

    async def newest(self) -> str | None:
        """Return the newest checkpoint kept there, a signed note, as it was told; None where there never was one.

        Asked at start, before anything is served. Where it cannot tell then, it raises, and the vault does not start: a
        database that was put back must not be served because nobody could say so. While the vault serves it is asked every
        five minutes, and more often while what it said last lacks something, for whoever watches over the controls.
        """
        ...

    def failure(self) -> str | None:
        """Return why the last checkpoint it tried to keep is not kept, in a few words, no secrets; None where nothing is amiss.

        Asked for each scrape of the metrics.
        """
        ...
