"""Audits rejected credentials: the first of a source at once, then one row a second with a count."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

from vsqlvault.errors import CredentialInUrl, CredentialRefused, RateLimited, VaultError
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.tasks import PeriodicTask

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0
MAX_SOURCES = 1_024

Source = tuple[str | None, str | None, str, bool]


@dataclass(slots=True)
class _PendingCount:
    record: AccessRecord
    count: int = 0


class AuthFailureLog:
    """Limits the number of rows of rejected credentials, without losing any from the count.

    A source is an address, a credential id, a reason, and whether forwarding headers were untrusted. Beyond
    ``MAX_SOURCES`` in one second, sources are counted together by reason.
    """

    def __init__(
        self,
        queue: CommitQueue,
        clock: StorageClock,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        max_sources: int = MAX_SOURCES,
    ) -> None:
        self._queue = queue
        self._clock = clock
        self._held: dict[Source, _PendingCount] = {}
        self._max_sources = max_sources
        self._flushing = asyncio.Lock()
        self.task = PeriodicTask("authentication failures", self.flush, interval_seconds)
        """Commits the counts once a second."""

    async def record(
        self, error: VaultError, request_id: str, client_address: str | None, *, untrusted_forwarding: bool = False
    ) -> None:
        """Audit the rejection: the first of its source in a second is committed on return, others are counted.

        Raises:
            AuditUnavailable: the first row cannot be committed.
        """
        why = error.why if type(error) is CredentialRefused else error.reason
        has_id = (CredentialRefused, CredentialInUrl, RateLimited)
        credential_id = error.credential_id if isinstance(error, has_id) else None
        source: Source = (client_address, credential_id, why, untrusted_forwarding)
        if len(self._held) >= self._max_sources and source not in self._held:
            source = (None, None, why, False)
        record = AccessRecord(
            at=self._clock.now(),
            request_id=request_id,
            operation=Operation.AUTHENTICATE,
            outcome=Outcome.DENIED,
            status=error.status,
            credential_id=source[1],
            client_address=source[0],
            untrusted_forwarding=source[3],
            reason=why,
        )
        if held := self._held.get(source):
            held.record = record
            held.count += 1
            return
        self._held[source] = _PendingCount(record)
        try:
            await self._queue.record(record)
        except VaultError:
            held = self._held.get(source)
            if held and not held.count:  # requests counted meanwhile were answered and still need a row
                del self._held[source]
            raise

    async def flush(self) -> None:
        """Commit the counts. Counts that cannot be committed now are kept."""
        async with self._flushing:
            for source, held in list(self._held.items()):
                if held.count:
                    await self._commit(held)
                else:
                    del self._held[source]

    async def _commit(self, held: _PendingCount) -> None:
        count, held.count = held.count, 0
        try:
            await self._queue.record(replace(held.record, count=count))
        except VaultError:
            held.count += count
            log.warning("rejected credentials wait for their row", extra={"count": held.count})
