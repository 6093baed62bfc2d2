"""Keeps checkpoints in memory. A real anchor keeps them where the vault's operators cannot change them."""

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.model.transparency import Checkpoint


class ExampleAnchor(Anchor):
    """Keeps the newest checkpoint."""

    name = "example"

    def __init__(self) -> None:
        self._newest: str | None = None

    def keep(self, checkpoint: Checkpoint) -> None:
        """Keep the note."""
        self._newest = checkpoint.note

    async def newest(self) -> str | None:
        """Return the note that was kept last."""
        return self._newest


@hookimpl
def vault_anchors() -> list[Anchor]:
    """Offer the anchor."""
    return [ExampleAnchor()]
