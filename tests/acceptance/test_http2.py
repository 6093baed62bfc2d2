"""HTTP/2 over TLS on real sockets: the limits, the deadlines and the end of the server are those of HTTP/1.1."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import psutil
import pytest

from tests.support.http2 import DATA, PING, Http2Client, frame, section
from tests.support.server import VaultServer, eventually
from tests.support.tls import Ground, Start, ground, start
from tests.support.wire import connected

__all__ = ["ground", "start"]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
VALUE = "v" * 1_000_000
LARGE = "[server]\nmax_body_bytes = 2097152\nmax_value_bytes = 1048576\nhttp2 = true\n"


@pytest.fixture
def server(start: Start, ground: Ground) -> VaultServer:
    return start(ground.settings(more=LARGE.removeprefix("[server]\n")))


@pytest.fixture(scope="module")
def own_ground(tmp_path_factory: pytest.TempPathFactory) -> Ground:
    return Ground(tmp_path_factory.mktemp("tls"))


def served(directory: Path, ground: Ground, more: str) -> Iterator[VaultServer]:
    """Serve with SQLite: what a connection does is the same on every storage."""
    server = VaultServer(directory, settings=ground.settings(more=more))
    server.tls = ground.context()
    try:
        server.start().retention("card")
        yield server
        server.assert_log_is_clean()
    finally:
        server.kill()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, own_ground: Ground) -> Iterator[VaultServer]:
    """Return the server of the tests that neither stop it nor measure its memory."""
    yield from served(tmp_path_factory.mktemp("shared"), own_ground, LARGE.removeprefix("[server]\n"))


@pytest.fixture(scope="module")
def strict(tmp_path_factory: pytest.TempPathFactory, own_ground: Ground) -> Iterator[VaultServer]:
    """Return a server with a short time for a body, and few connections."""
    more = "http2 = true\nbody_timeout_seconds = 1\nmax_connections = 10"
    yield from served(tmp_path_factory.mktemp("strict"), own_ground, more)


@pytest.fixture
def client(shared: VaultServer, own_ground: Ground) -> Iterator[Http2Client]:
    with Http2Client.to(shared.address, own_ground.context(None, "h2")) as client:
        yield client


def key(server: VaultServer) -> list[tuple[str, str]]:
    return [("x-vault-key", server.key("payments"))]


def put_head(server: VaultServer, external_id: str) -> list[tuple[bytes, bytes]]:
    return section("PUT", f"/vault/card/{external_id}", [*key(server), ("content-type", "application/json")])


def ends_logged(server: VaultServer) -> list[datetime]:
    """Return the times at which the server has logged that it ended a connection."""
    lines = [json.loads(line) for line in server.log_lines() if "HTTP/2 connection ended" in line]
    return [datetime.fromisoformat(line["at"]) for line in lines]


def rss(server: VaultServer) -> int:
    return int(psutil.Process(server.pid).memory_info().rss)


SILENT = {
    "nothing": b"",
    "half a preface": b"PRI * HTTP/2.0\r\n",
    "half a frame": PREFACE + frame(4)[:5],
    "half a header block": PREFACE + frame(4) + frame(1, b"\x82", flags=1, stream=1),
}


def seconds_until_closed(server: VaultServer, ground: Ground, sent: bytes) -> float:
    """Return after how many seconds the server closes a connection on which no whole head comes."""
    with connected(server.address, 15, ground.context(None, "h2")) as silent:
        silent.sendall(sent)
        began = time.monotonic()
        while silent.recv(4096):
            pass
        return time.monotonic() - began


def reset_of_stuck_stream(server: VaultServer, ground: Ground) -> int | None:
    """Return how the server resets a stream that is not read, while others of the connection are answered."""
    server.stored("payments", "card/stuck", VALUE)
    with Http2Client.to(server.address, ground.context(None, "h2"), window=0) as client:
        stuck = client.begin(section("GET", "/vault/card/stuck", key(server)))
        deadline = time.monotonic() + 20
        while client.responses[stuck].reset is None and time.monotonic() < deadline:
            other = client.begin(section("GET", "/vault/card/stuck", key(server)))
            client.state.increment_flow_control_window(2_000_000, other)
            client.state.increment_flow_control_window(2_000_000)
            client.flush()
            assert client.result(other).is_whole
            time.sleep(1)
        return client.responses[stuck].reset


@dataclass(frozen=True)
class Waits:
    """Clients that wait for a deadline of the server, all at the same time, and beside the first tests."""

    silent: dict[str, Future[float]]
    stuck: Future[int | None]


@pytest.fixture(scope="module", autouse=True)
def waits(shared: VaultServer, own_ground: Ground) -> Iterator[Waits]:
    with ThreadPoolExecutor(len(SILENT) + 1) as pool:
        stuck = pool.submit(reset_of_stuck_stream, shared, own_ground)
        yield Waits(
            {kind: pool.submit(seconds_until_closed, shared, own_ground, sent) for kind, sent in SILENT.items()}, stuck
        )


class TestTheEndOfTheServer:
    def test_a_request_in_flight_is_answered_after_goaway(self, server: VaultServer, ground: Ground) -> None:
        body = json.dumps({"encrypted_value": "value"}).encode()
        with Http2Client.to(server.address, ground.context(None, "h2")) as client:
            stream = client.begin(put_head(server, "a"), ends=False)
            client.send(stream, body[:5], ends=False)
            client.ask("GET", "/health")  # the server has begun the stream before it
            server.stop_later()
            while client.goaway is None and client.read():
                pass
            assert client.goaway == (3, 0)
            client.send(stream, body[5:])
            assert client.result(stream).status == 201
            client.read_to_end()
        assert server.wait() == 0
        server.assert_log_is_clean()

    def test_an_answer_is_sent_to_its_end(self, server: VaultServer, ground: Ground) -> None:
        server.stored("payments", "card/a", VALUE)
        with Http2Client.to(server.address, ground.context(None, "h2")) as client:
            stream = client.begin(section("GET", "/vault/card/a", key(server)))
            eventually(lambda: client.read() and client.responses[stream].headers)
            server.stop_later()
            assert VALUE.encode() in client.result(stream).body
        assert server.wait() == 0


class TestSlowReaders:
    def test_one_that_lets_nothing_be_sent_is_cut_and_its_memory_is_free(
        self, server: VaultServer, ground: Ground
    ) -> None:
        server.stored("payments", "card/a", VALUE)
        before = rss(server)
        with Http2Client.to(server.address, ground.context(None, "h2"), window=0) as client:
            for _ in range(100):
                client.begin(section("GET", "/vault/card/a", key(server)))
            began = time.monotonic()
            most = 0
            while client.read():
                most = max(most, rss(server))
            assert time.monotonic() - began < 20
        assert most - before < 100 * 1024 * 1024
        eventually(lambda: rss(server) - before < 8 * 1024 * 1024)  # measured: 0 to 1 MiB; 11 to 31 on a heap
        server.assert_log_is_clean()

    def test_one_stream_that_is_not_read_does_not_end_the_others(self, waits: Waits) -> None:
        assert waits.stuck.result() == 8

    def test_many_are_bounded_together(self, shared: VaultServer, own_ground: Ground) -> None:
        shared.stored("payments", "card/many", VALUE)
        before = rss(shared)
        clients = [Http2Client.to(shared.address, own_ground.context(None, "h2"), window=0) for _ in range(8)]
        for client in clients:
            for _ in range(60):
                client.begin(section("GET", "/vault/card/many", key(shared)))
        most = 0
        for client in clients:
            while client.read():
                most = max(most, rss(shared))
            client.socket.close()
        # 64 running requests, and 8 MiB of answers of each connection; measured: 115 to 161 MiB
        assert most - before < 300 * 1024 * 1024
        assert shared.call(None, "GET", "/health").status == 200


class TestLimits:
    def test_a_head_too_large_is_431_and_the_others_go_on(self, shared: VaultServer, client: Http2Client) -> None:
        assert client.ask("GET", "/health", [("x-long", "a" * 20_000)]).slug == "headers-too-large"
        assert client.ask("GET", "/health", [(f"x-{n}", "a") for n in range(101)]).status == 431
        assert client.ask("GET", "/health", [(f"x-{n}", "a") for n in range(99)]).status == 200

    def test_fifteen_hundred_fields_are_431(self, client: Http2Client) -> None:
        assert client.ask("GET", "/health", [(f"x{n}", "") for n in range(1500)]).status == 431

    def test_streams_beyond_the_limit_are_refused_one_by_one(self, shared: VaultServer, client: Http2Client) -> None:
        eventually(lambda: client.read() and client.state.remote_settings.max_concurrent_streams == 100)
        client.state.remote_settings.max_concurrent_streams = 1000
        client.state.remote_settings.acknowledge()
        streams = [client.begin(put_head(shared, f"n{n}"), ends=False) for n in range(101)]
        assert client.result(streams[-1]).reset == 7
        client.send(streams[0], b'{"encrypted_value": "v"}')
        assert client.result(streams[0]).status == 201

    @pytest.mark.parametrize("kind", SILENT)
    def test_a_head_that_does_not_come_closes_after_five_seconds(self, waits: Waits, kind: str) -> None:
        assert 4 < waits.silent[kind].result() < 9

    def test_a_body_that_does_not_come_is_408(self, strict: VaultServer, own_ground: Ground) -> None:
        with Http2Client.to(strict.address, own_ground.context(None, "h2")) as client:
            stream = client.begin(put_head(strict, "slow"), ends=False)
            assert client.result(stream).status == 408

    def test_a_body_beyond_the_limit_is_413_and_the_connection_lives(
        self, shared: VaultServer, client: Http2Client
    ) -> None:
        stream = client.begin([*put_head(shared, "large"), (b"content-length", b"999999999")], ends=False)
        assert client.result(stream).status == 413
        assert client.ask("GET", "/health").status == 200


def test_connections_beyond_the_limit_may_ask_for_health_alone(strict: VaultServer, own_ground: Ground) -> None:
    clients = [Http2Client.to(strict.address, own_ground.context(None, "h2")) for _ in range(10)]
    with Http2Client.to(strict.address, own_ground.context(None, "h2")) as late:
        assert late.ask("GET", "/vault/card/a", key(strict)).slug == "overloaded"
        assert late.ask("GET", "/health").status == 200
    for client in clients:
        client.socket.close()
    eventually(lambda: strict.get("payments", "card/a").status == 404)


class TestHostileClients:
    def test_connect_is_refused_and_the_others_live(self, shared: VaultServer, client: Http2Client) -> None:
        connect = [(b":method", b"CONNECT"), (b":authority", b"example.org:443")]
        answer = client.result(client.begin(connect, ends=False)).answer
        assert (answer.status, answer.slug) == (400, "invalid-path")
        assert client.ask("GET", "/health").status == 200
        shared.assert_log_is_clean()

    def test_a_flood_of_pings_ends_the_connection_and_logs_once_a_second_at_most(
        self, shared: VaultServer, own_ground: Ground
    ) -> None:
        before = len(ends_logged(shared))

        def flooded() -> bool:
            with Http2Client.to(shared.address, own_ground.context(None, "h2")) as client:
                client.socket.sendall(frame(PING, bytes(8)) * 2000)
                client.read_to_end()
                assert client.goaway == (0, 11)
            return len(ends_logged(shared)) >= before + 3

        eventually(flooded, 30)
        first, _, third = ends_logged(shared)[
            before : before + 3
        ]  # each in another second of a clock that ticks once a second
        assert third - first > timedelta(seconds=0.9)
        shared.assert_log_is_clean()

    def test_streams_that_are_opened_and_reset_do_not_run_all(self, shared: VaultServer, own_ground: Ground) -> None:
        with Http2Client.to(shared.address, own_ground.context(None, "h2")) as client:
            for _ in range(600):
                stream = client.state.get_next_available_stream_id()
                client.state.send_headers(stream, section("GET", "/vault/card/a", key(shared)), end_stream=True)
                client.state.reset_stream(stream, 8)
            client.flush()
            client.read_to_end()
            assert client.goaway is not None
            assert client.goaway[1] == 11
        assert shared.call(None, "GET", "/health").status == 200

    def test_bytes_that_are_no_frames_leave_one_line_and_no_traceback(
        self, shared: VaultServer, own_ground: Ground
    ) -> None:
        for _ in range(5):
            with Http2Client.to(shared.address, own_ground.context(None, "h2")) as client:
                client.socket.sendall(frame(DATA, b"x" * 100, stream=9))
                client.read_to_end()
                assert client.goaway is not None
        shared.assert_log_is_clean()


def test_a_client_that_waits_for_100_gets_it(shared: VaultServer, client: Http2Client) -> None:
    stream = client.begin([*put_head(shared, "e"), (b"expect", b"100-continue")], ends=False)
    eventually(lambda: client.read() and client.responses[stream].interim == [100])
    client.send(stream, b'{"encrypted_value": "v"}')
    assert client.result(stream).status == 201


def test_a_large_value_goes_in_and_out(shared: VaultServer, client: Http2Client) -> None:
    body = json.dumps({"encrypted_value": VALUE}).encode()
    content = [*key(shared), ("content-type", "application/json")]
    assert client.ask("PUT", "/vault/card/big", content, body).status == 201
    assert client.ask("GET", "/vault/card/big", key(shared)).json["encrypted_value"] == VALUE
    assert client.ask("HEAD", "/vault/card/big", key(shared)).status == 200
