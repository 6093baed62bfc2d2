"""The HTTP/2 connections of a server: they begin here, and here is the memory counted that they hold together."""

from __future__ import annotations

import asyncio
import logging

from h2.errors import ErrorCodes

from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.http.server.http2_connection import Host, Http2Connection

log = logging.getLogger(__name__)
MAX_HELD_IN_ALL_BYTES = 128 * 1024 * 1024
"""Above this, the connection that holds the most memory is ended."""

_LOG_INTERVAL_SECONDS = 1.0


class Http2:
    """The HTTP/2 connections of a server, and the memory that they hold together."""

    def __init__(self, host: Host, max_held_bytes: int = MAX_HELD_IN_ALL_BYTES) -> None:
        self._host = host
        self._connections: set[Http2Connection] = set()
        self._max_held_bytes = max_held_bytes
        self._logged_at = float("-inf")
        self._left_out = 0

    def take(
        self, transport: asyncio.Transport, first: bytes, certificate: ClientCertificate | None, *, may_ask: bool
    ) -> None:
        """Serve a connection whose handshake is done. ``first`` is what was read of it."""
        connection = Http2Connection(self._host, self, certificate, may_ask=may_ask)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        self._connections.add(connection)
        if first:
            connection.data_received(first)

    def discard(self, connection: Http2Connection) -> None:
        """Let go of a connection that is closed."""
        self._connections.discard(connection)

    def check_held(self) -> None:
        """End the connection that holds the most, if all of them hold too much."""
        if sum(each.held for each in self._connections) > self._max_held_bytes:
            greediest = max(self._connections, key=lambda each: each.held)
            greediest.end_badly("holds too much memory", ErrorCodes.ENHANCE_YOUR_CALM)

    def log_ended(self, why: str) -> None:
        """Log that a connection was ended for what its client did, at most once a second."""
        if self._host.now - self._logged_at < _LOG_INTERVAL_SECONDS:
            self._left_out += 1
            return
        log.warning("HTTP/2 connection ended", extra={"reason": why, "left_out": self._left_out})
        self._logged_at, self._left_out = self._host.now, 0
