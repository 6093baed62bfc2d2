"""An HTTP/1.1 connection: receives bytes, calls an ASGI application, and sends responses.

A disconnecting client cancels nothing: a request in progress is completed and its response is dropped. One request runs
at a time, and pipelined requests wait. All time limits use one clock of the server, which ticks once a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, cast

from vsqlvault.errors import (
    BadFraming,
    HeadTooLarge,
    InternalFault,
    Overloaded,
    RequestTimeout,
    VaultError,
)
from vsqlvault.http.messages import BodyReader, Reply, Request, default_headers, no_body
from vsqlvault.http.problems import problem
from vsqlvault.http.server.client_certificates import ClientCertificate, client_certificate
from vsqlvault.http.server.cycle import Cycle, Message, answer_head, reply_fields
from vsqlvault.http.server.framing import MAX_HEAD_BYTES, Head, HeadReader, has_stray_line_end
from vsqlvault.model.ids import new_id

if TYPE_CHECKING:
    from vsqlvault.http.server.server import Server

log = logging.getLogger(__name__)
MAX_AHEAD_BYTES = 64 * 1024
"""The maximum number of unread bytes, of a body or of further requests, before reading from the socket is paused."""


class Connection(asyncio.Protocol):
    """The server's end of one connection."""

    def __init__(self, server: Server, *, may_ask: bool = True) -> None:
        """Start the connection. ``may_ask`` is False for connections beyond the limit."""
        self._server = server
        self.may_ask = may_ask
        self._transport: asyncio.Transport | None = None
        self._handshake: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._heads = HeadReader()
        self._cycle: Cycle | None = None
        self._is_lingering = False
        self._is_paused = False
        self._write_waiter: asyncio.Future[None] | None = None
        self._unsent = 0
        self._unsent_since = 0.0
        self._client: tuple[str, int] | None = None
        self._address: tuple[str, int] | None = None
        self._is_secure = False
        self._certificate: ClientCertificate | None = None
        self.deadline = server.now + server.limits.head_seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the transport: of the socket, or of TLS after its handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._address = _address(transport.get_extra_info("sockname"))
        tls = transport.get_extra_info("ssl_object")
        if tls is not None:
            self._is_secure = True
            self._certificate = client_certificate(tls)
        self._server.connections.add(self)
        if self._buffer:
            self._read_head()

    def shake_hands_on(self, transport: asyncio.Transport) -> None:
        """Set what ``abort`` ends until the connection is made."""
        self._handshake = transport

    @property
    def is_idle(self) -> bool:
        """Whether the connection has no request, or an incomplete one."""
        return self._cycle is None

    def taken(self) -> bytes:
        """Return what was read before the connection was made, for the protocol that takes it over."""
        return bytes(self._buffer)

    def connection_lost(self, _: Exception | None) -> None:
        """Forget the socket. A request in progress continues."""
        self._server.forget(self)
        self._transport = None
        self.resume_writing()
        if self._cycle is not None:
            self._cycle.disconnect()

    def eof_received(self) -> bool:
        """Handle a client that sends nothing more. If it waits for a response, it gets it."""
        if self._cycle is None or not self._cycle.has_whole_body:
            if self._cycle is None:
                return False
            self._cycle.disconnect()
        self._cycle.persists = False
        return True

    def data_received(self, data: bytes) -> None:
        """Process the received bytes as far as possible now."""
        if self._is_lingering:
            return
        self._buffer += data
        if self._transport is None:  # the handshake's last bytes may contain the first request
            return
        if self._cycle is None:
            self._read_head()
        elif not self._cycle.has_whole_body:
            self._feed(self._cycle)
        if self._cycle is not None and (len(self._buffer) > MAX_AHEAD_BYTES or self._cycle.unread > MAX_AHEAD_BYTES):
            self._pause()

    def pause_writing(self) -> None:
        """Pause senders, because the client reads too slowly."""
        self._write_waiter = self._server.loop.create_future()
        self._unsent_since = self._server.now
        self._unsent = self._transport.get_write_buffer_size() if self._transport else 0

    def resume_writing(self) -> None:
        """Resume senders."""
        waiter, self._write_waiter = self._write_waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def check(self, now: float) -> None:
        """End what exceeds its time limit."""
        if self._write_waiter is not None:
            self._check_reader(now)
        elif self._cycle is None and now >= self.deadline:
            if self._buffer and not self._is_lingering:
                self._refuse(RequestTimeout())
            else:
                self.abort()

    def _check_reader(self, now: float) -> None:
        unsent = self._transport.get_write_buffer_size() if self._transport else 0
        if unsent < self._unsent:
            self._unsent, self._unsent_since = unsent, now
        elif now - self._unsent_since >= self._server.limits.write_seconds:
            self.abort()

    def stop(self) -> None:
        """Accept no further request. Without a request in progress, close."""
        if self._cycle is None:
            if self._transport is not None and not self._is_lingering:
                self._transport.close()
        else:
            self._cycle.persists = False

    def give_up(self, error: VaultError) -> None:
        """Answer the request in progress with ``error``, if it has no response yet, and close the connection."""
        cycle = self._cycle
        if cycle is not None and not cycle.has_begun_answer:
            cycle.has_begun_answer = cycle.is_complete = True
            self._answer_problem(error)
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        transport = self._transport or self._handshake
        if transport is not None:
            transport.abort()

    def _read_head(self) -> None:
        buffer = self._buffer
        if buffer.startswith(b"\r\n"):  # RFC 9112, section 2.2: some clients end a body with an empty line
            del buffer[:2]
        end = buffer.find(b"\r\n\r\n", 0, MAX_HEAD_BYTES)
        if end < 0:
            self._await_head()
            return
        block = bytes(buffer[: end + 4])
        del buffer[: end + 4]
        try:
            head = self._heads.read(block)
        except VaultError as error:
            self._refuse(error)
            return
        if not self.may_ask and head.target != b"/health":
            self._refuse(Overloaded())
            return
        self._begin(head)

    def _await_head(self) -> None:
        buffer = self._buffer
        if len(buffer) >= MAX_HEAD_BYTES:
            self._refuse(HeadTooLarge(f"at most {MAX_HEAD_BYTES} bytes"))
        elif has_stray_line_end(buffer):
            self._refuse(BadFraming())
        elif buffer and len(buffer) < MAX_HEAD_BYTES:
            self.deadline = min(self.deadline, self._server.now + self._server.limits.head_seconds)

    def _begin(self, head: Head) -> None:
        cycle = Cycle(self, head)
        self._cycle = cycle
        if not cycle.has_whole_body and self._buffer:
            self._feed(cycle)
            if self._cycle is not cycle:
                return
        path, _, query = head.target.partition(b"?")
        lane = self._server.lane
        found = lane.find(head.method, path) if lane else None
        answering: Awaitable[Reply | None]
        if lane is None or found is None:
            answering = self._server.app(self._scope(head), cycle.receive, cycle.send)
        else:
            operation, params = found
            read_body = cycle.reader(lane.reader(cycle.receive)) if head.fields.length != 0 else no_body
            answering = lane.answer(self._request(head, path, query, params, read_body), operation)
        cycle.task = self._server.run(self._carry_out(cycle, answering))

    def _request(
        self, head: Head, path: bytes, query: bytes, params: Mapping[str, str], read_body: BodyReader
    ) -> Request:
        certificate, tls = self._certificate, self._server.tls
        return Request(
            method=head.method,
            raw_path=path,
            raw_query=query,
            headers=head.fields.texts,
            by_name=head.fields.by_name,
            peer=self._client[0] if self._client else None,
            secure=self._is_secure,
            request_id=new_id(),
            read_body=read_body,
            params=params,
            http_version="1.1" if head.fields.minor_version else "1.0",
            client_certificate=certificate,
            certificate_fault=tls.fault(certificate) if tls and certificate else None,
        )

    def _scope(self, head: Head) -> Message:
        path, _, query = head.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if head.fields.minor_version else "1.0",
            "method": head.method,
            "scheme": "https" if self._is_secure else "http",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": head.fields.headers,
            "client": self._client,
            "server": self._address,
            "extensions": {
                "tls": self._server.tls.describe(self._certificate) if self._server.tls else None,
            },
        }

    async def _carry_out(self, cycle: Cycle, answering: Awaitable[Reply | None]) -> None:
        """Await a reply and send it. An ASGI application sends its own and returns None."""
        try:
            reply = await answering
            if reply is not None:
                cycle.answer(reply)
        except Exception as error:
            log.exception("request failed", extra={"error": type(error).__name__})
        if not cycle.is_complete:
            self._break_off(cycle)
        if cycle.task is not None:
            self._server.ended(cycle.task)

    def _break_off(self, cycle: Cycle) -> None:
        if cycle.has_begun_answer:
            self.abort()
        else:
            self.give_up(InternalFault())

    def _feed(self, cycle: Cycle) -> None:
        try:
            cycle.feed(self._buffer)
        except VaultError as error:
            cycle.disconnect()
            self._refuse(error)

    def _refuse(self, error: VaultError) -> None:
        """Answer bytes that are not a request, and close the connection."""
        self._server.refused(error)
        if self._cycle is not None:
            if self._cycle.has_begun_answer:
                self.abort()
                return
            self._cycle.has_begun_answer = self._cycle.is_complete = True
            self._cycle = None
        self._answer_problem(error)
        self._linger()

    def _answer_problem(self, error: VaultError) -> None:
        request_id = new_id()
        reply = problem(error, request_id)
        reply.headers += default_headers(request_id)
        head = answer_head(reply.status, reply_fields(reply, has_length=True), self.date, persists=False)
        self.write(head + reply.body if isinstance(reply.body, bytes) else head)

    @property
    def date(self) -> bytes:
        """The Date header field, by the server's clock."""
        return self._server.date

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The event loop of the connection."""
        return self._server.loop

    def write(self, data: bytes) -> None:
        """Send, if the client is connected."""
        if self._transport is not None:
            self._transport.write(data)

    async def drained(self) -> None:
        """Wait until the client has read enough, or is gone."""
        if self._write_waiter is not None:
            await self._write_waiter

    def finished(self, cycle: Cycle) -> None:
        """Continue with the next request after a response, or close."""
        if self._cycle is not cycle:
            return
        self._cycle = None
        if not cycle.persists:
            self._linger()
            return
        self.deadline = self._server.now + self._server.limits.keep_alive_seconds
        self.resume()
        if self._buffer:
            self._read_head()

    def _linger(self) -> None:
        """Close, but let the client read the response first: closing with unread bytes would discard it."""
        self._is_lingering = True
        self._buffer.clear()
        self.deadline = self._server.now + self._server.limits.linger_seconds
        if self._transport is None:
            return
        try:
            if self._transport.can_write_eof():
                self._transport.write_eof()
                self.resume()
            else:
                self._transport.close()
        except OSError:  # the client has already disconnected
            self._transport.abort()

    def _pause(self) -> None:
        if not self._is_paused and self._transport is not None:
            self._is_paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Resume reading, after buffered bytes were processed."""
        if self._is_paused and self._transport is not None:
            self._is_paused = False
            self._transport.resume_reading()


def _address(found: Any) -> tuple[str, int] | None:
    return (found[0], found[1]) if isinstance(found, tuple) else None
