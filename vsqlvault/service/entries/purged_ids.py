"""The entries that were purged, so that an import does not bring one back."""

from __future__ import annotations

from datetime import datetime

from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.purge.purger import REPLACE

PAGE = 1_000


class PurgedIds:
    """Remembers when each entry of the purge log was last purged. A replaced version is no purge of its entry.

    It needs about 250 bytes of memory for each row of the purge log.
    """

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        self._after: int | None = None
        self._purged_at: dict[EntryKey, datetime] = {}

    async def read_on(self) -> None:
        """Read the rows that were added since the last call. Raises StorageUnavailable."""
        while True:
            rows = await self._storage.purge_log(LogQuery(limit=PAGE, after=self._after, oldest_first=True))
            for row in rows:
                self._after = row.position
                if row.record.method != REPLACE:
                    key = EntryKey(row.record.purpose, row.record.external_id)
                    self._purged_at[key] = row.record.purged_at
            if len(rows) < PAGE:
                return

    def has(self, key: EntryKey, since: datetime) -> bool:
        """Whether the entry was purged after ``since``."""
        at = self._purged_at.get(key)
        return at is not None and at > since
