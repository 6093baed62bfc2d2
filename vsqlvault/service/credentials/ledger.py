"""Records which credentials a start or reload adds, removes or changes."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from vsqlvault.errors import VaultError
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.times import format_time, from_micros, to_micros
from vsqlvault.proof.credential_replay import Inventory, inventory_of, inventory_text, loaded_inventory
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.audit.rule_documents import as_json
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.credentials.inventory import Credentials
from vsqlvault.service.tasks import Lease, PeriodicTask

log = logging.getLogger(__name__)
RECORD = "credential record"
"""The name of a lease, of a random secret and of a cursor.

The position of the cursor is the time of the newest row ``credentials-loaded``, in microseconds.
"""
LEASE_SECONDS = 30.0
WAIT_SECONDS = 0.1
WAITS = 50
RETRY_SECONDS = 5.0
FINGERPRINT_DIGITS = 16
STORED = "storage"
"""The source of credentials that are not recorded here: each has its row where it is created or revoked."""


class CredentialLedger:
    """Compares the credentials of the settings with those that the last start or reload recorded (PCI DSS 4.0.1, 10.2.1.5).

    Each difference is a row with roles and credential id. No row has a secret: a fingerprint, keyed by the storage, shows
    that a secret under the same name has changed.
    """

    def __init__(
        self, *, storage: Storage, queue: CommitQueue, credentials: Credentials, retry_seconds: float = RETRY_SECONDS
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._credentials = credentials
        self._is_due = False
        self._waits = WAITS
        self._one_at_a_time = asyncio.Lock()
        self.task = PeriodicTask("credential record", self._retry, retry_seconds)
        """Records what could not be recorded at once."""

    async def record(self) -> None:
        """Record the differences now, or later if the storage does not take them now."""
        self._is_due = True
        try:
            await self._retry()
        except VaultError as error:
            log.error("changed credentials wait for their rows", extra={"error": error.slug})  # noqa: TRY400

    async def _retry(self) -> None:
        async with self._one_at_a_time:
            if not self._is_due:
                return
            lease = Lease(self._storage, RECORD, LEASE_SECONDS)
            for _ in range(self._waits):
                if await lease.acquire():
                    break
                await asyncio.sleep(WAIT_SECONDS)
            else:
                return
            try:
                await self._compare()
                self._is_due = False
            finally:
                await lease.release()

    async def _compare(self) -> None:
        before = await self._recorded()
        key = await self._storage.secret(RECORD)
        listed = (each for each in self._credentials.known() if each.source != STORED)
        after = inventory_of(_document(each, key) for each in listed)
        if before is not None and before == after:
            return
        now = (await self._queue.read()).now
        await self._queue.record(*_rows(before or {}, after, now))
        await self._storage.save_cursor(RECORD, to_micros(now))

    async def _recorded(self) -> Inventory | None:
        """Return the credentials that the last start or reload recorded. None: none has."""
        micros = (await self._storage.cursors()).get(RECORD)
        if micros is None:
            return None
        at = from_micros(micros)
        query = LogQuery(
            limit=1,
            since=at,
            until=at + timedelta(microseconds=1),
            equals={"operation": Operation.CREDENTIALS_LOADED.value},
        )
        rows = await self._storage.access_log(query)
        return loaded_inventory(rows[0].record.new_value) if rows else {}


def _rows(before: Inventory, after: Inventory, now: datetime) -> Sequence[AccessRecord]:
    added, removed = sorted(after.keys() - before.keys()), sorted(before.keys() - after.keys())
    changed = [name for name in sorted(after.keys() & before.keys()) if after[name] != before[name]]
    rows = [_row(Operation.CREDENTIAL_ADDED, now, None, after[name]) for name in added]
    rows += [_row(Operation.CREDENTIAL_CHANGED, now, before[name], after[name]) for name in changed]
    rows += [_row(Operation.CREDENTIAL_REMOVED, now, before[name], None) for name in removed]
    context = _context(Operation.CREDENTIALS_LOADED, now)
    counts = f"{len(after)} credentials: {len(added)} added, {len(changed)} changed, {len(removed)} removed"
    return [*rows, context.granted(new_value=inventory_text(before, after), detail=counts)]


def _row(operation: Operation, now: datetime, before: Any, after: Any) -> AccessRecord:
    old, new = (None if each is None else as_json(each) for each in (before, after))
    return _context(operation, now).granted(
        old_value=old, new_value=new, detail=str((after or before)["credential_id"])
    )


def _context(operation: Operation, now: datetime) -> AuditContext:
    context = AuditContext(Call(SYSTEM, secrets.token_hex(16)), operation)
    context.at = now
    return context


def _document(credential: KnownCredential, key: bytes) -> dict[str, Any]:
    """Return what a credential grants as JSON types; not the secret."""
    mark = credential.fingerprint
    return {
        "method": credential.method,
        "credential_id": credential.credential_id,
        "app": credential.app,
        "identity": credential.identity,
        "purposes": ["*"] if credential.purposes is None else sorted(credential.purposes),
        "roles": sorted(role.value for role in credential.roles),
        "source": credential.source,
        "expires_at": format_time(credential.expires_at) if credential.expires_at else None,
        "fingerprint": hmac.new(key, mark.encode(), hashlib.sha256).hexdigest()[:FINGERPRINT_DIGITS] if mark else None,
    }
