"""Makes the audit rows of operations, and ensures that each operation leaves one before its answer."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import ParamSpec, TypeVar

from vsqlvault.errors import (
    AuditUnavailable,
    Contended,
    CredentialRefused,
    OutcomeUnknown,
    Overloaded,
    StorageFull,
    StorageUnavailable,
    VaultError,
)
from vsqlvault.interfaces.storage import Snapshot
from vsqlvault.interfaces.writes import Change, Write
from vsqlvault.model.access import AuthorizationResult
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import EntryKey, EntryVersion
from vsqlvault.model.principal import Call, Principal
from vsqlvault.service.commit.fair_queue import FairQueue
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock

log = logging.getLogger(__name__)
Result = TypeVar("Result")
P = ParamSpec("P")

Revalidate = Callable[[Principal, Snapshot], None]
"""Raises CredentialRefused where a read shows that a principal's credential is no longer valid."""

OK = 200
CREATED = 201
NOT_MODIFIED = 304
_MAX_ATTEMPTS = 32
CANCELLED_SECONDS = 1.0
TRACED = frozenset({
    Operation.STORE, Operation.UPDATE, Operation.RETRIEVE, Operation.INSPECT, Operation.LIST, Operation.PURGE,
})  # fmt: skip
"""The operations whose rows keep the trace context. The details of others are names, which a replay of the log reads.

These operations on entries also share the vault between apps.
"""

LEAVES_NO_ROW = (StorageUnavailable, AuditUnavailable, OutcomeUnknown, StorageFull, Overloaded)
"""Errors after which no row can be committed, or after which it is unknown whether one was."""


class AuditContext:
    """The facts about one operation that its audit row records.

    ``subject`` names the object of an operation that is not about an entry; it is the row's detail where no other is given.
    ``detail`` is the detail of a refusal.
    """

    __slots__ = (
        "at", "call", "decided", "detail", "external_id", "operation", "purpose", "revalidate", "stamp", "subject"
    )  # fmt: skip

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
        self.detail: str | None = None
        self.revalidate: Revalidate | None = None

    def observe(self, snapshot: Snapshot) -> None:
        """Take the operation's time and its entry's version from a read. A decision of an earlier attempt is dropped.

        Raises:
            CredentialRefused: the read shows that the caller's credential is no longer valid.
        """
        self.at = snapshot.now
        self.decided = self.detail = None
        entry = snapshot.entry
        self.stamp = None if entry is None else entry.stamp
        if self.revalidate is not None:
            self.revalidate(self.call.principal, snapshot)

    def granted(
        self, status: int = OK, *, old_value: str | None = None, new_value: str | None = None, detail: str | None = None
    ) -> AccessRecord:
        """Return the row of an operation that succeeded."""
        return self._row(Outcome.GRANTED, status, None, self.at, old_value, new_value, detail)

    def denied(self, error: VaultError, at: datetime, detail: str | None = None) -> AccessRecord:
        """Return the row of an operation that ended in ``error``; ``at`` is its time where nothing was read."""
        reason = self.decided.reason if self.decided else None
        reason = reason or (error.why if type(error) is CredentialRefused else error.reason)
        detail = detail or self.detail or error.audit_detail
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
            raise ValueError("a row has a time: observe() a snapshot first")
        principal = self.call.principal
        detail = detail or self.subject
        if self.call.traceparent is not None and self.operation in TRACED:
            traced = f"traceparent {self.call.traceparent}"  # before a statement about the entry, which ends the detail
            detail = f"{traced}, {detail}" if detail else traced
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
            detail=detail,
            old_value=old_value,
            new_value=new_value,
            role=principal.audited_role if principal.roles else None,
        )


class Auditor:
    """Runs operations so that each one leaves its audit row, also when it fails or its caller disconnects."""

    def __init__(
        self,
        queue: CommitQueue,
        clock: StorageClock,
        revalidate: Revalidate | None = None,
        fair_queue: FairQueue | None = None,
    ) -> None:
        """``revalidate`` checks each caller's credential again after the operation has read the storage.

        ``fair_queue`` decides which operations on entries run at once; by default all of them.
        """
        self._queue = queue
        self._fair_queue = fair_queue
        self._revalidate = revalidate
        self._clock = clock
        self._running: set[asyncio.Task[object]] = set()

    async def run_audited(
        self, context: AuditContext, attempt: Callable[P, Awaitable[Result | None]], *args: P.args, **kwargs: P.kwargs
    ) -> Result:
        """Call ``attempt`` until it returns a result. None means that a concurrent change invalidated its decision.

        ``attempt`` commits the row of its success itself, together with its changes. The row of an error is committed here,
        before the error is raised. An operation on an entry runs when the fair queue lets its app run one.

        Raises:
            Overloaded: too many requests of the caller's app wait.
        """
        context.revalidate = self._revalidate
        fair_queue = self._fair_queue if context.operation in TRACED else None
        app = context.call.principal.app
        if fair_queue is not None and (turn := fair_queue.enter(app)) is not None:
            await fair_queue.wait(app, turn)
        try:
            for _ in range(_MAX_ATTEMPTS):
                result = await attempt(*args, **kwargs)
                if result is not None:
                    return result
            raise Contended
        except StorageFull as error:
            if context.operation in {Operation.STORE, Operation.UPDATE}:
                raise
            raise AuditUnavailable from error  # the caller stores nothing, so the storage's size is not its problem
        except VaultError as error:
            await self.refuse(context, error)
            raise
        finally:
            if fair_queue is not None:
                fair_queue.leave(app)

    async def refuse_in_turn(self, context: AuditContext, error: VaultError, detail: str | None = None) -> None:
        """As ``refuse``, for a request that is refused before ``run_audited``, when the fair queue lets it run.

        Raises:
            AuditUnavailable: as ``refuse``.
            Overloaded: too many requests of the caller's app wait.
        """
        fair_queue, app = self._fair_queue, context.call.principal.app
        if fair_queue is None or isinstance(error, LEAVES_NO_ROW):
            await self.refuse(context, error, detail)
            return
        if (turn := fair_queue.enter(app)) is not None:
            await fair_queue.wait(app, turn)
        try:
            await self.refuse(context, error, detail)
        finally:
            fair_queue.leave(app)

    async def refuse(
        self,
        context: AuditContext,
        error: VaultError,
        detail: str | None = None,
        *,
        at: datetime | None = None,
        changes: tuple[Change, ...] = (),
    ) -> None:
        """Commit the row of a refusal, with ``changes``, unless the call has that row or no row could be committed.

        Every refusal of an operation passes here, so no request gets two rows for one error.

        Raises:
            AuditUnavailable: the row cannot be committed; then this is the answer instead of ``error``.
        """
        call = context.call
        if not changes and (call.refusal is error or isinstance(error, LEAVES_NO_ROW)):
            return
        await self._queue.commit(Write((context.denied(error, at or self._clock.now(), detail),), changes=changes))
        call.refusal = error

    async def shielded(self, work: Awaitable[Result]) -> Result:
        """Await ``work`` in a task of the vault's own, which a cancelled caller does not cancel."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._finished)
        return await asyncio.shield(task)

    async def drain(self, within_seconds: float | None = None) -> None:
        """Return when all shielded work is done. What is not done in time is cancelled, and then waited for briefly."""
        ends_at = None if within_seconds is None else time.monotonic() + within_seconds
        while self._running:
            left = None if ends_at is None else ends_at - time.monotonic()
            if left is not None and left <= 0:
                log.error("work in progress did not end in time: it is cancelled", extra={"count": len(self._running)})
                for task in self._running:
                    task.cancel()
                await asyncio.wait(self._running, timeout=CANCELLED_SECONDS)
                return
            await asyncio.wait(self._running, timeout=left)

    def _finished(self, task: asyncio.Task[object]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) and not isinstance(error, VaultError):
            log.debug("shielded work failed", extra={"error": type(error).__name__})
