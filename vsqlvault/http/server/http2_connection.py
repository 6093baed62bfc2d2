"""HTTP/2 (RFC 9113): receives frames, calls an ASGI application, and sends frames, within the limits of HTTP/1.1.

The h2 library keeps the protocol's state. Its own validation of header sections is disabled: it ends the connection,
while ``http2_head`` rejects only the request. As in HTTP/1.1, a disconnecting client cancels nothing.
"""

from __future__ import annotations

import asyncio
import logging
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RequestReceived,
    StreamEnded,
    StreamReset,
)
from h2.exceptions import ProtocolError

from vsqlvault.errors import BadFraming, InternalFault, Overloaded, RequestTimeout, VaultError
from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.http.server.http2_frames import FrameMeter
from vsqlvault.http.server.http2_head import read_http2_head
from vsqlvault.http.server.http2_host import Host
from vsqlvault.http.server.http2_stream import Fields, Message, Stream
from vsqlvault.http.server.state import PROBES

log = logging.getLogger(__name__)
MAX_STREAMS = 100
MAX_RUNNING = 32
"""The maximum number of concurrent requests of one connection. The others wait."""

MAX_HELD_BYTES = 1024 * 1024
"""No further request of a connection starts while this much of its answers is unsent."""

MAX_EXPECTED_BYTES = 8 * 1024 * 1024
"""No further request starts while unsent answers, and running requests as large as the largest of them, reach this."""

FREE_BYTES = 256 * 1024
"""A connection that uses no more than this is never closed because of the total."""

MAX_UNREAD_CONTROL_BYTES = 256 * 1024
"""A client that reads nothing, not even control frames, is not read from beyond this size."""

MAX_CONTROL_FRAMES = 500
"""Per second. A client that sends more is disconnected (RFC 9113, section 10.5)."""

MAX_FRAME_BYTES = 16 * 1024
_GOAWAY = struct.Struct(">HBBBLLL")


class Family(Protocol):
    """The HTTP/2 connections of a server."""

    def discard(self, connection: Http2Connection) -> None:
        """Forget a closed connection."""

    def may_start(self) -> bool:
        """Whether one more request may run beside the others of its connection."""

    def began(self) -> None:
        """Count a request that runs."""

    def finished(self) -> None:
        """Count a request that has ended, and let connections whose requests wait start more."""

    def check_held(self) -> None:
        """Close a connection if the total memory is too high."""

    def log_ended(self, why: str) -> None:
        """Log that a connection was closed because of its client."""


class _State(H2Connection):
    """The library's state machine. Streams beyond the limit are rejected one by one, without closing the connection."""

    @property
    def open_inbound_streams(self) -> int:
        super().open_inbound_streams  # noqa: B018 - releases closed streams
        return 0


class Http2Connection(asyncio.Protocol):
    """The server's end of one HTTP/2 connection."""

    def __init__(self, host: Host, family: Family, certificate: ClientCertificate | None, *, may_ask: bool) -> None:
        self._family = family
        self._host = host
        self._certificate = certificate
        self.may_ask = may_ask
        self._transport: asyncio.Transport | None = None
        self._client: Any = None
        self._address: Any = None
        self._state = _State(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self._meter = FrameMeter()
        self._streams: dict[int, Stream] = {}
        self.waiting: deque[Stream] = deque()
        self._running = 0
        self._largest = 0
        self._last_id = 0
        self._is_ending = False
        self._is_full = False
        self._is_reading = True
        self._moved_at = self._host.now
        self._unsent = 0
        self._midway_since: float | None = self._host.now
        self.deadline = self._host.now + self._host.limits.head_seconds

    @property
    def is_idle(self) -> bool:
        """Whether the connection has no request."""
        return not self._streams

    @property
    def held(self) -> int:
        """The memory in bytes of its requests and responses."""
        return sum(stream.held for stream in self._streams.values())

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Set the transport, and send the settings."""
        self._transport = cast("asyncio.Transport", transport)
        self._client = _address(transport.get_extra_info("peername"))
        self._address = _address(transport.get_extra_info("sockname"))
        self._host.connections.add(self)
        if not self.may_ask:
            self._host.reserve[self] = None
        self._state.initiate_connection()
        self._flush()

    def connection_lost(self, _: Exception | None) -> None:
        """Forget the socket. Requests in progress continue."""
        self._transport = None
        self._host.forget(self)
        self._family.discard(self)
        for stream in self._streams.values():
            stream.disconnect()
        self._streams.clear()
        self.waiting.clear()

    def data_received(self, data: bytes) -> None:
        """Process the received bytes."""
        if self._transport is None:
            return
        self._meter.take(data)
        self._midway_since = (self._midway_since or self._host.now) if self._meter.is_midway else None
        if self._meter.control_frames > MAX_CONTROL_FRAMES:
            self.end_badly("too many control frames", ErrorCodes.ENHANCE_YOUR_CALM)
            return
        try:
            for event in self._state.receive_data(data):
                self._take(event)
        except Exception as error:  # noqa: BLE001 - ProtocolError, or any other error of the library for bytes of a client
            self._host.refused(BadFraming())
            self._end_broken(type(error).__name__)
            return
        self._pump()
        self._check_held()

    def pause_writing(self) -> None:
        """Stop sending, because the client reads too slowly."""
        self._is_full = True

    def resume_writing(self) -> None:
        """Send what waits."""
        self._is_full = False
        self._moved_at = self._host.now
        if not self._is_reading and self._transport is not None:
            self._is_reading = True
            self._transport.resume_reading()
        self._pump()

    def check(self, now: float) -> None:
        """End what exceeds its time limit."""
        self._meter.control_frames = 0
        limits = self._host.limits
        if self._midway_since is not None and now - self._midway_since >= limits.head_seconds:
            self._host.refused(RequestTimeout())
            self.end_badly("a frame did not end in time", ErrorCodes.NO_ERROR)
        elif not self._streams:
            if now >= self.deadline:
                self.stop()
                self.abort()
        else:
            self._check_reader(now)

    def _check_reader(self, now: float) -> None:
        """Disconnect a client, or reset a stream, that does not read its responses."""
        limit = self._host.limits.write_seconds
        unsent = self._transport.get_write_buffer_size() if self._transport else 0
        if unsent < self._unsent or not any(stream.pending for stream in self._streams.values()):
            self._moved_at = now
        self._unsent = unsent
        if now - self._moved_at >= limit:
            self.end_badly("reads too slowly", ErrorCodes.NO_ERROR)
            return
        for stream in list(self._streams.values()):
            if stream.pending and now - stream.moved_at >= limit and self._is_blocked(stream):
                self._reset(stream, ErrorCodes.CANCEL)
        self._flush()

    def stop(self) -> None:
        """Accept no further request, announce the last accepted one, and close once all are answered."""
        if not self._is_ending:
            self._is_ending = True
            # # The library's GOAWAY would end its state machine, and with it the pending responses.
            self._write(_GOAWAY.pack(0, 8, 7, 0, 0, self._last_id, ErrorCodes.NO_ERROR))
        if not self._streams and self._transport is not None:
            self._transport.close()

    def give_up(self, error: VaultError) -> None:
        """Answer each request without a response with ``error``, and close the connection."""
        self.stop()
        for stream in list(self._streams.values()):
            if not stream.has_begun_answer:
                self._answer_problem(stream, error)
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close the connection at once."""
        if self._transport is not None:
            self._transport.abort()

    def end_badly(self, why: str, code: ErrorCodes) -> None:
        """Send the error code, log the reason, and close the connection at once."""
        if self._transport is None:
            return
        self._family.log_ended(why)
        self._state.close_connection(code)
        self._flush()
        self.abort_soon()

    def _end_broken(self, why: str) -> None:
        self._family.log_ended(why)
        self._flush()
        self.abort_soon()

    def abort_soon(self) -> None:
        """Close the connection. What the transport accepts at once is still sent."""
        transport = self._transport
        self.connection_lost(None)
        if transport is not None:
            transport.close()
            self._host.loop.call_later(self._host.limits.linger_seconds, transport.abort)

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, DataReceived):
            self._feed(event)
        elif isinstance(event, StreamEnded):
            if stream := self._streams.get(event.stream_id):
                stream.end_body()
        elif isinstance(event, StreamReset):
            if stream := self._streams.pop(event.stream_id, None):
                stream.disconnect()
        elif isinstance(event, ConnectionTerminated):
            self.stop()

    def _check_held(self) -> None:
        if self.held > FREE_BYTES:
            self._family.check_held()

    def _begin(self, event: RequestReceived) -> None:
        stream_id = event.stream_id
        if self._is_ending or len(self._streams) >= MAX_STREAMS:
            self._state.reset_stream(stream_id, ErrorCodes.REFUSED_STREAM)
            return
        self._last_id = stream_id
        has_whole_body = event.stream_ended is not None
        try:
            head = read_http2_head(event.headers)
            if not self.may_ask and head.target not in PROBES:
                raise Overloaded
        except VaultError as error:
            self._host.refused(error)
            stream = self._streams[stream_id] = Stream(self, stream_id, None, has_whole_body=has_whole_body)
            self._answer_problem(stream, error)
            return
        stream = self._streams[stream_id] = Stream(self, stream_id, head, has_whole_body=has_whole_body)
        self.waiting.append(stream)
        self.start_more()

    def _feed(self, event: DataReceived) -> None:
        data, size = event.data, event.flow_controlled_length
        if size:
            self._state.increment_flow_control_window(size)
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.feed(data)
            self.consumed(stream, size - len(data))

    def start_more(self, at_most: int = MAX_RUNNING) -> int:
        """Start requests that wait, within the limits of this connection and of all, and return their number."""
        before = self._running
        while self.waiting and self._running - before < at_most and self._may_run_another():
            stream = self.waiting.popleft()
            if self._streams.get(stream.id) is stream:
                self._running += 1
                self._family.began()
                stream.task = self._host.run(self._carry_out(stream))
        return self._running - before

    def _may_run_another(self) -> bool:
        """Whether another request may run. One may run whatever the other connections do, as on HTTP/1.1."""
        is_free = self._running == 0 or (self._running < MAX_RUNNING and self._family.may_start())
        unsent = self._unsent_answers()
        return is_free and unsent < MAX_HELD_BYTES and unsent + self._running * self._largest < MAX_EXPECTED_BYTES

    def _unsent_answers(self) -> int:
        return sum(len(stream.pending) for stream in self._streams.values())

    async def _carry_out(self, stream: Stream) -> None:
        try:
            await self._host.app(self._scope(stream), stream.receive, stream.send)
        except VaultError as error:  # in the middle of a response: an earlier one is answered
            log.warning("response broken off", extra={"error": error.slug, "detail": error.detail})
        except Exception as error:
            log.exception("request failed", extra={"error": type(error).__name__})
        if not stream.is_complete:
            self._break_off(stream)
        if stream.task is not None:
            self._host.ended(stream.task)
        self._running -= 1
        self._family.finished()

    def _break_off(self, stream: Stream) -> None:
        if stream.has_begun_answer:
            self._reset(stream, ErrorCodes.INTERNAL_ERROR)
            self._flush()
        elif stream.id in self._streams:
            self._answer_problem(stream, InternalFault())

    def _scope(self, stream: Stream) -> Message:
        assert stream.head is not None  # noqa: S101 - one without a head is answered and never run
        path, _, query = stream.head.target.partition(b"?")
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "2",
            "method": stream.head.method,
            "scheme": "https",
            "path": path.decode("latin-1"),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": stream.head.headers,
            "client": self._client,
            "server": self._address,
            "extensions": {"tls": self._host.tls.describe(self._certificate) if self._host.tls else None},
        }

    def _answer_problem(self, stream: Stream, error: VaultError) -> None:
        status, fields, body = self._host.problem(error)
        stream.answer(status, [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields], body)

    def send_head(self, stream: Stream, status: int, fields: Fields) -> None:
        """Send the head of a final or an interim response."""
        if stream.id not in self._streams:
            return
        section: Fields = [(b":status", b"%d" % status), *fields]
        if status >= 200:  # noqa: PLR2004
            name, _, value = self._host.date.strip().partition(b": ")
            section.append((name, value))
        with self._while_open(stream):
            self._state.send_headers(stream.id, section)
        stream.moved_at = self._host.now

    def consumed(self, stream: Stream, count: int) -> None:
        """Allow the client to send more bytes of the body."""
        if count and not stream.has_whole_body and stream.id in self._streams:
            with self._while_open(stream):
                self._state.increment_flow_control_window(count, stream.id)
            self._flush()

    def push(self, stream: Stream) -> None:
        """Send the data of a stream, as far as flow control allows."""
        if not any(other.pending for other in self._streams.values() if other is not stream):
            self._moved_at = self._host.now
        stream.moved_at = self._host.now
        self._largest = max(self._largest, len(stream.pending))
        self._pump()
        self._check_held()

    def _pump(self) -> None:
        """Send a frame of each stream in turn, until flow control or the socket stops it."""
        moved = True
        while moved and not self._is_full and self._transport is not None:
            moved = False
            for stream in list(self._streams.values()):
                if not self._is_full and self._send_frame(stream):
                    moved = True
                    self._flush()
        self._flush()
        self.start_more()

    def _send_frame(self, stream: Stream) -> bool:
        """Send one frame, if the stream has data and the window has space. Return whether it did."""
        if not stream.has_begun_answer or stream.is_sent:
            return False
        with self._while_open(stream):
            count = min(self._state.local_flow_control_window(stream.id), len(stream.pending), MAX_FRAME_BYTES)
            ends = stream.is_complete and count == len(stream.pending)
            if count <= 0 and not ends:
                return False
            self._state.send_data(stream.id, stream.take(count), end_stream=ends)
        if stream.id not in self._streams:
            return False
        self._moved_at = stream.moved_at = self._host.now
        self._streams[stream.id] = self._streams.pop(stream.id)  # other streams come first next time
        if ends:
            self._finish(stream)
        return True

    def _is_blocked(self, stream: Stream) -> bool:
        window = 1
        with self._while_open(stream):
            window = self._state.local_flow_control_window(stream.id)
        return window <= 0

    @contextmanager
    def _while_open(self, stream: Stream) -> Iterator[None]:
        """Release a stream that the client has ended: the library knows this before its events are processed."""
        try:
            yield
        except ProtocolError:
            self._drop(stream)

    def _finish(self, stream: Stream) -> None:
        """Release a stream whose response is sent. The rest of the request's body is discarded."""
        stream.is_sent = True
        if stream.has_whole_body:
            self._drop(stream)
        else:
            self._reset(stream, ErrorCodes.NO_ERROR)

    def _reset(self, stream: Stream, code: ErrorCodes) -> None:
        if stream.id in self._streams:
            with self._while_open(stream):
                self._state.reset_stream(stream.id, code)
            self._drop(stream)

    def _drop(self, stream: Stream) -> None:
        self._streams.pop(stream.id, None)
        stream.disconnect()
        if not self._streams:
            self.deadline = self._host.now + self._host.limits.keep_alive_seconds
            if self._is_ending and self._transport is not None:
                self._flush()
                self._transport.close()

    def _flush(self) -> None:
        self._write(self._state.data_to_send())

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None:
            self._transport.write(data)
            if self._is_reading and self._transport.get_write_buffer_size() > MAX_UNREAD_CONTROL_BYTES:
                self._is_reading = False
                self._transport.pause_reading()


def _address(found: Any) -> tuple[str, int] | None:
    return (found[0], found[1]) if isinstance(found, tuple) else None
