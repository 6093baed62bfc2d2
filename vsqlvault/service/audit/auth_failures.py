"""Rows for refused credentials: the first of a source at once, then one a second with a count."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass, replace

from vsqlvault.errors import CredentialInUrl, CredentialRefused, RateLimited, VaultError
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock

log = logging.getLogger(__name__)
INTERVAL_SECONDS = 1.0
MAX_SOURCES = 1_024

Source = tuple[str | None, str | None, str, bool]


@dataclass(slots=True)
class _PendingCount:
    record: AccessRecord
    count: int = 0


class AuthFailureLog:
    """Keeps a flood of bad credentials from becoming a flood of rows, without losing a single one from the count.

    A source is an address, a credential id, a reason, and whether it spoke for somebody else. Beyond ``MAX_SOURCES`` in one
    second, sources are counted together under their reason alone.
    """

    def __init__(self, queue: CommitQueue, clock: StorageClock) -> None:
        self._queue = queue
        self._clock = clock
        self._held: dict[Source, _PendingCount] = {}
        self._flusher: asyncio.Task[None] | None = None
        self._closing = asyncio.Event()

    async def record(
        self, error: VaultError, request_id: str, client_address: str | None, *, untrusted_forwarding: bool = False
    ) -> None:
        """Put the refusal on record: committed on return if it is its source's first in a second, else counted.

        Raises:
            AuditUnavailable: the first row cannot be committed.
        """
        why = error.why if type(error) is CredentialRefused else error.reason
        has_id = (CredentialRefused, CredentialInUrl, RateLimited)
        credential_id = error.credential_id if isinstance(error, has_id) else None
        source: Source = (client_address, credential_id, why, untrusted_forwarding)
        if len(self._held) >= MAX_SOURCES and source not in self._held:
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
        self._start_flusher()
        try:
            await self._queue.record(record)
        except VaultError:
            held = self._held.get(source)
            if held and not held.count:  # whoever was counted meanwhile was answered, and is still owed a row
                del self._held[source]
            raise

    async def flush(self) -> None:
        """Commit what is counted; what cannot be committed now is kept for the next time."""
        for source, held in list(self._held.items()):
            if not held.count:
                del self._held[source]
                continue
            count, held.count = held.count, 0
            try:
                await self._queue.record(replace(held.record, count=count))
            except VaultError:
                held.count += count
                log.warning("refused credentials wait for their row", extra={"count": held.count})

    async def close(self) -> None:
        """Commit what is still counted, and stop."""
        self._closing.set()
        if self._flusher:
            await self._flusher
        await self.flush()

    def _start_flusher(self) -> None:
        if self._flusher is None or self._flusher.done():
            self._flusher = asyncio.get_running_loop().create_task(self._flush_while_held())

    async def _flush_while_held(self) -> None:
        while self._held and not self._closing.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._closing.wait(), INTERVAL_SECONDS)
            await self.flush()
