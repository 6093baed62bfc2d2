"""Observing what was committed: rows of the logs, and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import Checkpoint


class Observer(Protocol):
    """Receives committed rows and checkpoints in batches, in the order of the transparency log.

    Delivery runs beside the requests, in one process of those that share a storage. It is never on the path of an answer.
    The vault stores how far each observer has come, and goes on there after a restart. A method that raises, or takes more
    than 30 seconds, gets the same batch again after five seconds: each record is delivered at least once.

    A method that is not overridden is not called, and nothing is read for it.
    """

    name: str
    """Unique among the plugins loaded. The stored position is kept under it: with another name, delivery starts over."""

    from_start: bool = False
    """Whether the first delivery begins with the oldest row. Default: with the rows committed after the vault was first
    opened with this observer."""

    async def access(self, records: Sequence[AccessRecord]) -> None:
        """Process rows of the access log, at most 256."""
        del records

    async def purges(self, records: Sequence[PurgeRecord]) -> None:
        """Process rows of the purge log, at most 256."""
        del records

    async def checkpoints(self, records: Sequence[Checkpoint]) -> None:
        """Process signed checkpoints of the transparency log, the oldest first, at most 256."""
        del records
