"""The server: a listening socket, its connections and their limits, and a shutdown within a time limit."""

from __future__ import annotations

import asyncio
import logging
import re
import socket
import ssl
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from vsqlvault.errors import CredentialRefused, SettingsInvalid, ShuttingDown, VaultError
from vsqlvault.http.server.client_certificates import client_certificate
from vsqlvault.http.server.protocol import Connection
from vsqlvault.http.server.state import Answer, App, Counts, Handler, Limits, ServerState, plain_problem
from vsqlvault.http.server.tls import Tls

if TYPE_CHECKING:
    from vsqlvault.http.server.http2 import Http2

log = logging.getLogger(__name__)
RESERVED_CONNECTIONS = 128
"""The number of connections beyond the limit that may request ``/health`` and the probes below it.

An idle one is closed when a new connection needs its place.
"""

ACCEPTED_AT_ONCE = 16
"""The number of connections to accept before existing ones are processed, so that these can send a request first."""

HANDSHAKE_SECONDS = 5.0
FINISH_POLL_SECONDS = 0.02
_NO_DESCRIPTORS_SECONDS = 0.1
_NOT_A_WORD = re.compile(r"[^a-z0-9]+")


class Server(ServerState):
    """Accepts connections and enforces their limits.

    ``tls_refused`` is called with the error and the client's address when a TLS handshake fails.
    """

    def __init__(
        self,
        app: App,
        limits: Limits,
        *,
        handler: Handler | None = None,
        counts: Counts | None = None,
        tls: Tls | None = None,
        tls_refused: Callable[[VaultError, str | None], Awaitable[None]] | None = None,
        problem: Callable[[VaultError], Answer] = plain_problem,
    ) -> None:
        super().__init__(app, limits, handler=handler, counts=counts, tls=tls, problem=problem)
        self._tls_refused = tls_refused
        self._tasks: set[asyncio.Task[Any]] = set()
        self._http2 = self._new_http2() if tls and tls.offers_http2 else None
        self._arriving: set[Connection] = set()
        self._listener: socket.socket | None = None
        self._tick()

    def _new_http2(self) -> Http2:
        from vsqlvault.http.server.http2 import Http2  # noqa: PLC0415 - it takes long to import

        return Http2(self)

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
        taken = self._open
        if taken >= self.limits.connections + RESERVED_CONNECTIONS:
            self.counts.rejected += 1
            if not self._make_room():
                accepted.close()
                return
        self.counts.accepted += 1
        connection = Connection(self, may_ask=taken < self.limits.connections)
        self._arriving.add(connection)
        if not connection.may_ask:
            self.reserve[connection] = None
        self._keep(self._tasks, self._receive(accepted, connection))

    @property
    def _open(self) -> int:
        """The number of connections. One that arrives is among the others for a moment, and counts once."""
        return len(self.connections) + len(self._arriving - self.connections)

    def _make_room(self) -> bool:
        """Close the oldest idle connection of the reserve, if there is one."""
        for connection in self.reserve:
            if connection.is_idle:
                self.forget(connection)
                connection.abort()
                return True
        return False

    async def _receive(self, accepted: socket.socket, connection: Connection) -> None:
        try:
            if self.tls is None:
                await self.loop.connect_accepted_socket(partial(_same, connection), accepted)
            else:
                await self._shake_hands(accepted, connection, self.tls)
        finally:
            self._arriving.discard(connection)

    async def finish(self, seconds: float) -> None:
        """Let requests in progress finish within the time, then answer the rest with ShuttingDown."""
        for connection in list(self.connections):
            connection.stop()
        ends_at = self.loop.time() + seconds
        while (self.requests or self._is_answering()) and self.loop.time() < ends_at:  # noqa: ASYNC110 - two kinds of end
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
        self.counts.open = self._open
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
