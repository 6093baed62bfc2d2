"""Serves a vault: the server, the application on it, and what a signal changes."""

from __future__ import annotations

import asyncio
import gc
import logging
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

from vsqlvault.config import Settings
from vsqlvault.config.changes import changed_keys
from vsqlvault.errors import VaultError
from vsqlvault.http.application import Application
from vsqlvault.http.fast_path import FastPath
from vsqlvault.http.forwarding import Forwarding, Proxies
from vsqlvault.http.plain_asgi import PlainAsgi
from vsqlvault.http.problems import protocol_problem
from vsqlvault.http.server.server import Server
from vsqlvault.http.server.signals import Signals
from vsqlvault.http.server.state import Counts, Limits
from vsqlvault.http.server.tls import Loaded, Tls
from vsqlvault.service.vault import Vault

if TYPE_CHECKING:
    from vsqlvault.http.metrics.workers import Share

log = logging.getLogger(__name__)
COLLECT_AFTER = 10_000
"""The number of new objects after which the garbage collector runs on the young generation; Python's default is 700.

A multiple of this does not make requests faster, and uses 3 MB more.
"""


async def serve(
    settings: Settings,
    vault: Vault,
    listener: socket.socket,
    load: Callable[[], Settings],
    signals: Signals,
    *,
    ready: Callable[[], Awaitable[None]],
    forwarding: Forwarding,
    tls: Tls | None = None,
    share: Share | None = None,
) -> None:
    """Serve the vault until SIGTERM or SIGINT, then drain and finish requests in flight within their limits.

    SIGHUP reloads the settings.

    ``load`` reads the settings again. ``ready`` is awaited once connections are accepted. ``share`` is the shared
    memory of several workers, if there are any.
    """
    counts = Counts(tls=tls)
    application = Application(settings, counts, share, forwarding)

    async def record(error: VaultError, address: str | None) -> None:
        await vault.audit.auth_failures.record(error, secrets.token_hex(16), address)

    application.begin(vault)
    await application.prepare()
    body_seconds = settings.server.body_timeout_seconds
    paths = FastPath(PlainAsgi(application, body_seconds), application.router, application, body_seconds)
    paths.use(application.dispatcher)
    _settle_memory()
    server = Server(
        paths,
        Limits(
            keep_alive_seconds=settings.server.keep_alive_timeout_seconds, connections=settings.server.max_connections
        ),
        handler=paths,
        counts=counts,
        tls=tls,
        tls_refused=record,
        problem=protocol_problem,
    )
    server.accept_from(listener)
    await ready()
    credential_reload = asyncio.create_task(signals.on_hang_up(lambda: _reload(load, vault, tls, forwarding)))
    await signals.stopping.wait()
    counts.is_ending = True
    log.info("stopping", extra={"within_seconds": settings.server.seconds_to_end})
    await asyncio.sleep(settings.server.drain_seconds)
    server.stop_accepting()
    await server.finish(settings.server.graceful_timeout_seconds)
    credential_reload.cancel()
    await application.end()


def _settle_memory() -> None:
    """Exclude permanent objects from garbage collection, and collect less often, because requests create few cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


async def _reload(load: Callable[[], Settings], vault: Vault, tls: Tls | None, forwarding: Forwarding) -> None:
    """Apply new settings, all or none: everything that can be rejected is read before anything changes."""
    before = vault.credentials.reload.settings
    try:
        settings = load()
        loaded = Loaded.of(settings.server) if tls and settings.server.tls else None
        proxies = Proxies.of(settings.server)
        await vault.credentials.reload.reload(settings)
        if tls and loaded:
            tls.use(loaded)
        forwarding.use(proxies)
        log.info("settings reloaded")
        await vault.audit.process_log.reloaded(changed_keys(before, vault.credentials.reload.settings))
    except Exception as error:  # noqa: BLE001 - invalid settings must not stop the server
        told = str(error) if isinstance(error, VaultError) else type(error).__name__
        log.error("reload refused: the settings are unchanged", extra={"error": told})  # noqa: TRY400
        with suppress(VaultError):
            await vault.audit.process_log.reload_refused(error)
