"""Removal that waits for its journal."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from vsqlvault.interfaces.purge_method import PurgeMethod, PurgeRequest
from vsqlvault.model.purge import PurgePlan, PurgeRecord, Remove
from vsqlvault_purge_journal.journal import Journal


class JournalledDelete(PurgeMethod):
    """Deletes the row like ``physical-delete``, but only while the journal can accept its line."""

    name = "journalled-delete"
    retires_id = False

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Remove the row.

        Raises:
            JournalUnavailable: the journal cannot accept a line now; the vault keeps the entry.
        """
        self._journal.require_ready()
        return PurgePlan(Remove(), request.reason)

    async def purged(self, records: Sequence[PurgeRecord]) -> None:
        """Write their lines, in a thread.

        Raises:
            OSError, JournalUnavailable: the vault delivers the records again.
        """
        await asyncio.to_thread(self._journal.append, records)
