"""The HTTP/2 connections of a server, and their total memory."""

from __future__ import annotations

import asyncio
import logging

from h2.errors import ErrorCodes

from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.http.server.http2_connection import Http2Connection
from vsqlvault.http.server.http2_host import Host

log = logging.getLogger(__name__)
MAX_HELD_IN_ALL_BYTES = 128 * 1024 * 1024
"""Above this, the connection that uses the most memory is closed."""

MAX_RUNNING_IN_ALL = 64
"""The maximum number of concurrent requests of all connections, beside one of each. The value of a running request is in
memory several times: as it was read, in the response, and in the buffer of its stream."""

_LOG_INTERVAL_SECONDS = 1.0


class Http2:
    """The HTTP/2 connections of a server, and their total memory."""

    def __init__(
        self, host: Host, max_held_bytes: int = MAX_HELD_IN_ALL_BYTES, max_running: int = MAX_RUNNING_IN_ALL
    ) -> None:
        self._host = host
        self._connections: dict[Http2Connection, None] = {}
        self._max_held_bytes = max_held_bytes
        self._max_running = max_running
        self._running = 0
        self._logged_at = float("-inf")
        self._left_out = 0

    def take(
        self, transport: asyncio.Transport, first: bytes, certificate: ClientCertificate | None, *, may_ask: bool
    ) -> None:
        """Serve a connection after its handshake. ``first`` is what was already read."""
        connection = Http2Connection(self._host, self, certificate, may_ask=may_ask)
        transport.set_protocol(connection)
        connection.connection_made(transport)
        self._connections[connection] = None
        if first:
            connection.data_received(first)

    def discard(self, connection: Http2Connection) -> None:
        """Forget a closed connection."""
        self._connections.pop(connection, None)

    def may_start(self) -> bool:
        """Whether one more request may run beside the others of its connection."""
        return self._running < self._max_running

    def began(self) -> None:
        """Count a request that runs."""
        self._running += 1

    def finished(self) -> None:
        """Count a request that has ended, and let each connection in turn start one that waits."""
        self._running -= 1
        for connection in [each for each in self._connections if each.waiting]:
            if connection.start_more(1) and connection in self._connections:
                self._connections[connection] = self._connections.pop(connection)  # the others come first next time

    def check_held(self) -> None:
        """Close the connection that uses the most memory, if the total is too high."""
        if sum(each.held for each in self._connections) > self._max_held_bytes:
            greediest = max(self._connections, key=lambda each: each.held)
            greediest.end_badly("uses too much memory", ErrorCodes.ENHANCE_YOUR_CALM)

    def log_ended(self, why: str) -> None:
        """Log at most once a second that a connection was closed because of its client."""
        if self._host.now - self._logged_at < _LOG_INTERVAL_SECONDS:
            self._left_out += 1
            return
        log.warning("HTTP/2 connection ended", extra={"reason": why, "left_out": self._left_out})
        self._logged_at, self._left_out = self._host.now, 0
