"""A place outside the vault where checkpoints of the transparency log are kept."""

from __future__ import annotations

from typing import Protocol


class Anchor(Protocol):
    """Knows the newest checkpoint that got out. What puts it there is the hook ``vault_checkpoint_signed``."""

    name: str
    """Unique among the plugins loaded."""

    async def newest(self) -> str | None:
        """Return the newest checkpoint kept there, a signed note, as it was told; None where there never was one.

        Asked once at start, before anything is served. Where it cannot tell, it raises, and the vault does not start: a
        database that was put back must not be served because nobody could say so.
        """
        ...
