"""One request and its response on an HTTP/2 connection, as the two ASGI functions."""

from __future__ import annotations

import asyncio
from typing import Any, Protocol

from vsqlvault.http.server.http2_head import Http2Head

Fields = list[tuple[bytes, bytes]]
Message = Any  # defined by ASGI: a mapping whose members depend on its type
HIGH_WATER_BYTES = 64 * 1024
"""An application that sends its response in parts waits while this many bytes are unsent."""

_BODY_OF_NONE = frozenset({204, 304})
_DISCONNECT = {"type": "http.disconnect"}


class Carrier(Protocol):
    """The connection of a stream."""

    def send_head(self, stream: Stream, status: int, fields: Fields) -> None:
        """Send the head of a final or an interim response."""

    def consumed(self, stream: Stream, count: int) -> None:
        """Allow the client to send more bytes of the body."""

    def push(self, stream: Stream) -> None:
        """Send the data of the stream, as far as flow control allows."""


class Stream:
    """One request and its response. ``pending`` is the unsent part of the response's body."""

    def __init__(self, carrier: Carrier, stream_id: int, head: Http2Head | None, *, has_whole_body: bool) -> None:
        self.id = stream_id
        self.head = head
        self.has_whole_body = has_whole_body
        self.has_begun_answer = False
        self.is_complete = False
        self.is_sent = False
        self.pending = bytearray()
        self.unread = bytearray()
        self.moved_at = 0.0
        self.task: asyncio.Task[None] | None = None
        self._carrier = carrier
        self._is_told_of_end = False
        self._is_disconnected = False
        self._awaits_continue = bool(head and head.awaits_continue)
        self._start: Message = None
        self._arrival: asyncio.Future[None] | None = None
        self._departure: asyncio.Future[None] | None = None

    @property
    def held(self) -> int:
        """The memory in bytes of request and response bodies of this stream."""
        return len(self.pending) + len(self.unread)

    def feed(self, data: bytes) -> None:
        """Take the next part of the request's body."""
        if not self.is_complete and not self._is_disconnected:
            self.unread += data
            _wake(self._arrival)

    def end_body(self) -> None:
        """Take the end of the request."""
        self.has_whole_body = True
        _wake(self._arrival)

    def disconnect(self) -> None:
        """Discard unsent data, because the client is gone. The request is still completed."""
        self._is_disconnected = self.is_sent = True
        self.pending.clear()
        self.unread.clear()
        _wake(self._arrival)
        _wake(self._departure)

    async def receive(self) -> Message:
        """Return the next ASGI message: a part of the body, or the client's disconnection."""
        while True:
            if self._is_disconnected or self.is_complete:
                return _DISCONNECT
            if self.unread or (self.has_whole_body and not self._is_told_of_end):
                body = bytes(self.unread)
                self.unread.clear()
                self._is_told_of_end = self.has_whole_body
                self._carrier.consumed(self, len(body))
                return {"type": "http.request", "body": body, "more_body": not self.has_whole_body}
            if self._awaits_continue and not self.has_whole_body:
                self._awaits_continue = False
                self._carrier.send_head(self, 100, [])
            self._arrival = asyncio.get_running_loop().create_future()
            await self._arrival

    async def send(self, message: Message) -> None:
        """Send a response's head or a part of its body, unless the client is gone."""
        if self.is_complete:
            return
        if message["type"] == "http.response.start":
            self._start = message
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if not self.has_begun_answer:
            self._begin_answer(len(body), is_whole=not more)
        if not self._has_no_body():
            self.pending += body if not self._is_disconnected else b""
        self.is_complete = not more
        self._carrier.push(self)
        if more and len(self.pending) > HIGH_WATER_BYTES:
            self._departure = asyncio.get_running_loop().create_future()
            await self._departure

    def answer(self, status: int, fields: Fields, body: bytes) -> None:
        """Send a whole response."""
        self._start = {"status": status, "headers": fields}
        self._begin_answer(len(body), is_whole=True)
        if not self._has_no_body():
            self.pending += body
        self.is_complete = True
        self._carrier.push(self)

    def take(self, count: int) -> bytes:
        """Remove the next bytes of the response from the pending ones."""
        part = bytes(self.pending[:count])
        del self.pending[:count]
        if len(self.pending) <= HIGH_WATER_BYTES:
            _wake(self._departure)
        return part

    def _has_no_body(self) -> bool:
        return (self.head is not None and self.head.method == "HEAD") or self._start["status"] in _BODY_OF_NONE

    def _begin_answer(self, length: int, *, is_whole: bool) -> None:
        fields = [(name.lower(), value) for name, value in self._start["headers"]]
        if is_whole and not self._has_no_body() and all(name != b"content-length" for name, _ in fields):
            fields.append((b"content-length", b"%d" % length))
        self.has_begun_answer = True
        self._awaits_continue = False
        if not self._is_disconnected:
            self._carrier.send_head(self, self._start["status"], fields)


def _wake(waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None and not waiter.done():
        waiter.set_result(None)
