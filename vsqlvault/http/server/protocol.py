"""An HTTP/1.1 connection: receives bytes, calls an ASGI application, and sends responses.

A disconnecting client cancels nothing: a request in progress is completed and its response is dropped. One request runs
at a time, and pipelined requests wait. All time limits use one clock of the server, which ticks once a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, cast

from vsqlvault.errors import (
    BadFraming,
    HeadTooLarge,
    InternalFault,
    Overloaded,
    PayloadTooLarge,
    RequestTimeout,
    VaultError,
)
from vsqlvault.http.server.client_certificates import client_certificate
from vsqlvault.http.server.framing import MAX_HEAD_BYTES, ChunkedBody, Head, HeadReader, has_stray_line_end
from vsqlvault.http.server.state import PROBES, Answer, Handler, Peer, ServerState, answer_head, no_body

log = logging.getLogger(__name__)
MAX_AHEAD_BYTES = 64 * 1024
"""The maximum number of unread bytes, of a body or of further requests, before reading from the socket is paused."""
Message: TypeAlias = Any  # defined by ASGI: a mapping whose members depend on its type
_BODY_OF_NONE = frozenset({204, 304})
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_DISCONNECT = {"type": "http.disconnect"}


class Connection(asyncio.BufferedProtocol):
    """The server's end of one connection.

    All connections of a server receive into one buffer. asyncio would otherwise allocate 256 KB for each read.
    """

    def __init__(self, state: ServerState, *, may_ask: bool = True) -> None:
        """Start the connection. ``may_ask`` is False for connections beyond the limit."""
        self.state = state
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
        self._peer = Peer(None)
        self.deadline = state.now + state.limits.head_seconds

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the transport: of the socket, or of TLS after its handshake."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._address = _address(transport.get_extra_info("sockname"))
        tls = transport.get_extra_info("ssl_object")
        address = self._client[0] if self._client else None
        self._peer = Peer(address) if tls is None else Peer(address, True, client_certificate(tls))
        self.state.connections.add(self)
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
        self.state.forget(self)
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

    def get_buffer(self, _: int) -> memoryview:
        """Return where the next bytes are received. ``buffer_updated`` follows before any other connection receives."""
        return self.state.receive_buffer

    def buffer_updated(self, count: int) -> None:
        """Process the bytes in the buffer."""
        self.data_received(self.state.receive_buffer[:count])

    def data_received(self, data: bytes | memoryview) -> None:
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
        if self._cycle is not None and (
            len(self._buffer) > MAX_AHEAD_BYTES or len(self._cycle.unread) > MAX_AHEAD_BYTES
        ):
            self._pause()

    def pause_writing(self) -> None:
        """Pause senders, because the client reads too slowly."""
        self._write_waiter = self.state.loop.create_future()
        self._unsent_since = self.state.now
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
        elif now - self._unsent_since >= self.state.limits.write_seconds:
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
        if not self.may_ask and head.target not in PROBES:
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
            self.deadline = min(self.deadline, self.state.now + self.state.limits.head_seconds)

    def _begin(self, head: Head) -> None:
        cycle = Cycle(self, head)
        self._cycle = cycle
        if not cycle.has_whole_body and self._buffer:
            self._feed(cycle)
            if self._cycle is not cycle:
                return
        path, _, query = head.target.partition(b"?")
        state = self.state
        handler = state.handler
        found = handler.find(head.method, path) if handler is not None else None
        if handler is None or found is None:
            answering = self.state.app(self._scope(head), cycle.receive, cycle.send)
        else:
            peer = self._peer
            fault = None if peer.certificate is None or state.tls is None else state.tls.fault(peer.certificate)
            read_body = no_body if head.fields.length == 0 else cycle.read_body
            answering = handler.start(found, head, path, query, peer, fault, read_body)
            if cycle.has_whole_body:
                state.run_in_steps(self._run(cycle, answering, handler))
                return
        cycle.task = state.run(self._run(cycle, answering, handler if found is not None else None))

    async def read_pieces(self, receive: Callable[[], Awaitable[Message]], limit: int) -> bytes:
        """Return a body that has not arrived yet."""
        if self.state.handler is None:
            raise RuntimeError("an ASGI application reads its body itself")
        return await self.state.handler.read_pieces(receive, limit)

    def _scope(self, head: Head) -> Message:
        path, _, query = head.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1" if head.fields.minor_version else "1.0",
            "method": head.method,
            "scheme": "https" if self._peer.is_secure else "http",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": head.fields.headers,
            "client": self._client,
            "server": self._address,
            "extensions": {"tls": self.state.tls.describe(self._peer.certificate) if self.state.tls else None},
        }

    async def _run(self, cycle: Cycle, answering: Awaitable[Any], handler: Handler | None) -> None:
        """Await an answer, and send the handler's; an ASGI application sends its own."""
        try:
            outcome = await answering
            if handler is not None:
                cycle.answer(handler.finish(outcome, is_head=cycle.is_head))
        except VaultError as error:  # in the middle of a response: an earlier one is answered
            log.warning("response broken off", extra={"error": error.slug, "detail": error.detail})
        except Exception as error:
            log.exception("request failed", extra={"error": type(error).__name__})
        if not cycle.is_complete:
            self._break_off(cycle)
        if cycle.task is not None:
            self.state.ended(cycle.task)

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
        self.state.refused(error)
        if self._cycle is not None:
            if self._cycle.has_begun_answer:
                self.abort()
                return
            self._cycle.has_begun_answer = self._cycle.is_complete = True
            self._cycle = None
        self._answer_problem(error)
        self._linger()

    def _answer_problem(self, error: VaultError) -> None:
        status, fields, body = self.state.problem(error)
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")
        self.write(answer_head(status, lines, self.state.date, persists=False) + body)

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
        self.deadline = self.state.now + self.state.limits.keep_alive_seconds
        if self._is_paused:
            self.resume()
        if self._buffer:  # in a callback of its own: any number of requests may be there, and each answered at once
            self.state.loop.call_soon(self._read_next)

    def _read_next(self) -> None:
        if self._buffer and self._cycle is None and not self._is_lingering:
            self._read_head()

    def _linger(self) -> None:
        """Close, but let the client read the response first: closing with unread bytes would discard it."""
        self._is_lingering = True
        self._buffer.clear()
        self.deadline = self.state.now + self.state.limits.linger_seconds
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


class Cycle:
    """One request and its response."""

    def __init__(self, connection: Connection, head: Head) -> None:
        fields = head.fields
        length = fields.length
        self._connection = connection
        self.is_head = head.method == "HEAD"
        self._is_http_1_0 = fields.minor_version == 0
        self._awaits_continue = fields.awaits_continue and length != 0
        self._chunks = ChunkedBody() if length is None else None
        self._left = length or 0
        self.unread = bytearray()
        self._is_told_of_end = False
        self._is_disconnected = False
        self._waiter: asyncio.Future[None] | None = None
        self._start: Message = None
        self._is_chunked = False
        self.task: asyncio.Task[None] | None = None
        self.persists = fields.persists
        self.has_whole_body = length == 0
        self.has_begun_answer = False
        self.is_complete = False

    def feed(self, buffer: bytearray) -> None:
        """Take the next part of the body from the front of ``buffer``.

        Raises:
            BadFraming: an invalid chunk.
        """
        if self._chunks is not None:
            self.unread += self._chunks.take(buffer)
            self.has_whole_body = self._chunks.is_complete
        else:
            part = buffer[: self._left]
            del buffer[: self._left]
            self._left -= len(part)
            self.unread += part
            self.has_whole_body = self._left == 0
        self._wake()

    def disconnect(self) -> None:
        """Signal that nothing more will arrive."""
        self._is_disconnected = True
        self._wake()

    async def receive(self) -> Message:
        """Return the next ASGI message: a part of the body, or the client's disconnection."""
        while True:
            if self.unread or (self.has_whole_body and not self._is_told_of_end):
                body = bytes(self.unread)
                self.unread.clear()
                self._is_told_of_end = self.has_whole_body
                if not self.has_whole_body:
                    self._connection.resume()
                return {"type": "http.request", "body": body, "more_body": not self.has_whole_body}
            if self._is_disconnected or self.is_complete:
                return _DISCONNECT
            if self._awaits_continue and not self.has_whole_body:
                self._awaits_continue = False
                self._connection.write(_CONTINUE)
            self._waiter = self._connection.state.loop.create_future()
            await self._waiter

    async def send(self, message: Message) -> None:
        """Send a response's head or a part of its body, unless the client is gone."""
        if self.is_complete:
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        body = self._framed(body) if self.has_begun_answer else self._begun(body, is_whole=not more)
        if not more and self._is_chunked:
            body += _LAST_CHUNK
        self._connection.write(body)
        if more:
            await self._connection.drained()
            return
        self._complete()

    def answer(self, answer: Answer) -> None:
        """Send a whole response. If the client is gone, nothing is sent."""
        if self.is_complete:
            return
        status, fields, body = answer
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields]).encode("latin-1")
        self._connection.write(self._head(status, lines) + body)
        self._complete()

    async def read_body(self, limit: int) -> bytes:
        """Return the body: what has arrived, or what the application gathers of the rest."""
        if not self.has_whole_body or self._is_told_of_end:
            return await self._connection.read_pieces(self.receive, limit)
        if len(self.unread) > limit:
            raise PayloadTooLarge(f"a body has at most {limit} bytes")
        self._is_told_of_end = True
        body = bytes(self.unread)
        self.unread.clear()
        return body

    def _complete(self) -> None:
        self.is_complete = True
        if self._waiter is not None:
            self._wake()
        self._connection.finished(self)

    def _begun(self, body: bytes, *, is_whole: bool) -> bytes:
        """Return the first bytes of a response whose head an ASGI application has sent."""
        status, headers = self._start["status"], self._start["headers"]
        fields = b"".join([b"%b: %b\r\n" % (name, value) for name, value in headers])
        if not self.is_head and status not in _BODY_OF_NONE and all(name != b"content-length" for name, _ in headers):
            if is_whole:
                fields += b"content-length: %d\r\n" % len(body)
            elif self._is_http_1_0:
                self.persists = False
            else:
                self._is_chunked = True
                fields += b"transfer-encoding: chunked\r\n"
        return self._head(status, fields) + self._framed(body)

    def _head(self, status: int, fields: bytes) -> bytes:
        self.has_begun_answer = True
        if not self.has_whole_body:
            self.persists = False
        if self.persists and self._is_http_1_0:
            fields += b"connection: keep-alive\r\n"
        return answer_head(status, fields, self._connection.state.date, persists=self.persists)

    def _framed(self, body: bytes) -> bytes:
        if self.is_head:
            return b""
        return b"%x\r\n%b\r\n" % (len(body), body) if self._is_chunked and body else body

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
