"""Records that a server started, stopped or read its settings again, and what it loaded."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any

from vsqlvault import __version__
from vsqlvault.errors import VaultError
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.principal import SYSTEM
from vsqlvault.model.times import format_time, from_micros, to_micros
from vsqlvault.service.audit.rule_documents import as_json
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.credentials.ledger import CredentialLedger
from vsqlvault.service.tasks import PeriodicTask

log = logging.getLogger(__name__)
SCHEMA_CURSOR = "schema version"
"""The cursor whose position is the version of the schema of the newest row ``schema-migrated``."""
SERVER_CURSOR = "server "
"""Begins the cursor of one server. Its position is twice the time of the last start, in microseconds, and 1 more once
that start's stop is recorded."""
RETRY_SECONDS = 5.0
STOP_SECONDS = 5.0
REFUSED = 422


class ProcessLog:
    """Rows of the life of this process (PCI DSS 4.0.1, 10.2.1.6).

    A server that is killed records no stop. Its next start, on the same host and address, does.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        ledger: CredentialLedger,
        plugins: Sequence[PluginOrigin],
        retry_seconds: float = RETRY_SECONDS,
        stop_seconds: float = STOP_SECONDS,
    ) -> None:
        """``stop_seconds``: how long a stop waits for its row."""
        self._storage = storage
        self._queue = queue
        self._ledger = ledger
        self._plugins = plugins
        self._stop_seconds = stop_seconds
        self._waiting: list[AccessRecord] = []
        self.task = PeriodicTask("process log", self.flush, retry_seconds)
        """Commits rows that could not be committed at once."""

    @asynccontextmanager
    async def running(self, server: str | None, worker: int = 0) -> AsyncIterator[None]:
        """Record the start, and at the end of the block the stop.

        ``server`` names the host and address; None: an unclean stop of this server is not noticed. Raises Unavailable.
        """
        started_at = await self._start(server, worker)
        ending = "stopped"
        try:
            yield
        except BaseException as error:
            ending = f"stopped by {type(error).__name__}"
            raise
        finally:
            await self._stop(server, worker, started_at, ending)

    async def reloaded(self, keys: Sequence[str]) -> None:
        """Record that the settings were read again, and which keys have other values; then the credentials."""
        await self._add(Operation.SETTINGS_RELOADED, new_value=as_json({"changed": list(keys)}), detail=_said(keys))
        await self._ledger.record()

    async def reload_refused(self, error: BaseException) -> None:
        """Record that new settings were refused; those in force stay."""
        reason = error.slug if isinstance(error, VaultError) else type(error).__name__
        await self._add(Operation.SETTINGS_RELOADED, outcome=Outcome.DENIED, status=REFUSED, reason=reason)

    async def flush(self) -> None:
        """Commit the rows that wait. Raises Unavailable."""
        rows, self._waiting = self._waiting, []
        try:
            if rows:
                await self._queue.record(*rows)
        except VaultError:
            self._waiting = rows + self._waiting
            raise

    async def _add(self, operation: Operation, **members: Any) -> None:
        self._waiting.append(_row(operation, (await self._now()), **members))
        try:
            await self.flush()
        except VaultError as error:
            log.error("rows of this process wait for the storage", extra={"error": error.slug})  # noqa: TRY400

    async def _now(self) -> datetime:
        return (await self._queue.read()).now

    async def _start(self, server: str | None, worker: int) -> datetime:
        now, cursors = await self._now(), await self._storage.cursors()
        rows = [*_schema_row(now, cursors.get(SCHEMA_CURSOR, 0), self._schema_version())]
        rows += _unclean_row(now, server, worker, cursors.get(_cursor(server, worker)))
        plugins = [
            {"name": each.name, "distribution": each.distribution, "version": each.version} for each in self._plugins
        ]
        loaded = as_json({"plugins": sorted(plugins, key=lambda each: each["name"])})
        rows += [
            _row(Operation.PLUGINS_LOADED, now, new_value=loaded, detail=f"{len(plugins)} plugins"),
            _row(Operation.SERVER_STARTED, now, detail=f"{_named(server, worker)}, version {__version__}"),
        ]
        await self._queue.record(*rows)
        if server is not None:
            await self._storage.save_cursor(_cursor(server, worker), to_micros(now) * 2)
        await self._storage.save_cursor(SCHEMA_CURSOR, self._schema_version())
        await self._ledger.record()
        return now

    async def _stop(self, server: str | None, worker: int, started_at: datetime, ending: str) -> None:
        detail = f"{_named(server, worker)}, {ending}"
        try:
            async with asyncio.timeout(self._stop_seconds):
                await self._queue.record(_row(Operation.SERVER_STOPPED, await self._now(), detail=detail))
                if server is not None:
                    await self._storage.save_cursor(_cursor(server, worker), to_micros(started_at) * 2 + 1)
        except (VaultError, TimeoutError) as error:
            facts = {"error": error.slug if isinstance(error, VaultError) else "late"}
            log.error("the stop has no row: the next start will have it", extra=facts)  # noqa: TRY400

    def _schema_version(self) -> int:
        version = self._storage.describe().get("schema_version", 0)
        return version if isinstance(version, int) else 0


def _schema_row(now: datetime, before: int, after: int) -> list[AccessRecord]:
    if after <= before:
        return []
    versions = as_json({"before": before, "after": after})
    detail = f"version {after}, after {before}" if before else f"version {after}"
    return [_row(Operation.SCHEMA_MIGRATED, now, new_value=versions, detail=detail)]


def _unclean_row(now: datetime, server: str | None, worker: int, position: int | None) -> list[AccessRecord]:
    if server is None or position is None or position % 2:
        return []
    began = format_time(from_micros(position // 2))
    detail = f"{_named(server, worker)}, unclean: no stop was recorded after the start at {began}"
    return [
        _row(Operation.SERVER_STOPPED, now, new_value=as_json({"unclean": True, "started_at": began}), detail=detail)
    ]


def _cursor(server: str | None, worker: int) -> str:
    return f"{SERVER_CURSOR}{server} {worker}"


def _named(server: str | None, worker: int) -> str:
    return f"{server or 'application'}, worker {worker}"


def _said(keys: Sequence[str]) -> str:
    return ", ".join(keys) if keys else "no setting has another value"


def _row(
    operation: Operation,
    at: datetime,
    *,
    outcome: Outcome = Outcome.GRANTED,
    status: int = 200,
    reason: str | None = None,
    detail: str | None = None,
    new_value: str | None = None,
) -> AccessRecord:
    return AccessRecord(
        at=at,
        request_id=secrets.token_hex(16),
        operation=operation,
        outcome=outcome,
        status=status,
        app=SYSTEM.app,
        method=SYSTEM.method,
        credential_id=SYSTEM.credential_id,
        role=SYSTEM.audited_role,
        reason=reason,
        detail=detail,
        new_value=new_value,
    )
