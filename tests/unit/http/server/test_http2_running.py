"""The requests of HTTP/2 that run at once, over all connections: each holds its value several times."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import h2.config
import h2.connection
import h2.settings

from vsqlvault.errors import VaultError
from vsqlvault.http.server.http2 import MAX_HELD_IN_ALL_BYTES, Http2
from vsqlvault.http.server.state import Answer

CONNECTIONS, REQUESTS, MAX_RUNNING, BODY = 8, 60, 64, b"v" * 1_000_000


class Transport(asyncio.Transport):
    """Takes what is written to it, and keeps nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.protocol: Any = None

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def write(self, data: Any) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return 0

    def close(self) -> None:
        pass

    def abort(self) -> None:
        pass


class Host:
    """A server whose application answers when the gate opens, and counts the requests that run."""

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.loop = asyncio.get_running_loop()
        self.limits = SimpleNamespace(head_seconds=5, keep_alive_seconds=60, write_seconds=10, linger_seconds=1)
        self.now, self.date, self.tls = 0.0, b"date: now\r\n", None
        self.connections: set[Any] = set()
        self.reserve: dict[Any, None] = {}
        self.running = self.most = self.answered = 0
        self.gate = asyncio.Semaphore(0)
        self.tasks: set[asyncio.Task[None]] = set()

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await self.gate.acquire()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.running -= 1
        self.answered += 1
        await send({"type": "http.response.body", "body": self.body})

    def run(self, request: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self.loop.create_task(request)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def ended(self, task: asyncio.Task[None]) -> None:
        pass

    def refused(self, error: VaultError) -> None:
        pass

    def forget(self, connection: Any) -> None:
        self.connections.discard(connection)

    def problem(self, error: VaultError) -> Answer:
        return 500, [], json.dumps(error.slug).encode()


class Client:
    """The other end, whose windows let everything or nothing be sent."""

    def __init__(self, family: Http2, window: int) -> None:
        self.transport = Transport()
        family.take(self.transport, b"", None, may_ask=True)
        self.state = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
        self.state.initiate_connection()
        self.state.update_settings({h2.settings.SettingCodes.INITIAL_WINDOW_SIZE: window})
        self.state.increment_flow_control_window(2**31 - 1 - 65_535)

    def ask(self, count: int) -> None:
        for _ in range(count):
            stream = self.state.get_next_available_stream_id()
            head = [(":method", "GET"), (":path", "/a"), (":scheme", "https"), (":authority", "localhost")]
            self.state.send_headers(stream, head, end_stream=True)
        self.flush()

    def flush(self) -> None:
        self.transport.protocol.data_received(self.state.data_to_send())


async def settle() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


@asynccontextmanager
async def hosted(body: bytes = b"v") -> AsyncIterator[Host]:
    host = Host(body)
    yield host
    for task in list(host.tasks):
        task.cancel()
    await settle()


async def test_requests_of_all_connections_that_run_at_once_are_bounded() -> None:
    async with hosted() as host:
        family = Http2(host)
        for _ in range(CONNECTIONS):
            Client(family, 2**30).ask(REQUESTS)
        await settle()
        for _ in range(CONNECTIONS * REQUESTS):
            host.gate.release()
            await settle()
        assert (host.answered, host.running) == (CONNECTIONS * REQUESTS, 0)
        assert MAX_RUNNING <= host.most <= MAX_RUNNING + CONNECTIONS


async def test_one_request_of_each_connection_runs_whatever_the_others_do() -> None:
    async with hosted() as host:
        family = Http2(host, max_running=3)
        clients = [Client(family, 2**30) for _ in range(CONNECTIONS)]
        for client in clients:
            client.ask(REQUESTS)
        await settle()
        assert host.running == 3 + CONNECTIONS - 1  # the first one has three, each other one has one


async def test_a_place_that_gets_free_goes_to_each_connection_in_turn() -> None:
    async with hosted() as host:
        family = Http2(host, max_running=4)
        greedy, modest = Client(family, 2**30), Client(family, 2**30)
        greedy.ask(REQUESTS)
        modest.ask(8)
        await settle()
        for _ in range(24):
            host.gate.release()
            await settle()
        assert len(modest.transport.protocol.waiting) == 0
        assert len(greedy.transport.protocol.waiting) > 30


async def test_answers_that_are_not_read_are_bounded_in_all_before_any_connection_is_closed() -> None:
    async with hosted(BODY) as host:
        family = Http2(host)
        clients = [Client(family, 0) for _ in range(CONNECTIONS)]
        for client in clients:
            client.ask(REQUESTS)
        for _ in range(CONNECTIONS * REQUESTS):
            host.gate.release()
            await settle()
        held = [client.transport.protocol.held for client in clients]
        assert all(held)
        assert sum(held) <= MAX_HELD_IN_ALL_BYTES
