"""The purge method that needs the journal."""

from __future__ import annotations

from vsqlvault.interfaces.purge_method import PurgeRequest
from vsqlvault.model.purge import PurgePlan, Remove
from vsqlvault_purge_journal.journal import Journal


class JournalledDelete:
    """Deletes the row like ``physical-delete``, but only while the journal can accept its line."""

    name = "journalled-delete"
    retires_id = False

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def plan(self, request: PurgeRequest) -> PurgePlan:
        """Return a plan that deletes the row.

        Raises:
            OSError, JournalUnavailable: the journal cannot accept a line now; the vault keeps the entry.
        """
        self._journal.require_ready()
        return PurgePlan(Remove(), request.reason)
