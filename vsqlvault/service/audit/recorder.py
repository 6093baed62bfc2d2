"""Making audit rows, and seeing that nothing is answered without one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import TypeVar

from vsqlvault.errors import (
    AccessDenied,
    AuditUnavailable,
    Contended,
    CredentialRefused,
    OutcomeUnknown,
    Overloaded,
    PluginFailed,
    StorageFull,
    StorageUnavailable,
    VaultError,
)
from vsqlvault.interfaces.storage import Snapshot
from vsqlvault.model.access import Allow
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import EntryKey, EntryVersion
from vsqlvault.model.principal import Call, Principal
from vsqlvault.service.access.decisions import AuthorizationResult
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock

log = logging.getLogger(__name__)
Result = TypeVar("Result")

Revalidate = Callable[[Principal, Snapshot], None]
"""Raises CredentialRefused where a read shows that a principal's credential is not good any more."""

OK = 200
CREATED = 201
_MAX_ATTEMPTS = 32
LEAVES_NO_ROW = (StorageUnavailable, AuditUnavailable, OutcomeUnknown, StorageFull, Overloaded)
"""Errors that say that no row could be committed, or that nobody knows."""


class AuditContext:
    """What is learnt about one operation on its way, and the audit row it amounts to.

    ``subject`` names what it is about where that is no entry; it is the row's detail where no other is given.
    """

    def __init__(
        self,
        call: Call,
        operation: Operation,
        key: EntryKey | None = None,
        *,
        purpose: str | None = None,
        subject: str | None = None,
    ) -> None:
        self.call = call
        self.operation = operation
        self.purpose = key.purpose if key else purpose
        self.external_id = key.external_id if key else None
        self.subject = subject
        self.at: datetime | None = None
        self.stamp: EntryVersion | None = None
        self.decided: AuthorizationResult | None = None
        self.revalidate: Revalidate | None = None

    def see(self, snapshot: Snapshot) -> None:
        """Take the time of the operation, and the entry it is about, from what was read.

        Raises:
            CredentialRefused: as what was read shows, the caller's credential is not good any more.
        """
        self.at = snapshot.now
        self.decided = None  # what an earlier attempt decided is not what this one does
        self.stamp = snapshot.entry.stamp if snapshot.entry else None
        if self.revalidate is not None:
            self.revalidate(self.call.principal, snapshot)

    def require(self, decided: AuthorizationResult) -> Allow:
        """Remember the decision, and go on only where it allows.

        Raises:
            AccessDenied: it does not.
            PluginFailed: the evaluator gave none.
        """
        self.decided = decided
        if decided.failed:
            raise PluginFailed
        if isinstance(decided.decision, Allow):
            return decided.decision
        raise AccessDenied

    def granted(
        self, status: int = OK, *, old_value: str | None = None, new_value: str | None = None, detail: str | None = None
    ) -> AccessRecord:
        """Return the row of an operation that succeeded."""
        return self._row(Outcome.GRANTED, status, None, self.at, old_value, new_value, detail)

    def denied(self, error: VaultError, at: datetime, detail: str | None = None) -> AccessRecord:
        """Return the row of an operation that ended in ``error``; ``at`` stands in where nothing was read."""
        reason = self.decided.reason if self.decided else None
        reason = reason or (error.why if type(error) is CredentialRefused else error.reason)
        return self._row(Outcome.DENIED, error.status, reason, self.at or at, None, None, detail)

    def _row(
        self,
        outcome: Outcome,
        status: int,
        reason: str | None,
        at: datetime | None,
        old_value: str | None,
        new_value: str | None,
        detail: str | None,
    ) -> AccessRecord:
        if at is None:
            raise ValueError("a row has a time: see() a snapshot first")
        principal = self.call.principal
        return AccessRecord(
            at=at,
            request_id=self.call.request_id,
            operation=self.operation,
            outcome=outcome,
            status=status,
            purpose=self.purpose,
            external_id=self.external_id,
            stamp=self.stamp,
            app=principal.app,
            identity=principal.identity,
            method=principal.method,
            credential_id=principal.credential_id,
            client_address=self.call.client_address,
            untrusted_forwarding=self.call.untrusted_forwarding,
            reason=reason,
            policy=self.decided.policy if self.decided else None,
            policy_version=self.decided.version if self.decided else None,
            detail=detail or self.subject,
            old_value=old_value,
            new_value=new_value,
        )


class Auditor:
    """Runs operations so that each leaves its row, whatever becomes of it and of whoever asked."""

    def __init__(self, queue: CommitQueue, clock: StorageClock, revalidate: Revalidate | None = None) -> None:
        """``revalidate`` looks at every caller again when their operation has read the storage."""
        self._queue = queue
        self._revalidate = revalidate
        self._clock = clock
        self._running: set[asyncio.Task[object]] = set()

    async def run_audited(self, trace: AuditContext, attempt: Callable[[], Awaitable[Result | None]]) -> Result:
        """Repeat ``attempt`` until it gives a result; None says that what it rested on changed, so decide anew.

        ``attempt`` commits the row of its success itself, with what it changes. An error gets its row here, before the
        caller sees it.
        """
        trace.revalidate = self._revalidate
        try:
            for _ in range(_MAX_ATTEMPTS):
                result = await attempt()
                if result is not None:
                    return result
            raise Contended
        except StorageFull as error:
            if trace.operation is Operation.STORE:
                raise
            raise AuditUnavailable from error  # whoever stores nothing is not told that it is too much
        except VaultError as error:
            await self.refuse(trace, error)
            raise

    async def refuse(self, trace: AuditContext, error: VaultError, detail: str | None = None) -> None:
        """Commit the row of a refusal, unless it has one, or the error is that no row could be written.

        Raises:
            AuditUnavailable: it cannot be committed; this is then the answer, whatever it would have been.
        """
        if error.recorded_for == trace.call.request_id or isinstance(error, LEAVES_NO_ROW):
            return
        await self._queue.record(trace.denied(error, self._clock.now(), detail or error.recorded_detail))
        error.recorded_for = trace.call.request_id

    async def shielded(self, work: Awaitable[Result]) -> Result:
        """Await ``work`` in a task of the vault's own: a caller that is cancelled does not cancel it."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._landed)
        return await asyncio.shield(task)

    async def drain(self) -> None:
        """Return when all shielded work is done."""
        while self._running:
            await asyncio.wait(self._running)

    def _landed(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, VaultError):
            log.debug("shielded work failed", extra={"error": type(error).__name__})
