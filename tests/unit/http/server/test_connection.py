"""The server and its connections, in this process, in front of applications made for the purpose."""

from __future__ import annotations

import asyncio
import errno
import json
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest

from vsqlvault.http.problems import protocol_problem
from vsqlvault.http.server.server import RESERVED_CONNECTIONS, Server, listen
from vsqlvault.http.server.state import Answer, Limits

TICK = 0.05
MEBIBYTE = 1024 * 1024


async def hello(scope: Any, receive: Any, send: Any) -> None:
    """Answers with the path it was asked for."""
    await answer(send, scope["raw_path"])


async def answer(send: Any, body: bytes, status: int = 200) -> None:
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": body})


def head(target: str = "/a", method: str = "GET", version: str = "1.1", *fields: str) -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/{version}", "Host: localhost", *fields, "", ""]).encode()


class Client:
    """One connection, and what is read on it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        status_line, *fields = (await self.reader.readuntil(b"\r\n\r\n")).decode("ascii").split("\r\n")[:-2]
        headers = dict(field.split(": ", 1) for field in fields)
        body = await self.reader.readexactly(int(headers.get("content-length", 0)))
        return int(status_line.split(" ")[1]), headers, body

    async def ask(self, raw: bytes) -> tuple[int, dict[str, str], bytes]:
        self.writer.write(raw)
        return await self.answer()

    def reset(self) -> None:
        """End the connection as a client that dies does."""
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()

    async def rest(self, seconds: float = 3) -> bytes:
        """What still comes until the server hangs up."""
        async with asyncio.timeout(seconds):
            try:
                return await self.reader.read(-1)
            except ConnectionResetError:
                return b""


class Serving:
    """A server, and the clients that it has."""

    def __init__(self, server: Server, address: tuple[str, int]) -> None:
        self.server, self.address = server, address
        self._clients: list[Client] = []

    async def client(self, **options: Any) -> Client:
        client = Client(*await asyncio.open_connection(*self.address, **options))
        self._clients.append(client)
        return client

    async def hang_up(self) -> None:
        for client in self._clients:
            client.writer.transport.abort()


@pytest.fixture
def serve() -> Callable[..., Any]:
    @asynccontextmanager
    async def serve(
        app: Any, *, listener: socket.socket | None = None, handler: Any = None, **limits: Any
    ) -> AsyncIterator[Serving]:
        listener = listener or listen("127.0.0.1:0")
        address = listener.getsockname()
        server = Server(
            app,
            Limits(**{"tick_seconds": TICK, "flush_seconds": TICK, **limits}),
            handler=handler,
            problem=protocol_problem,
        )
        server.accept_from(listener)
        serving = Serving(server, address)
        try:
            yield serving
        finally:
            await serving.hang_up()
            server.stop_accepting()
            await server.finish(0.5)

    return serve


class AtOnce:
    """A handler that awaits nothing."""

    def find(self, _method: str, path: bytes) -> bytes:
        return path

    async def start(self, found: bytes, *_: Any) -> bytes:
        return found

    def finish(self, outcome: bytes, *, is_head: bool) -> Answer:
        return Answer(200, [("content-length", str(len(outcome)))], b"" if is_head else outcome)


async def test_any_number_of_pipelined_requests_that_are_answered_at_once_do_not_nest(serve) -> None:
    targets = [f"/{number}" for number in range(400)]
    async with serve(hello, handler=AtOnce()) as serving:
        client = await serving.client()
        client.writer.write(b"".join(head(target) for target in targets))
        answers = [(await client.answer())[2].decode() for _ in targets]
    assert answers == targets


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(serve) -> None:
    under_way = most = 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.05 if scope["raw_path"] == b"/0" else 0)
        await answer(send, scope["raw_path"])
        under_way -= 1

    async with serve(app) as serving:
        client = await serving.client()
        client.writer.write(b"".join(head(f"/{number}") for number in range(50)))
        assert [(await client.answer())[2] for _ in range(50)] == [b"/%d" % number for number in range(50)]
    assert most == 1


async def test_a_client_that_reads_nothing_is_cut_off(serve) -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(64):
            await send({"type": "http.response.body", "body": bytes(MEBIBYTE), "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        ended.set()

    async with serve(app, write_seconds=0.3) as serving:
        client = await serving.client(limit=1024)
        client.writer.write(head())
        await asyncio.wait_for(ended.wait(), 3)  # what it still sent to a closed connection went nowhere
        assert not serving.server.connections


async def test_a_client_that_reads_slowly_is_not(serve) -> None:
    size = 12 * MEBIBYTE

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % size)]})
        await send({"type": "http.response.body", "body": bytes(size), "more_body": True})
        await send({"type": "http.response.body", "body": b""})

    async with serve(app, write_seconds=10, tick_seconds=3600) as serving:
        client = await serving.client(limit=MEBIBYTE // 2)
        client.writer.write(head())
        await client.reader.readuntil(b"\r\n\r\n")
        (connection,) = serving.server.connections
        read, now = 0, serving.server.now
        while read < size:
            part = await client.reader.read(MEBIBYTE)
            assert part, "the server hung up"
            read += len(part)
            now += 1
            connection.check(now)
        assert read == size
        assert now > serving.server.now + 10


@pytest.mark.parametrize("probe", ["/health", "/health/live", "/health/ready"])
async def test_beyond_the_limit_only_health_is_answered(serve, probe) -> None:
    async with serve(hello, connections=2) as serving:
        first, second = [await serving.client() for _ in range(2)]
        assert [(await client.ask(head()))[0] for client in (first, second)] == [200, 200]
        third = await serving.client()
        status, headers, body = await third.ask(head())
        assert (status, headers["connection"], json.loads(body)["type"].rpartition(":")[2]) == (
            503,
            "close",
            "overloaded",
        )
        fourth = await serving.client()
        assert (await fourth.ask(head(probe)))[0] == 200
        assert (await first.ask(head()))[0] == 200
        assert serving.server.counts.refused["overloaded"] == 1


async def test_beyond_the_reserve_who_came_first_and_asks_nothing_gives_way(serve) -> None:
    async with serve(hello, connections=2) as serving:
        kept = [await serving.client() for _ in range(2)]
        silent = [await serving.client() for _ in range(RESERVED_CONNECTIONS)]
        assert (await (await serving.client()).ask(head("/health")))[0] == 200
        assert await silent[0].rest(1) == b""
        assert (await silent[1].ask(head("/health")))[0] == 200
        assert [(await client.ask(head()))[0] for client in kept] == [200, 200]
        assert serving.server.counts.rejected == 1


async def test_beyond_a_reserve_that_asks_a_connection_is_closed_at_once(serve) -> None:
    go_on = asyncio.Event()
    all_asked = asyncio.Barrier(2 + RESERVED_CONNECTIONS)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await all_asked.wait()
        await go_on.wait()
        await answer(send, b"")

    async with serve(app, connections=1) as serving:
        clients = [await serving.client() for _ in range(1 + RESERVED_CONNECTIONS)]
        for client in clients:
            client.writer.write(head("/health"))
        await all_asked.wait()
        assert await (await serving.client()).rest(1) == b""
        go_on.set()
        assert [(await client.answer())[0] for client in clients] == [200] * len(clients)
        assert serving.server.counts.rejected == 1


async def test_room_that_was_left_is_there_again(serve) -> None:
    async with serve(hello, connections=1) as serving:
        for _ in range(RESERVED_CONNECTIONS + 5):
            client = await serving.client()
            assert (await client.ask(head()))[0] == 200
            client.writer.close()
            await client.rest()
            await asyncio.sleep(0)


async def test_without_descriptors_it_waits_and_goes_on(serve, caplog) -> None:
    class Exhausted(socket.socket):
        left = 3

        def accept(self) -> Any:
            if self.left:
                self.left -= 1
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    listener = Exhausted(fileno=listen("127.0.0.1:0").detach())
    async with serve(hello, listener=listener) as serving:
        assert (await (await serving.client()).ask(head()))[0] == 200
    assert [record.message for record in caplog.records] == ["cannot accept a connection"] * 3


async def test_a_client_that_comes_as_it_stops_breaks_nothing(serve) -> None:
    faults: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
    listener = listen("127.0.0.1:0")
    descriptor = listener.fileno()
    async with serve(hello, listener=listener) as serving:
        await asyncio.sleep(0)
        with socket.create_connection(serving.address) as late:  # in the backlog: the loop did not turn meanwhile
            asyncio.get_running_loop().call_soon(serving.server.stop_accepting)
            await asyncio.sleep(0.05)
            late.setblocking(False)
            with suppress(ConnectionResetError):
                assert late.recv(1) == b""
        assert not asyncio.get_running_loop().remove_reader(descriptor)
    assert faults == []


async def test_an_end_in_time_answers_everybody(serve) -> None:
    never, soon, both_begun = asyncio.Event(), asyncio.Event(), asyncio.Event()
    begun: list[bytes] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.append(scope["raw_path"])
        if len(begun) == 2:
            both_begun.set()
        await {b"/never": never, b"/soon": soon}[scope["raw_path"]].wait()
        await answer(send, b"done")

    async with serve(app) as serving:
        idle, short, long = [await serving.client() for _ in range(3)]
        short.writer.write(head("/soon") + head("/behind"))
        long.writer.write(head("/never"))
        await both_begun.wait()
        serving.server.stop_accepting()
        ending = asyncio.create_task(serving.server.finish(0.3))
        await asyncio.sleep(0.1)
        soon.set()
        status, headers, body = await short.answer()
        assert (status, headers["connection"], body) == (200, "close", b"done")
        status, headers, body = await long.answer()
        assert (status, headers["connection"]) == (503, "close")
        assert json.loads(body)["type"].endswith("shutting-down")
        assert [await client.rest() for client in (idle, short, long)] == [b"", b"", b""]
        await ending
        assert sorted(begun) == [b"/never", b"/soon"]
        never.set()


async def test_what_has_begun_is_carried_out_though_the_client_is_gone(serve) -> None:
    begun, may_go, ended = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await may_go.wait()
        await answer(send, b"nobody reads this")
        ended.set()

    async with serve(app) as serving:
        client = await serving.client()
        client.writer.write(head())
        await begun.wait()
        client.reset()
        await asyncio.sleep(0.05)
        assert not serving.server.connections
        may_go.set()
        await asyncio.wait_for(ended.wait(), 1)


async def test_who_waits_for_a_body_hears_that_the_client_is_gone(serve) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not heard or heard[-1] == "http.request":
            heard.append((await receive())["type"])

    async with serve(app) as serving:
        client = await serving.client()
        client.writer.write(head("/a", "PUT", "1.1", "Content-Length: 10") + b"12345")
        await asyncio.sleep(0.05)
        client.writer.transport.abort()
        await asyncio.sleep(0.05)
    assert heard == ["http.request", "http.disconnect"]


@pytest.mark.parametrize(
    ("sent", "begins"),
    [(b"", b""), (b"GET / HTT", b"HTTP/1.1 408 "), (b"GET / HTTP/1.1\r\nHost: a\r\n", b"HTTP/1.1 408 ")],
    ids=["silent", "half a line", "half a head"],
)
async def test_a_head_that_does_not_come_is_not_waited_for(serve, sent, begins) -> None:
    async with serve(hello, head_seconds=0.3) as serving:
        client = await serving.client()
        client.writer.write(sent)
        told = await client.rest(2)
    assert told.startswith(begins)
    assert bool(told) == bool(begins)


async def test_a_head_that_trickles_in_is_not_waited_for_longer(serve) -> None:
    loop = asyncio.get_running_loop()
    async with serve(hello, head_seconds=0.3) as serving:
        client = await serving.client()
        begun = loop.time()
        reading = asyncio.create_task(client.rest(3))
        for byte in head("/" + "a" * 200):
            if reading.done():
                break
            client.writer.write(bytes([byte]))
            await asyncio.sleep(0.02)
        assert (await reading).startswith(b"HTTP/1.1 408 ")
        assert loop.time() - begun < 1.5


async def test_between_requests_a_connection_is_kept_so_long_and_no_longer(serve) -> None:
    async with serve(hello, head_seconds=0.2, keep_alive_seconds=0.8, linger_seconds=0.1) as serving:
        client = await serving.client()
        assert (await client.ask(head()))[0] == 200
        await asyncio.sleep(0.5)
        assert (await client.ask(head()))[0] == 200
        assert await client.rest(2) == b""


async def test_the_next_head_is_not_waited_for_as_long_as_an_idle_connection(serve) -> None:
    async with serve(hello, head_seconds=0.2, keep_alive_seconds=30) as serving:
        client = await serving.client()
        assert (await client.ask(head()))[0] == 200
        client.writer.write(b"GET /b")
        assert (await client.rest(2)).startswith(b"HTTP/1.1 408 ")


async def test_an_application_that_raises_is_answered_for(serve, caplog) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise LookupError

    async with serve(app) as serving:
        client = await serving.client()
        status, headers, _ = await client.ask(head())
        assert (status, headers["connection"]) == (500, "close")
        assert await client.rest() == b""
    assert [record.message for record in caplog.records] == ["request failed"]


async def test_an_answer_that_broke_off_is_not_ended_as_if_it_were_whole(serve, caplog) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
        raise LookupError

    async with serve(app) as serving:
        client = await serving.client()
        client.writer.write(head())
        assert b"0\r\n\r\n" not in await client.rest()
    assert [record.message for record in caplog.records] == ["request failed"]


async def test_a_body_that_nobody_asks_for_stays_with_the_client(serve) -> None:
    release = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await release.wait()
        await answer(send, b"")

    async with serve(app) as serving:
        client = await serving.client()
        client.writer.write(head("/a", "PUT", "1.1", f"Content-Length: {64 * MEBIBYTE}"))
        client.writer.write(bytes(64 * MEBIBYTE))
        await asyncio.sleep(0.3)
        (connection,) = serving.server.connections
        assert len(connection._cycle.unread) < MEBIBYTE
        assert client.writer.transport.get_write_buffer_size() > 32 * MEBIBYTE
        release.set()


async def test_a_body_longer_than_what_lies_in_memory_arrives_whole(serve) -> None:
    size = 16 * MEBIBYTE

    async def app(scope: Any, receive: Any, send: Any) -> None:
        taken, more = 0, True
        while more:
            message = await receive()
            taken += len(message["body"])
            more = message["more_body"]
        await answer(send, b"%d" % taken)

    async with serve(app) as serving:
        client = await serving.client()
        client.writer.write(head("/a", "PUT", "1.1", f"Content-Length: {size}"))
        client.writer.write(bytes(size))
        assert (await client.answer())[2] == b"%d" % size
        chunks = b"".join(b"10000\r\n%b\r\n" % bytes(65536) for _ in range(size // 65536)) + b"0\r\n\r\n"
        client.writer.write(head("/a", "PUT", "1.1", "Transfer-Encoding: chunked") + chunks + head("/after"))
        assert (await client.answer())[2] == b"%d" % size
        assert (await client.answer())[0] == 200


class TestExpect:
    FIELDS = ("Content-Length: 4", "Expect: 100-continue")

    async def test_who_asks_for_the_body_lets_it_come(self, serve) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await answer(send, (await receive())["body"])

        async with serve(app) as serving:
            client = await serving.client()
            client.writer.write(head("/a", "PUT", "1.1", *self.FIELDS))
            assert await client.reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            assert (await client.ask(b"body"))[2] == b"body"

    async def test_who_does_not_ends_the_connection(self, serve) -> None:
        async with serve(hello) as serving:
            client = await serving.client()
            status, headers, _ = await client.ask(head("/a", "PUT", "1.1", *self.FIELDS))
            assert (status, headers["connection"]) == (200, "close")
            assert await client.rest() == b""


class TestHttp10:
    async def test_a_connection_ends_after_its_answer(self, serve) -> None:
        async with serve(hello) as serving:
            client = await serving.client()
            status, headers, body = await client.ask(b"GET /a HTTP/1.0\r\n\r\n")
            assert (status, headers["connection"], body) == (200, "close", b"/a")
            assert await client.rest() == b""

    async def test_unless_it_is_asked_to_stay(self, serve) -> None:
        async with serve(hello) as serving:
            client = await serving.client()
            for _ in range(2):
                status, headers, _ = await client.ask(head("/a", "GET", "1.0", "Connection: keep-alive"))
                assert (status, headers["connection"]) == (200, "keep-alive")

    async def test_a_stream_ends_with_the_connection(self, serve) -> None:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"one", "more_body": True})
            await send({"type": "http.response.body", "body": b"two"})

        async with serve(app) as serving:
            client = await serving.client()
            client.writer.write(head("/a", "GET", "1.0", "Connection: keep-alive"))
            told, _, body = (await client.rest()).partition(b"\r\n\r\n")
            assert b"transfer-encoding" not in told
            assert b"connection: close" in told
            assert body == b"onetwo"


async def test_an_answer_to_head_has_no_body(serve) -> None:
    async with serve(hello) as serving:
        client = await serving.client()
        client.writer.write(head("/a", "HEAD") + head("/b"))
        assert (await client.reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 OK\r\n")
        assert (await client.answer())[2] == b"/b"


async def test_a_client_that_has_said_all_is_still_answered(serve) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(0.1)
        await answer(send, b"late")

    async with serve(app) as serving:
        client = await serving.client()
        client.writer.write(head())
        client.writer.write_eof()
        assert (await client.rest()).endswith(b"late")


async def test_an_error_in_a_body_is_reported_and_closes_the_connection(serve) -> None:
    heard: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while not heard or heard[-1] == "http.request":
            heard.append((await receive())["type"])
        await answer(send, b"too late")

    async with serve(app) as serving:
        client = await serving.client()
        client.writer.write(head("/a", "PUT", "1.1", "Transfer-Encoding: chunked") + b"1\r\na\r\n")
        await asyncio.sleep(0.05)
        status, headers, body = await client.ask(b"zz\r\n" + head("/smuggled"))
        assert (status, headers["connection"]) == (400, "close")
        assert json.loads(body)["type"].endswith("bad-framing")
        assert await client.rest() == b""
    assert heard == ["http.request", "http.disconnect"]
