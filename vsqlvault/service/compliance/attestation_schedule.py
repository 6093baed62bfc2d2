"""When the next attestation is due."""

from __future__ import annotations

from datetime import datetime, timedelta

from vsqlvault.interfaces.storage import LogQuery, Storage


class AttestationSchedule:
    """Caches the time of the first audit row, from which the first attestation is due. It never changes."""

    def __init__(self, storage: Storage, attestation_interval_days: int) -> None:
        """With 0 days no attestation is ever due."""
        self._storage = storage
        self._at: datetime | None = None
        self.interval = timedelta(days=attestation_interval_days)
        self.due_at: datetime | None = None
        """When the next attestation was last computed to be due."""

    async def at(self, now: datetime) -> datetime:
        """Return the time of the first row, or ``now`` where there is none yet."""
        if self._at is None:
            rows = await self._storage.access_log(LogQuery(limit=1, oldest_first=True))
            self._at = rows[0].record.at if rows else None
        return self._at or now

    async def attestation_due_at(self, now: datetime) -> datetime | None:
        """Return when the next attestation is due: one interval after the last attestation, or after the first row."""
        if not self.interval:
            return None
        newest = await self._storage.attestations(None, 1)
        self.due_at = (newest[0].at if newest else await self.at(now)) + self.interval
        return self.due_at
