"""Removal that waits for its journal."""

from __future__ import annotations

from vsqlvault.interfaces.purge_method import PurgeRequest
from vsqlvault.model.purge import PurgePlan, Remove
from vsqlvault_purge_journal.journal import Journal


class JournalledDelete:
    """The row goes, as by ``physical-delete``, but only while the journal can take its line."""

    name = "journalled-delete"
    retires_id = False

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Remove the row.

        Raises:
            OSError, JournalUnavailable: the journal cannot take a line now; the vault keeps the entry.
        """
        self._journal.require_ready()
        return PurgePlan(Remove(), request.reason)
