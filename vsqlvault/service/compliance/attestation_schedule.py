"""Since when the vault has had anything on record, and so when its next attestation is due."""

from __future__ import annotations

from datetime import datetime, timedelta

from vsqlvault.interfaces.storage import LogQuery, Storage


class AttestationSchedule:
    """Knows the time of the first row that there ever was: it is read once, for it does not change."""

    def __init__(self, storage: Storage, attestation_interval_days: int) -> None:
        """With 0 days no attestation is ever due."""
        self._storage = storage
        self._at: datetime | None = None
        self.interval = timedelta(days=attestation_interval_days)
        self.due_at: datetime | None = None
        """When the next attestation was last found to be due."""

    async def at(self, now: datetime) -> datetime:
        """Return it; ``now`` where there is no row yet."""
        if self._at is None:
            rows = await self._storage.access_log(LogQuery(limit=1, oldest_first=True))
            self._at = rows[0].record.at if rows else None
        return self._at or now

    async def attestation_due_at(self, now: datetime) -> datetime | None:
        """Return when the next attestation is due: an interval after the last one, or else after the first row."""
        if not self.interval:
            return None
        newest = await self._storage.attestations(None, 1)
        self.due_at = (newest[0].at if newest else await self.at(now)) + self.interval
        return self.due_at
