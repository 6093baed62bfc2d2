"""PostgreSQL restarts, loses a backend, or answers nobody; servers die: nothing that was acknowledged is lost."""

from __future__ import annotations

import http.client
import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest

from tests.support.fixtures import MARKER
from tests.support.postgres import PostgresServer
from tests.support.server import VaultServer, eventually

RECOVERY_SECONDS = 2.0
GONE = (OSError, http.client.HTTPException)
Start = Callable[..., VaultServer]


class History:
    """One client that sends requests without a pause until it is stopped, and the responses it got."""

    def __init__(self, server: VaultServer, seed: int) -> None:
        self.server = server
        self.stored: dict[str, str] = {}
        self.refused: dict[str, str] = {}
        self.unknown: dict[str, str] = {}
        self.reads: list[str] = []
        self.unavailable = 0
        self.wrong: list[str] = []
        self.answered_at: list[float] = []
        self._random = random.Random(seed)
        self._seed = seed
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        number = 0
        while not self._stop.is_set():
            number += 1
            name = f"h{self._seed}-{number}"
            try:
                self._put(name, f"{MARKER}-{self._random.getrandbits(64):x}")
                if self.stored:
                    self._get(self._random.choice(list(self.stored)[-20:]))
            except GONE:
                time.sleep(0.02)

    def _put(self, name: str, value: str) -> None:
        self.unknown[name] = value
        answer = self.server.put("payments", f"card/{name}", value)
        if answer.status == 201:
            self.stored[name] = value
            self.answered_at.append(time.monotonic())
        else:
            self._unavailable(answer.status)
            if answer.slug != "outcome-unknown":
                self.refused[name] = value
        if answer.slug != "outcome-unknown":
            del self.unknown[name]

    def _get(self, name: str) -> None:
        answer = self.server.get("payments", f"card/{name}")
        if answer.status != 200:
            self._unavailable(answer.status)
        elif answer.json["encrypted_value"] != self.stored[name]:
            self.wrong.append(name)
        else:
            self.reads.append(answer.request_id)

    def _unavailable(self, status: int) -> None:
        self.unavailable += 1
        if status != 503:
            self.wrong.append(f"{status}")


class Crowd:
    """Several clients at once."""

    def __init__(self, *servers: VaultServer, clients: int = 3) -> None:
        self.histories = [
            History(server, 10 * place + number) for place, server in enumerate(servers) for number in range(clients)
        ]

    def __enter__(self) -> Crowd:
        for history in self.histories:
            history.start()
        return self

    def __exit__(self, *_: object) -> None:
        for history in self.histories:
            history.stop()

    def first_answer_after(self, moment: float) -> float:
        """Return after how many seconds every client had something stored again."""
        return max(min(at for at in history.answered_at if at > moment) - moment for history in self.histories)

    def back(self, moment: float) -> bool:
        return all(history.answered_at and history.answered_at[-1] > moment for history in self.histories)

    def verify(self, server: VaultServer) -> None:
        """What was acknowledged is there with its row, what was refused is not, what is unknown is one or the other."""
        granted = server.rows("outcome=granted")
        stores = {row["external_id"] for row in granted if row["operation"] == "store"}
        reads = {row["request_id"] for row in granted if row["operation"] == "retrieve"}
        for history in self.histories:
            assert history.wrong == []
            assert history.stored
            assert history.stored.keys() <= stores
            for name, value in list(history.stored.items())[-200:]:
                assert server.get("payments", f"card/{name}").json["encrypted_value"] == value
            for name in history.refused:
                assert name not in stores
                assert server.get("payments", f"card/{name}").status == 404
            for name in history.unknown:
                assert (server.get("payments", f"card/{name}").status == 200) == (name in stores)
            assert set(history.reads) <= reads


@pytest.fixture
def start(tmp_path: Path, stoppable_postgres: PostgresServer, postgres_url: str) -> Iterator[Start]:
    servers: list[VaultServer] = []
    stoppable_postgres.sql("CHECKPOINT")  # what other tests left would make a crash's recovery long

    def start(url: str = postgres_url, settings: str = "", like: VaultServer | None = None) -> VaultServer:
        directory = tmp_path / f"server-{len(servers)}"
        directory.mkdir()
        server = VaultServer(directory, settings=settings, database_url=url, apps=like.apps if like else None)
        if like:
            server.admin_key = like.admin_key
        servers.append(server)
        server.start()
        server.retention("card")
        return server

    yield start
    for server in servers:
        server.kill()


def gaps(server: VaultServer) -> int:
    return sum(row["count"] for row in server.rows("operation=audit-gap"))


def test_a_crash_of_the_database_under_load_loses_nothing(start: Start, stoppable_postgres: PostgresServer) -> None:
    server = start()
    with Crowd(server, clients=6) as crowd:
        time.sleep(0.6)
        stoppable_postgres.stop("immediate")
        assert eventually(lambda: server.call(None, "GET", "/health").status == 503, 3)
        time.sleep(0.5)
        stoppable_postgres.start()
        running = time.monotonic()
        eventually(lambda: crowd.back(running))
        assert crowd.first_answer_after(running) < RECOVERY_SECONDS
        assert eventually(lambda: server.call(None, "GET", "/health").status == 200)
        time.sleep(0.3)
    crowd.verify(server)
    unavailable = sum(history.unavailable for history in crowd.histories)
    assert unavailable > 0
    assert eventually(lambda: gaps(server) >= unavailable)
    assert gaps(server) == unavailable
    assert server.stop() == 0
    server.assert_log_is_clean([MARKER])


def test_a_backend_that_is_killed_under_load_loses_nothing(start: Start, stoppable_postgres: PostgresServer) -> None:
    server = start()
    with Crowd(server, clients=6) as crowd:
        time.sleep(0.5)
        database = urlsplit(server.database_url).path[1:]
        found = stoppable_postgres.sql(f"SELECT pid FROM pg_stat_activity WHERE datname = '{database}' LIMIT 1")
        stoppable_postgres.kill_backend(int(found))
        killed = time.monotonic()
        eventually(lambda: crowd.back(killed + 0.2))
        time.sleep(0.3)
    crowd.verify(server)


def test_a_server_that_is_killed_leaves_the_other_serving(start: Start) -> None:
    first = start()
    second = start(like=first)
    with Crowd(first, second) as crowd:
        time.sleep(0.5)
        first.kill()
        killed = time.monotonic()
        second_clients = crowd.histories[3:]
        eventually(lambda: all(history.answered_at[-1] > killed + 0.5 for history in second_clients))
        first.start()
        back = time.monotonic()
        eventually(lambda: crowd.back(back))
    assert sum(history.unavailable for history in second_clients) == 0
    crowd.verify(second)
    crowd.verify(first)


class Wire:
    """A TCP connection's way to the database, which can be cut after a number of answers."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.passes: int | None = None
        self.swallowed = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(self._target)
                threading.Thread(target=self._pump, args=(client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, is_answer: bool) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                if is_answer and self.passes is not None:
                    if not self.passes:
                        self.swallowed += 1
                        time.sleep(0.1)  # the database does not notice at once
                        break
                    self.passes -= 1
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


def test_a_wire_that_is_cut_after_the_commit_leaves_the_outcome_unknown_and_whole(
    start: Start, stoppable_postgres: PostgresServer, postgres_url: str
) -> None:
    wire = Wire(("127.0.0.1", stoppable_postgres.port))
    parts = urlsplit(postgres_url)
    through = parts._replace(netloc=f"{parts.netloc.rpartition(':')[0]}:{wire.port}")
    server = start(urlunsplit(through))
    try:
        for number in range(5):
            server.stored("payments", f"card/warm-{number}", MARKER)
        stored = 0
        for number in range(12):
            wire.passes = number % 6
            answer = server.put("payments", f"card/cut-{number}", MARKER)
            wire.passes = None
            if answer.status == 201:
                continue  # it took fewer answers than were let through
            assert (answer.status, answer.slug) in {(503, "outcome-unknown"), (503, "storage-unavailable")}
            again = eventually(lambda number=number: _unless_unavailable(server, f"card/cut-{number}"))
            rows = server.rows(f"external_id=cut-{number}&operation=store&outcome=granted")
            assert (again == 200) == (len(rows) == 1)
            stored += again == 200
            repeated = server.put("payments", f"card/cut-{number}", MARKER)
            assert repeated.status == (200 if again == 200 else 201)
        assert wire.swallowed
        assert stored, "the wire was never cut after a commit"
    finally:
        wire.close()


def _unless_unavailable(server: VaultServer, target: str) -> int | None:
    status = server.get("payments", target).status
    return None if status == 503 else status
