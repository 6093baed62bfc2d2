"""Sends requests to a server, and measures rate, latency, and the processor time of its processes and of PostgreSQL."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import psutil

from benchmarks.peers.adapters import Adapter, Prepared, adapter_file

ENTRIES = 1_000
"""Entries that are read and replaced."""

STRIDE = 7_919
"""Entries are read and replaced in this distance, so that all are, and no two neighbours one after the other."""

NUMBERS = 2**62
SPREAD = 0x9E3779B97F4A7C15
"""New entries get numbers that lie apart, as UUIDs do: each is another page of an index. An odd factor repeats none."""

VALUE_BYTES = 1024
FILLING_CALLERS = 16
CATCH_UP_SECONDS = 0.3
"""Before a server is measured, for what it did not do by the clock while it stood still."""

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CHUNKED = re.compile(rb"\r\ntransfer-encoding: *chunked", re.IGNORECASE)
_WITHOUT_BODY = (204, 304)
_LAST_CHUNK = b"0\r\n\r\n"


class Figures(NamedTuple):
    """Of one turn: requests a second, milliseconds, and microseconds of processor time a request.

    ``server_us`` is that of the server's process tree, ``postgresql_us`` that of PostgreSQL; 0 where it is not known.
    """

    rate: float
    median_ms: float
    p99_ms: float
    server_us: float
    postgresql_us: float


class Caller(asyncio.Protocol):
    """One connection that sends requests, one after the other, while there are any."""

    def __init__(self, requests: Iterator[Prepared], taken: list[float]) -> None:
        self._requests = requests
        self._taken = taken
        self._buffer = b""
        self._asked_at = 0.0
        self._statuses: frozenset[int] = frozenset()
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the first request."""
        self._transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self.ended.set_result(None)
            return
        self._statuses = request.statuses
        self._asked_at = time.perf_counter()
        self._transport.write(request.message)

    def data_received(self, data: bytes) -> None:
        """Take a response, and send the next request."""
        self._buffer += data
        if self.ended.done() or not is_whole(self._buffer):
            return
        if status_of(self._buffer) not in self._statuses:
            self.ended.set_exception(RuntimeError(self._buffer[:400].decode("latin-1")))
            self._transport.close()
            return
        self._taken.append(time.perf_counter() - self._asked_at)
        self._buffer = b""
        self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        """Report a connection that the server closed."""
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionResetError("the server closed the connection"))


def status_of(response: bytes) -> int:
    """Return the status of a response that has begun."""
    return int(response[9:12])


def is_whole(response: bytes) -> bool:
    """Whether all bytes of a response have arrived."""
    end = response.find(b"\r\n\r\n")
    if end < 0:
        return False
    if length := _LENGTH.search(response, 0, end + 2):
        return len(response) >= end + 4 + int(length[1])
    if _CHUNKED.search(response, 0, end + 2):
        return response.endswith(_LAST_CHUNK)
    return status_of(response) in _WITHOUT_BODY


async def send(address: tuple[str, int], requests: Iterator[Prepared], callers: int) -> list[float]:
    """Return the seconds that each request took."""
    taken: list[float] = []
    loop = asyncio.get_running_loop()
    made = [await loop.create_connection(lambda: Caller(requests, taken), *address) for _ in range(callers)]
    outcomes = await asyncio.gather(*(caller.ended for _, caller in made), return_exceptions=True)
    for transport, _ in made:
        transport.close()
    await asyncio.sleep(0)
    for error in filter(None, outcomes):
        raise error
    return taken


def tree(pids: Sequence[int]) -> list[int]:
    """Return these processes, and all that descend from them."""
    found: list[int] = []
    for pid in pids:
        with suppress(psutil.NoSuchProcess):
            found += [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return found


def processor_seconds(pids: Sequence[int]) -> float:
    """Return the processor time of process trees. Linux counts that of each thread in nanoseconds."""
    seconds = 0
    for pid in tree(pids):
        for file in Path(f"/proc/{pid}/task").glob("*/schedstat"):
            with suppress(OSError):  # the thread has ended
                seconds += int(file.read_text("ascii").split()[0])
    return seconds / 1e9


@dataclass(slots=True)
class Peer:
    """A server that is measured. Between its turns its processes, ``pids``, stand still.

    Its entries 0 to ``entries`` are read and replaced.
    """

    name: str
    url: str
    adapter_name: str
    credential: str
    pids: Sequence[int] = ()
    postgresql_pids: Sequence[int] = ()
    entries: int = ENTRIES
    adapter: Adapter = field(init=False)
    address: tuple[str, int] = field(init=False)
    _fresh: Iterator[int] = field(init=False)
    _spread: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        parts = urlsplit(self.url)
        if parts.scheme != "http" or parts.hostname is None or parts.port is None:
            raise SystemExit(f"{self.name}: expected http://host:port, found {self.url}")
        self.address = (parts.hostname, parts.port)
        self.adapter = Adapter(adapter_file(self.adapter_name), parts.netloc, self.credential)
        self._fresh = count(time.time_ns())

    def fill(self) -> None:
        """Store the entries, and let the server stand still."""
        for request in self.adapter.before():
            asyncio.run(send(self.address, iter([request]), 1))
        self._send("create", list(range(self.entries)), FILLING_CALLERS)
        self.stand_still()

    def turn(self, operation: str, callers: int, requests: int) -> Figures:
        """Measure ``requests`` requests of one operation."""
        self.go_on()
        time.sleep(CATCH_UP_SECONDS)
        numbers = [next(self._spread) * STRIDE % self.entries for _ in range(requests)]
        if operation in {"create", "delete"}:
            numbers = [next(self._fresh) * SPREAD % NUMBERS for _ in range(requests)]
        if operation == "delete":
            self._send("create", numbers, FILLING_CALLERS)
        prepared = self._prepared(operation, numbers)
        before, began = self._processor_seconds(), time.perf_counter()
        taken = sorted(asyncio.run(send(self.address, iter(prepared), callers)))
        passed, after = time.perf_counter() - began, self._processor_seconds()
        self.stand_still()
        server, postgresql = ((new - old) / requests * 1e6 for old, new in zip(before, after, strict=True))
        median, p99 = taken[len(taken) // 2] * 1000, taken[len(taken) * 99 // 100] * 1000
        return Figures(requests / passed, median, p99, server, postgresql)

    def go_on(self) -> None:
        """Let the server go on."""
        self._signal(signal.SIGCONT)

    def stand_still(self) -> None:
        """Stop the server until its next turn."""
        self._signal(signal.SIGSTOP)

    def _prepared(self, operation: str, numbers: Sequence[int]) -> list[Prepared]:
        return [
            self.adapter.prepared(operation, number, f"{next(self._fresh):020}".ljust(VALUE_BYTES, "x"))
            for number in numbers
        ]

    def _send(self, operation: str, numbers: Sequence[int], callers: int) -> None:
        asyncio.run(send(self.address, iter(self._prepared(operation, numbers)), callers))

    def _processor_seconds(self) -> tuple[float, float]:
        return processor_seconds(self.pids), processor_seconds(self.postgresql_pids)

    def _signal(self, number: signal.Signals) -> None:
        for pid in tree(self.pids):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
