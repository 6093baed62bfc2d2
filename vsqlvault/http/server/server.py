"""The server: a listening socket, its connections and their limits, and a shutdown within a time limit."""

from __future__ import annotations

import asyncio
import gc
import logging
import re
import secrets
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate
from functools import partial
from typing import Any, cast

from vsqlvault.config import ServerSettings, Settings
from vsqlvault.errors import CredentialRefused, SettingsInvalid, ShuttingDown, VaultError
from vsqlvault.http.app import already_open, build_app
from vsqlvault.http.fast_path import FastPath
from vsqlvault.http.forwarding import Forwarding, Proxies
from vsqlvault.http.metrics import Counts
from vsqlvault.http.metrics.workers import Share
from vsqlvault.http.server.client_certificates import client_certificate
from vsqlvault.http.server.connection import Connection
from vsqlvault.http.server.http2 import Http2
from vsqlvault.http.server.http2_connection import Http2Connection
from vsqlvault.http.server.signals import Signals
from vsqlvault.http.server.tls import Loaded, Tls
from vsqlvault.service.vault import Vault

log = logging.getLogger(__name__)
TICK_SECONDS = 1.0
RESERVED_CONNECTIONS = 128
"""The number of connections beyond the limit that may request ``/health``.

An idle one is closed when a new connection needs its place.
"""

ACCEPTED_AT_ONCE = 16
"""The number of connections to accept before existing ones are processed, so that these can send a request first."""

HANDSHAKE_SECONDS = 5.0
FLUSH_SECONDS = 0.5
FINISH_POLL_SECONDS = 0.02
COLLECT_AFTER = 10_000
"""The number of new objects after which the garbage collector runs on the young generation; Python's default is 700.

A multiple of this does not make requests faster, and uses 3 MB more.
"""

_NO_DESCRIPTORS_SECONDS = 0.1
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")
App = Callable[[Any, Any, Any], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a connection, in seconds; ``connections`` is a number.

    ``tick_seconds``: how often the limits are checked. ``flush_seconds``: how long the last answers have to leave.
    """

    head_seconds: float = 5.0
    keep_alive_seconds: float = 60.0
    write_seconds: float = 10.0
    linger_seconds: float = 2.0
    connections: int = 512
    tick_seconds: float = TICK_SECONDS
    flush_seconds: float = FLUSH_SECONDS

    @classmethod
    def of(cls, settings: ServerSettings) -> Limits:
        """Return the limits in the settings."""
        return cls(keep_alive_seconds=settings.keep_alive_timeout_seconds, connections=settings.max_connections)


class Server:
    """Accepts connections and enforces their limits.

    ``app`` is an ASGI application. It is called for each request that the fast path, if any, does not answer.
    """

    def __init__(
        self,
        app: App,
        limits: Limits,
        *,
        lane: FastPath | None = None,
        counts: Counts | None = None,
        tls: Tls | None = None,
        tls_refused: Callable[[VaultError, str | None], Awaitable[None]] | None = None,
    ) -> None:
        self.app = app
        self.lane = lane
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Connection | Http2Connection] = set()
        self.reserve: dict[Connection | Http2Connection, None] = {}
        self.counts = counts or Counts()
        self.tls = tls
        self._tls_refused = tls_refused
        self._tasks: set[asyncio.Task[Any]] = set()
        self._requests: set[asyncio.Task[Any]] = set()
        self._http2 = Http2(self) if tls and tls.offers_http2 else None
        self._arriving = 0
        self._listener: socket.socket | None = None
        self.now: float = 0.0
        self.date = b""
        self._tick()

    def accept_from(self, listener: socket.socket) -> None:
        """Accept connections from a listening socket until ``stop_accepting``."""
        self._listener = listener
        self.loop.add_reader(listener, self._accept)

    def stop_accepting(self) -> None:
        """Close the listening socket. The system rejects waiting clients."""
        listener, self._listener = self._listener, None
        if listener is not None:
            self.loop.remove_reader(listener)
            listener.close()

    def _accept(self) -> None:
        for _ in range(ACCEPTED_AT_ONCE):
            if self._listener is None:
                return
            try:
                accepted, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                log.error("cannot accept a connection", extra={"error": error.strerror})  # noqa: TRY400
                self.loop.remove_reader(self._listener)
                self.loop.call_later(_NO_DESCRIPTORS_SECONDS, self._accept_again)
                return
            accepted.setblocking(False)
            self._welcome(accepted)

    def _accept_again(self) -> None:
        if self._listener is not None:
            self.loop.add_reader(self._listener, self._accept)

    def _welcome(self, accepted: socket.socket) -> None:
        taken = len(self.connections) + self._arriving
        if taken >= self.limits.connections + RESERVED_CONNECTIONS:
            self.counts.rejected += 1
            if not self._make_room():
                accepted.close()
                return
        self.counts.accepted += 1
        self._arriving += 1
        connection = Connection(self, may_ask=taken < self.limits.connections)
        if not connection.may_ask:
            self.reserve[connection] = None
        self._keep(self._tasks, self._receive(accepted, connection))

    def _make_room(self) -> bool:
        """Close the oldest idle connection of the reserve, if there is one."""
        for connection in self.reserve:
            if connection.is_idle:
                self.forget(connection)
                connection.abort()
                return True
        return False

    def forget(self, connection: Connection | Http2Connection) -> None:
        """Forget a closed connection."""
        self.connections.discard(connection)
        self.reserve.pop(connection, None)

    async def _receive(self, accepted: socket.socket, connection: Connection) -> None:
        try:
            if self.tls is None:
                await self.loop.connect_accepted_socket(partial(_same, connection), accepted)
            else:
                await self._shake_hands(accepted, connection, self.tls)
        finally:
            self._arriving -= 1

    def run(self, request: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a request. Nothing cancels it."""
        task = self.loop.create_task(request)
        self._requests.add(task)
        return task

    def ended(self, task: asyncio.Task[None]) -> None:
        """Forget the task of a request."""
        self._requests.discard(task)

    def refused(self, error: VaultError) -> None:
        """Count a malformed request."""
        self.counts.refused[error.reason] += 1

    async def finish(self, seconds: float) -> None:
        """Let requests in progress finish within the time, then answer the rest with ShuttingDown."""
        for connection in list(self.connections):
            connection.stop()
        ends_at = self.loop.time() + seconds
        while (self._requests or self._is_answering()) and self.loop.time() < ends_at:  # noqa: ASYNC110 - two kinds of end
            await asyncio.sleep(FINISH_POLL_SECONDS)
        for connection in list(self.connections):
            connection.give_up(ShuttingDown())
        if self.connections:
            await asyncio.sleep(self.limits.flush_seconds)
        for connection in list(self.connections):
            connection.abort()
        for task in self._tasks:
            task.cancel()
        self._timer.cancel()

    def _is_answering(self) -> bool:
        return any(not connection.is_idle for connection in self.connections)

    def _keep(self, tasks: set[asyncio.Task[Any]], work: Coroutine[Any, Any, None]) -> None:
        task = self.loop.create_task(work)
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _shake_hands(self, accepted: socket.socket, connection: Connection, tls: Tls) -> None:
        transport: asyncio.Transport | None = None
        address = _peer(accepted)
        try:
            waiting = _Waiting()
            transport, _ = await self.loop.connect_accepted_socket(lambda: waiting, accepted)
            connection.shake_hands_on(transport)
            secured = await self.loop.start_tls(
                transport,
                connection,
                tls.context,
                server_side=True,
                ssl_handshake_timeout=HANDSHAKE_SECONDS,
                ssl_shutdown_timeout=self.limits.linger_seconds,
            )
        except (OSError, TimeoutError) as error:  # ssl.SSLError is an OSError
            if transport is not None:
                transport.abort()
            self.forget(connection)
            await self._tell_refused(error, address)
            return
        if secured is None:
            return
        chosen = cast("ssl.SSLObject", secured.get_extra_info("ssl_object"))
        if self._http2 and chosen.selected_alpn_protocol() == "h2":
            self.forget(connection)
            certificate = client_certificate(chosen)
            self._http2.take(secured, connection.taken(), certificate, may_ask=connection.may_ask)
            return
        connection.connection_made(secured)

    async def _tell_refused(self, error: Exception, address: str | None) -> None:
        reason = _reason(error)
        self.counts.refused[f"tls.{reason}"] += 1
        if self._tls_refused is not None and isinstance(error, ssl.SSLError):
            with suppress(VaultError):  # the client is gone
                await self._tls_refused(CredentialRefused(f"tls.reject:{reason}"), address)

    def _tick(self) -> None:
        self.now = self.loop.time()
        self.date = b"date: %b\r\n" % formatdate(usegmt=True).encode("ascii")
        for connection in list(self.connections):
            connection.check(self.now)
        self.counts.open = len(self.connections) + self._arriving
        self._timer = self.loop.call_later(self.limits.tick_seconds, self._tick)


def _same(connection: Connection) -> Connection:
    return connection


class _Waiting(asyncio.Protocol):
    """Holds a socket until TLS takes it over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast("asyncio.Transport", transport).pause_reading()


def _peer(accepted: socket.socket) -> str | None:
    try:
        found = accepted.getpeername()
    except OSError:
        return None
    return str(found[0]) if isinstance(found, tuple) else None


def _reason(error: Exception) -> str:
    """Return OpenSSL's reason for a failed handshake, as one word."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = error.verify_message
    elif isinstance(error, ssl.SSLError):
        text = error.reason or "unknown"
    else:
        text = "timeout" if isinstance(error, TimeoutError) else "closed"
    return _NOT_A_WORD.sub("-", text.lower()).strip("-")[:64]


def listen(listen_addr: str) -> socket.socket:
    """Return a listening socket on ``host:port`` or ``[v6]:port``.

    Raises:
        SettingsInvalid: the address is not available.
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
    except ValueError as error:  # a host name label that is empty or too long
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
    """Serve the vault until SIGTERM or SIGINT, then finish requests in flight within the time limit. SIGHUP reloads.

    ``load`` reads the settings again. ``ready`` is awaited once connections are accepted. ``share`` is the shared
    memory of several workers, if there are any.
    """
    counts = Counts(tls=tls)
    app = build_app(settings, lambda: already_open(vault), counts, share, forwarding)

    async def record(error: VaultError, address: str | None) -> None:
        await vault.audit.auth_failures.record(error, secrets.token_hex(16), address)

    await app.startup()
    _settle_memory()
    lane = app.asgi_app if isinstance(app.asgi_app, FastPath) else None
    server = Server(app, Limits.of(settings.server), lane=lane, counts=counts, tls=tls, tls_refused=record)
    server.accept_from(listener)
    await ready()
    credential_reload = asyncio.create_task(signals.on_hang_up(lambda: _reload(load, vault, tls, forwarding)))
    await signals.stopping.wait()
    log.info("stopping", extra={"within_seconds": settings.server.graceful_timeout_seconds})
    server.stop_accepting()
    await server.finish(settings.server.graceful_timeout_seconds)
    credential_reload.cancel()
    await app.shutdown()


def _settle_memory() -> None:
    """Exclude permanent objects from garbage collection, and collect less often, because requests create few cycles."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(COLLECT_AFTER)


async def _reload(load: Callable[[], Settings], vault: Vault, tls: Tls | None, forwarding: Forwarding) -> None:
    """Apply new settings, all or none: everything that can be rejected is read before anything changes."""
    try:
        settings = load()
        loaded = Loaded.of(settings.server) if tls and settings.server.tls else None
        proxies = Proxies.of(settings.server)
        await vault.credentials.reload.reload(settings)
        if tls and loaded:
            tls.use(loaded)
        forwarding.use(proxies)
        log.info("settings reloaded")
    except Exception as error:  # noqa: BLE001 - invalid settings must not stop the server
        told = str(error) if isinstance(error, VaultError) else type(error).__name__
        log.error("reload refused: the settings are unchanged", extra={"error": told})  # noqa: TRY400
