"""A proxy that loses requests and answers, between a client and a vault that restarts."""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable
from enum import Enum

PROBLEM = (
    b"HTTP/1.1 %d Refused\r\nContent-Type: application/problem+json\r\nRetry-After: 0\r\nContent-Length: %d\r\n"
    b"Connection: close\r\n\r\n%b"
)


class Fate(Enum):
    """What becomes of one request."""

    PASS = "passes"
    CUT_BEFORE = "is lost before the vault has it"
    CUT_AFTER = "is carried out, and its answer is lost"
    CUT_MIDDLE = "is carried out, and its answer breaks off"
    BAD_GATEWAY = "is carried out, and answered 502"
    BUSY = "is answered 503 overloaded"
    LIMITED = "is answered 429"


CARRIED_OUT = {Fate.PASS, Fate.CUT_AFTER, Fate.CUT_MIDDLE, Fate.BAD_GATEWAY}
WEIGHTS = {
    Fate.PASS: 60, Fate.CUT_BEFORE: 8, Fate.CUT_AFTER: 8, Fate.CUT_MIDDLE: 8, Fate.BAD_GATEWAY: 4, Fate.BUSY: 8,
    Fate.LIMITED: 4,
}  # fmt: skip


class UnreliableNetwork:
    """Listens on a port of its own, and forwards each request to where the vault is at that moment."""

    def __init__(self, upstream: Callable[[], tuple[str, int]], seed: int) -> None:
        self.fates: Counter[Fate] = Counter()
        self.address = ("127.0.0.1", 0)
        self._upstream = upstream
        self._random = random.Random(seed)
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> UnreliableNetwork:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0))
        self.address = server.sockets[0].getsockname()[:2]
        self._ready.set()
        self._loop.run_forever()
        server.close()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
            pass
        finally:
            if self._random.random() < 0.5:  # half of the connections end with a reset, as those of a dead host do
                raw: socket.socket = writer.get_extra_info("socket")
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Read one request and see to its fate. False: the connection ends."""
        request = await _message(reader)
        fate = self._random.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
        self.fates[fate] += 1
        if fate is Fate.CUT_BEFORE:
            return False
        if fate in {Fate.BUSY, Fate.LIMITED}:
            await _problem(writer, *((503, b"overloaded") if fate is Fate.BUSY else (429, b"rate-limited")))
            return False
        answer = await self._forwarded(request)
        if fate is Fate.PASS:
            writer.write(answer)
            await writer.drain()
            return b"connection: close" not in answer.lower()
        if fate is Fate.CUT_MIDDLE:
            writer.write(answer[: self._random.randrange(1, len(answer))])
            await writer.drain()
        if fate is Fate.BAD_GATEWAY:
            writer.write(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            await writer.drain()
        return False

    async def _forwarded(self, request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(*self._upstream())
        try:
            writer.write(request)
            await writer.drain()
            return await _message(reader, has_body=not request.startswith(b"HEAD "))
        finally:
            writer.close()


async def _message(reader: asyncio.StreamReader, *, has_body: bool = True) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if has_body and line.startswith(b"content-length:"):
            return head + await reader.readexactly(int(line.partition(b":")[2]))
    return head


async def _problem(writer: asyncio.StreamWriter, status: int, slug: bytes) -> None:
    body = b'{"type":"urn:vsqlvault:problem:' + slug + b'"}'
    writer.write(PROBLEM % (status, len(body), body))
    await writer.drain()
