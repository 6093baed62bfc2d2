"""A client of HTTP/2 over TLS that sends what it is given, well-formed or not, and reads what comes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

import h2.config
import h2.connection
import h2.events
from h2.exceptions import ProtocolError

from tests.support.wire import Answer, Headers, connected

Section = list[tuple[bytes, bytes]]
GOAWAY, RST_STREAM, PING, HEADERS, DATA = 7, 3, 6, 1, 0


def section(method: str, path: str | bytes | None, headers: Iterable[tuple[str, str]] = ()) -> Section:
    """Return a request's header section; nothing in it is checked."""
    target = path.encode("utf-8") if isinstance(path, str) else path
    pseudo = [(b":method", method.encode()), (b":scheme", b"https"), (b":authority", b"localhost")]
    if target is not None:
        pseudo.append((b":path", target))
    return pseudo + [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers]


def frame(kind: int, payload: bytes = b"", *, flags: int = 0, stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


@dataclass
class Response:
    """What came on one stream."""

    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    interim: list[int] = field(default_factory=list)
    body: bytes = b""
    is_whole: bool = False
    reset: int | None = None

    @property
    def status(self) -> int:
        return int(dict(self.headers)[b":status"])

    @property
    def answer(self) -> Answer:
        pairs = [(name.decode(), value.decode("latin-1")) for name, value in self.headers if name != b":status"]
        return Answer(self.status, tuple(pairs), self.body)


class Http2Client:
    """One connection. ``window`` is what the client lets the server send on each stream."""

    def __init__(self, connection: socket.socket, window: int | None = None) -> None:
        self.socket = connection
        self.state = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=True,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        if window is not None:
            self.state.local_settings.initial_window_size = window
            self.state.local_settings.acknowledge()
        self.responses: dict[int, Response] = {}
        self.goaway: tuple[int, int] | None = None
        self._unread = b""
        self.is_closed = False
        self.acknowledges = window is None
        self.state.initiate_connection()
        self.flush()

    @classmethod
    def to(cls, address: tuple[str, int], context: ssl.SSLContext, window: int | None = None) -> Http2Client:
        return cls(connected(address, 20, context), window)

    def __enter__(self) -> Http2Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def flush(self) -> None:
        data = self.state.data_to_send()
        if data:
            self.socket.sendall(data)

    def begin(self, headers: Section, *, ends: bool = True) -> int:
        """Send a request's head, and return its stream."""
        stream = self.state.get_next_available_stream_id()
        self.responses[stream] = Response()
        self.state.send_headers(stream, headers, end_stream=ends)
        self.flush()
        return stream

    def send(self, stream: int, data: bytes, *, ends: bool = True) -> None:
        """Send a body, as far as the server's window reaches, reading until it does."""
        while True:
            room = min(self.state.local_flow_control_window(stream), self.state.max_outbound_frame_size)
            part, data = data[:room], data[room:]
            if part or not data:
                self.state.send_data(stream, part, end_stream=ends and not data)
                self.flush()
            if not data:
                return
            if not room:
                self.read()

    def read(self) -> bool:
        """Take what comes next; say whether the server is still there."""
        try:
            data = self.socket.recv(65536)
        except (ConnectionResetError, ssl.SSLError):
            data = b""
        if not data:
            self.is_closed = True
            return False
        try:
            events = self.state.receive_data(self._without_goaway(data))
        except ProtocolError:
            self.is_closed = True
            return False
        for event in events:
            self._take(event)
        with suppress(BrokenPipeError, ConnectionResetError, ssl.SSLError):  # it closes while its last bytes are read
            self.flush()
        return True

    def _without_goaway(self, data: bytes) -> bytes:
        """Return whole frames; GOAWAY is noted instead, for the library takes nothing more after one."""
        self._unread += data
        kept = b""
        while len(self._unread) >= 9 and len(self._unread) >= (end := 9 + int.from_bytes(self._unread[:3], "big")):
            whole, self._unread = self._unread[:end], self._unread[end:]
            if whole[3] == GOAWAY:
                self.goaway = (int.from_bytes(whole[9:13], "big"), int.from_bytes(whole[13:17], "big"))
            else:
                kept += whole
        return kept

    def _take(self, event: h2.events.Event) -> None:
        response = self.responses.get(getattr(event, "stream_id", 0) or 0)
        if response is None:
            return
        if isinstance(event, h2.events.ResponseReceived):
            response.headers = [(bytes(name), bytes(value)) for name, value in event.headers]
        elif isinstance(event, h2.events.InformationalResponseReceived):
            response.interim.append(int(dict(event.headers)[b":status"]))
        elif isinstance(event, h2.events.DataReceived):
            response.body += event.data
            if self.acknowledges and event.flow_controlled_length:
                self.state.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamEnded):
            response.is_whole = True
        elif isinstance(event, h2.events.StreamReset):
            response.reset = int(event.error_code)

    def result(self, stream: int) -> Response:
        """Read until the stream is answered or reset, or the connection is closed."""
        response = self.responses[stream]
        while not response.is_whole and response.reset is None and self.read():
            pass
        return response

    def ask(self, method: str, path: str | bytes, headers: Headers = (), body: bytes | None = None) -> Answer:
        pairs = list(headers.items()) if isinstance(headers, dict) else list(headers)
        stream = self.begin(section(method, path, pairs), ends=body is None)
        if body is not None:
            self.send(stream, body)
        found = self.result(stream)
        assert found.is_whole, (found.reset, self.goaway)
        return found.answer

    def read_to_end(self) -> None:
        """Read until the server closes the connection."""
        while self.read():
            pass
