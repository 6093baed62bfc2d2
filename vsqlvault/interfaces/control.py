"""A control that a plugin adds: a continuous check of something the vault's compliance depends on."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from vsqlvault.model.control import Check


class VaultControl(Protocol):
    """One control. It is shown, measured and recorded like the built-in ones (docs/evidence.md)."""

    name: str
    """Lower-case words with underscores, such as ``keys_fresh``; unique among all controls. It labels metrics."""

    requirements: tuple[str, ...] = ()
    """Requirements it serves: ids of ``vsqlvault.model.pci_dss``."""

    async def check(self, now: datetime) -> Check:
        """Return how the control stands. ``now`` is the storage's clock.

        Every process calls it twice a minute. It has five seconds and must not block the event loop. If it raises or is
        late, the control is failing.
        """
        ...
