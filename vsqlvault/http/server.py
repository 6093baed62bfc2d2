"""Serving the application with Hypercorn."""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress

from hypercorn.asyncio import serve as hypercorn_serve
from hypercorn.config import Config

from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid, VaultError
from vsqlvault.http.app import already_open, build_app
from vsqlvault.service.vault import Vault

log = logging.getLogger(__name__)
MAX_HEAD_BYTES = 16 * 1024
NEVER = 10**9


def listen(listen_addr: str) -> socket.socket:
    """Return a listening socket on ``host:port`` or ``[v6]:port``.

    Raises:
        SettingsInvalid: the address cannot be had.
    """
    host, _, port = listen_addr.rpartition(":")
    host = host.strip("[]")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, int(port), type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SettingsInvalid(f"server.listen_addr: cannot listen on {listen_addr}: {error.strerror}") from error
    except ValueError as error:  # a label of a host name that is empty or too long
        raise SettingsInvalid(f"server.listen_addr: expected host:port, found {listen_addr}") from error
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(1024)
    except OSError as error:
        listener.close()
        raise SettingsInvalid(f"server.listen_addr: cannot listen on {listen_addr}: {error.strerror}") from error
    listener.setblocking(False)
    return listener


async def serve(
    settings: Settings, vault: Vault, listener: socket.socket, reload: Callable[[], Awaitable[None]]
) -> None:
    """Serve the vault until SIGTERM or SIGINT, then finish what is in flight, but not for ever. SIGHUP reloads."""
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    reloads: set[asyncio.Task[None]] = set()

    def hang_up() -> None:
        task = loop.create_task(_reload(reload))
        reloads.add(task)
        task.add_done_callback(reloads.discard)

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    loop.add_signal_handler(signal.SIGHUP, hang_up)
    app = build_app(settings, lambda: already_open(vault))
    serving = asyncio.ensure_future(hypercorn_serve(app, _config(settings, listener), shutdown_trigger=stopping.wait))
    stopped = asyncio.ensure_future(stopping.wait())
    await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not serving.done():
        log.info("stopping", extra={"within_seconds": settings.server.graceful_timeout_seconds})
        await asyncio.wait({serving}, timeout=settings.server.graceful_timeout_seconds + 1)
    if not serving.done():
        serving.cancel()
    with suppress(asyncio.CancelledError):
        await serving


async def _reload(reload: Callable[[], Awaitable[None]]) -> None:
    try:
        await reload()
        log.info("settings reloaded")
    except Exception as error:  # noqa: BLE001 - a bad file must not stop a good server
        told = str(error) if isinstance(error, VaultError) else type(error).__name__
        log.error("reload refused: the settings stay as they were", extra={"error": told})  # noqa: TRY400


def _config(settings: Settings, listener: socket.socket) -> Config:
    config = Config()
    config.bind = [f"fd://{listener.detach()}"]  # Hypercorn closes it
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.h11_max_incomplete_size = MAX_HEAD_BYTES
    config.keep_alive_timeout = settings.server.keep_alive_timeout_seconds
    config.keep_alive_max_requests = NEVER
    config.graceful_timeout = settings.server.graceful_timeout_seconds
    config.backlog = 1024
    return config
