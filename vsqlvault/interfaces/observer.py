"""Observing what was committed: rows of the logs, and checkpoints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.transparency import Checkpoint


class Observer(Protocol):
    """Receives committed rows and checkpoints in batches, in the order of the transparency log.

    Delivery runs in the background, in one of the processes that share a storage. Responses never wait for it.
    The vault stores the position of each observer, and continues there after a restart. A method that raises an exception or
    takes more than 30 seconds receives the same batch again after five seconds. Each record is delivered at least once.

    The vault does not call a method that is not overridden, and reads no rows for it.
    """

    name: str
    """Unique among the plugins loaded. The vault stores the position under this name; a new name starts delivery again."""

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
