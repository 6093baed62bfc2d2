"""The state that a server shares with its connections, and the interfaces to the application that it serves."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import field
from http import HTTPStatus
from typing import Any, NamedTuple, Protocol

from vsqlvault.errors import VaultError
from vsqlvault.http.server.client_certificates import ClientCertificate
from vsqlvault.http.server.framing import Head
from vsqlvault.http.server.tls import Tls
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.steps import Steps

TICK_SECONDS = 1.0
FLUSH_SECONDS = 0.5
RECEIVE_BYTES = 256 * 1024
PROBES = frozenset({b"/health", b"/health/live", b"/health/ready"})
"""What a connection of the reserve may request."""

_STATUS_LINES = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode("ascii") for status in HTTPStatus}

App = Callable[[Any, Any, Any], Awaitable[None]]
ReadBody = Callable[[int], Awaitable[bytes]]


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of a connection, in seconds; ``connections`` is a number.

    ``tick_seconds``: how often the limits are checked. ``flush_seconds``: how long the last answers have to leave.
    """

    head_seconds: float = 5.0
    keep_alive_seconds: float = 60.0
    write_seconds: float = 10.0
    linger_seconds: float = 2.0
    connections: int = 512
    tick_seconds: float = TICK_SECONDS
    flush_seconds: float = FLUSH_SECONDS


class Answer(NamedTuple):
    """A whole response. ``fields`` are the header fields but those of the connection, such as Date."""

    status: int
    fields: list[tuple[str, str]]
    body: bytes


@dataclass(frozen=True, slots=True)
class Peer:
    """The client's end of a connection. ``address`` has no port; it is None on a Unix socket."""

    address: str | None
    is_secure: bool = False
    certificate: ClientCertificate | None = None


class Handler(Protocol):
    """Answers some requests without ASGI messages."""

    def find(self, method: str, path: bytes) -> Any:
        """Return what ``start`` takes for such a request; None: the ASGI application answers it."""

    def start(
        self, found: Any, head: Head, path: bytes, query: bytes, peer: Peer, fault: str | None, read_body: ReadBody
    ) -> Awaitable[Any]:
        """Return what to await. ``fault`` is the reason why the peer's certificate is no longer valid."""

    def finish(self, outcome: Any, *, is_head: bool) -> Answer:
        """Return the response for what was awaited."""

    async def read_pieces(self, receive: Callable[[], Awaitable[Any]], limit: int) -> bytes:
        """Return a body that arrives as ASGI messages."""


@dataclass(slots=True)
class Counts:
    """Counts of connections. ``refused`` counts malformed requests and failed handshakes, by reason.

    ``is_ending``: the server stops soon.
    """

    open: int = 0
    accepted: int = 0
    rejected: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    tls: Tls | None = None
    is_ending: bool = False


def plain_problem(error: VaultError) -> Answer:
    """Return an error as a response without a body."""
    return Answer(error.status, [("content-length", "0")], b"")


def answer_head(status: int, fields: bytes, date: bytes, *, persists: bool) -> bytes:
    """Return the bytes of a response's head. ``date`` is a whole field."""
    status_line = _STATUS_LINES.get(status) or b"HTTP/1.1 %d -\r\n" % status
    return b"".join((status_line, fields, date, b"\r\n" if persists else b"connection: close\r\n\r\n"))


async def no_body(_limit: int) -> bytes:
    """Read the body of a request that has none."""
    return b""


class ServerState:
    """The clock, limits and connections of a server, and the application.

    ``app`` is an ASGI application. It is called for each request that ``handler``, if any, does not answer. ``problem``
    makes the response for an error of the protocol.
    """

    def __init__(
        self,
        app: App,
        limits: Limits,
        *,
        handler: Handler | None = None,
        counts: Counts | None = None,
        tls: Tls | None = None,
        problem: Callable[[VaultError], Answer] = plain_problem,
    ) -> None:
        self.app = app
        self.handler = handler
        self.limits = limits
        self.loop = asyncio.get_running_loop()
        self.connections: set[Any] = set()
        self.reserve: dict[Any, None] = {}
        self.counts = counts or Counts()
        self.tls = tls
        self.problem = problem
        self.requests: set[object] = set()
        self.now: float = 0.0
        self.date = b""
        self.receive_buffer = memoryview(bytearray(RECEIVE_BYTES))

    def run(self, request: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run a request; nothing cancels it. ``ended`` follows."""
        task = self.loop.create_task(request)
        self.requests.add(task)
        return task

    def run_in_steps(self, request: Coroutine[Any, Any, None]) -> None:
        """Run a request that uses no time limit of asyncio, for less time than ``run``. Nothing cancels it."""
        steps = Steps(request, self.requests.discard)
        self.requests.add(steps)
        steps.go_on()

    def ended(self, task: asyncio.Task[None]) -> None:
        """Forget the task of a request."""
        self.requests.discard(task)

    def refused(self, error: VaultError) -> None:
        """Count a malformed request."""
        self.counts.refused[error.reason] += 1

    def forget(self, connection: Any) -> None:
        """Forget a closed connection."""
        self.connections.discard(connection)
        self.reserve.pop(connection, None)
