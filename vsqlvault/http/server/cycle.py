"""One request and its response on a connection: as the two ASGI functions, or in one piece."""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from vsqlvault.errors import PayloadTooLarge
from vsqlvault.http.messages import BodyReader, Reply
from vsqlvault.http.server.framing import ChunkedBody, Head

if TYPE_CHECKING:
    import asyncio

    from vsqlvault.http.server.connection import Connection

Message = Any  # defined by ASGI: a mapping whose members depend on its type
_BODY_OF_NONE = frozenset({204, 304})
_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_LAST_CHUNK = b"0\r\n\r\n"
_DISCONNECT = {"type": "http.disconnect"}


class Cycle:
    """One request and its response."""

    def __init__(self, connection: Connection, head: Head) -> None:
        fields = head.fields
        length = fields.length
        self._connection = connection
        self._is_head = head.method == "HEAD"
        self._is_http_1_0 = fields.minor_version == 0
        self._awaits_continue = fields.awaits_continue and length != 0
        self._chunks = ChunkedBody() if length is None else None
        self._left = length or 0
        self._pending = bytearray()
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

    @property
    def unread(self) -> int:
        """The number of received bytes of the body that were not read yet."""
        return len(self._pending)

    def feed(self, buffer: bytearray) -> None:
        """Take the next part of the body from the front of ``buffer``.

        Raises:
            BadFraming: an invalid chunk.
        """
        if self._chunks is not None:
            self._pending += self._chunks.take(buffer)
            self.has_whole_body = self._chunks.is_complete
        else:
            part = buffer[: self._left]
            del buffer[: self._left]
            self._left -= len(part)
            self._pending += part
            self.has_whole_body = self._left == 0
        self._wake()

    def disconnect(self) -> None:
        """Signal that nothing more will arrive."""
        self._is_disconnected = True
        self._wake()

    async def receive(self) -> Message:
        """Return the next ASGI message: a part of the body, or the client's disconnection."""
        while True:
            if self._pending or (self.has_whole_body and not self._is_told_of_end):
                body = bytes(self._pending)
                self._pending.clear()
                self._is_told_of_end = self.has_whole_body
                if not self.has_whole_body:
                    self._connection.resume()
                return {"type": "http.request", "body": body, "more_body": not self.has_whole_body}
            if self._is_disconnected or self.is_complete:
                return _DISCONNECT
            if self._awaits_continue and not self.has_whole_body:
                self._awaits_continue = False
                self._connection.write(_CONTINUE)
            self._waiter = self._connection.loop.create_future()
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

    def answer(self, reply: Reply) -> None:
        """Send a whole response, unless the client is gone."""
        if not self.is_complete:
            has_length = not self._is_head and reply.status not in _BODY_OF_NONE
            fields, body = reply_fields(reply, has_length=has_length), reply.body
            head = self._head(reply.status, fields)
            self._connection.write(head if self._is_head or not isinstance(body, bytes) else head + body)
            self._complete()

    def reader(self, wait: BodyReader) -> BodyReader:
        """Return the function that reads the body: what has arrived, or what ``wait`` collects."""

        async def read(limit: int) -> bytes:
            if not self.has_whole_body or self._is_told_of_end:
                return await wait(limit)
            if len(self._pending) > limit:
                raise PayloadTooLarge(f"a body has at most {limit} bytes")
            self._is_told_of_end = True
            body = bytes(self._pending)
            self._pending.clear()
            return body

        return read

    def _complete(self) -> None:
        self.is_complete = True
        self._wake()
        self._connection.finished(self)

    def _begun(self, body: bytes, *, is_whole: bool) -> bytes:
        """Return the first bytes of a response whose head an ASGI application has sent."""
        status, headers = self._start["status"], self._start["headers"]
        fields = b"".join([b"%b: %b\r\n" % (name, value) for name, value in headers])
        if not self._is_head and status not in _BODY_OF_NONE and all(name != b"content-length" for name, _ in headers):
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
        return answer_head(status, fields, self._connection.date, persists=self.persists)

    def _framed(self, body: bytes) -> bytes:
        if self._is_head:
            return b""
        return b"%x\r\n%b\r\n" % (len(body), body) if self._is_chunked and body else body

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)


def reply_fields(reply: Reply, *, has_length: bool) -> bytes:
    """Return the header fields of a reply without a stream, as bytes.

    HEAD's has no length: GET's is not known here, and no length is better than a wrong one (RFC 9110, section 9.3.2).
    """
    lines = [f"{name.lower()}: {value}\r\n" for name, value in reply.headers]
    if reply.content_type is not None:
        lines.append(f"content-type: {reply.content_type}\r\n")
    if has_length:
        lines.append(f"content-length: {len(reply.body) if isinstance(reply.body, bytes) else 0}\r\n")
    return "".join(lines).encode("latin-1")


def answer_head(status: int, fields: bytes, date: bytes, *, persists: bool) -> bytes:
    """Return the bytes of a response's head. ``date`` is a whole field."""
    status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d -\r\n" % status
    return b"".join((status_line, fields, date, b"\r\n" if persists else b"connection: close\r\n\r\n"))
