"""Compares what a request costs two checkouts of the project: processor time, rate and latency, by turns in one run.

    python -m benchmarks.compare_revisions /path/to/other/checkout [--storage sqlite postgresql] [--connections 1 64]
        [--methods GET PUT REPLACE DELETE] [--rounds 5] [--requests 3000] [--shards 4] [--held]

The other checkout needs an environment of its own at ``.venv``. Each server stands still while the other is measured, and the
order changes with each round. PUT creates an entry, REPLACE replaces one, DELETE purges one. Processor time is that of the
server's processes, without the database and the client. "both" is that time and the time of PostgreSQL's processes for this
database. A ratio is this checkout's figure divided by the other's: the median of the rounds, with the lowest and the highest
round. Below one is less than before. ``--shards``: of this checkout's database on PostgreSQL. ``--held``: a transaction with a
snapshot and a row of its own is open in each database for the whole run.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import psycopg

from tests.support.postgres import DEFAULT, PostgresServer
from tests.support.server import VaultServer

METHODS = ("GET", "HEAD", "PUT", "REPLACE", "DELETE")
VERBS = {"REPLACE": "PUT"}
ENTRIES = 2_000
"""Entries that GET, HEAD and REPLACE ask for."""

LONE_SHARE = 3
"""A lone caller makes this many times fewer requests."""

CATCH_UP_SECONDS = 0.3
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class Figures(NamedTuple):
    """Of one turn: microseconds of processor time a request, requests a second, median latency in microseconds, and
    microseconds of processor time a request with those of the database.
    """

    cpu_us: float
    rate: float
    median_us: float
    both_us: float


class Server(VaultServer):
    """A vault that another checkout's interpreter serves."""

    python = sys.executable

    def command(self) -> list[str]:
        """Return how it is started."""
        return [self.python, *super().command()[1:]]


class Caller(asyncio.Protocol):
    """One connection that makes requests, one after the other, while there are any."""

    def __init__(self, requests: Iterator[bytes], taken: list[float], *, is_head: bool) -> None:
        self._requests = requests
        self._taken = taken
        self._is_head = is_head
        self._buffer = b""
        self._asked = 0.0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Make the first request."""
        self._transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
            self.ended.set_result(None)
            return
        self._asked = time.perf_counter()
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        """Take an answer, and make the next request."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = None if self._is_head else _LENGTH.search(self._buffer, 0, end + 2)
        if len(self._buffer) < end + 4 + (int(length[1]) if length else 0):
            return
        if not self._buffer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            self.ended.set_exception(RuntimeError(self._buffer[:300].decode("latin-1")))
            self._transport.close()
            return
        self._taken.append(time.perf_counter() - self._asked)
        self._buffer = b""
        self._ask()


class Contestant:
    """A server of one checkout with its entries, which stands still between its turns."""

    def __init__(self, server: VaultServer, backends: Callable[[], list[psutil.Process]]) -> None:
        self._server = server
        self._backends = backends
        self._fresh = count()
        self._stored: list[str] = []
        asyncio.run(self._ask(iter([self._retention()]), 1))
        asyncio.run(self._ask((self._request("PUT", f"e{number}") for number in range(ENTRIES)), 32))
        self._signal(signal.SIGSTOP)

    def turn(self, method: str, connections: int, requests: int) -> Figures:
        """Measure ``requests`` requests on ``connections`` connections."""
        self._signal(signal.SIGCONT)
        time.sleep(CATCH_UP_SECONDS)
        if method == "DELETE":  # what is purged is stored first
            names = [f"n{next(self._fresh)}" for _ in range(requests)]
            asyncio.run(self._ask((self._request("PUT", name) for name in names), 32))
        elif method == "PUT":
            names = [f"n{next(self._fresh)}" for _ in range(requests)]
        else:
            names = [f"e{number * 7 % ENTRIES}" for number in range(requests)]
        prepared = [self._request(method, name) for name in names]
        backends = self._backends()
        before, before_there, began = cpu_of(self._processes()), cpu_of(backends), time.perf_counter()
        taken = asyncio.run(self._ask(iter(prepared), connections, is_head=method == "HEAD"))
        passed, cpu = time.perf_counter() - began, cpu_of(self._processes()) - before
        both = cpu + cpu_of(backends) - before_there
        self._signal(signal.SIGSTOP)
        return Figures(cpu / requests * 1e6, requests / passed, statistics.median(taken) * 1e6, both / requests * 1e6)

    def close(self) -> None:
        """Let the server go on, and end."""
        with suppress(psutil.NoSuchProcess):
            self._signal(signal.SIGCONT)

    def _retention(self) -> bytes:
        """Return the request for a retention policy. Its answer is not that of this checkout's description."""
        body = json.dumps(
            {"max_retention_days": 365, "default_ttl_days": 90, "purge_method": "physical-delete"}
        ).encode()
        head = (
            f"PUT /admin/retention-policies/card HTTP/1.1\r\nHost: localhost\r\nX-Vault-Key: {self._server.admin_key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def _request(self, method: str, name: str) -> bytes:
        body = b""
        if method in {"PUT", "REPLACE"}:
            value = f"{next(self._fresh):020}".ljust(1024, "x")
            body = json.dumps({"encrypted_value": value, "key_ref": "key-v1"}).encode()
        head = (
            f"{VERBS.get(method, method)} /vault/card/{name} HTTP/1.1\r\nHost: localhost\r\n"
            f"X-Vault-Key: {self._server.key('payments')}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    async def _ask(self, requests: Iterator[bytes], connections: int, *, is_head: bool = False) -> list[float]:
        taken: list[float] = []
        loop = asyncio.get_running_loop()
        made = [
            await loop.create_connection(lambda: Caller(requests, taken, is_head=is_head), *self._server.address)
            for _ in range(connections)
        ]
        await asyncio.gather(*(caller.ended for _, caller in made))
        return taken

    def _processes(self) -> list[psutil.Process]:
        process = psutil.Process(self._server.pid)
        return [process, *process.children(recursive=True)]

    def _signal(self, number: signal.Signals) -> None:
        for each in self._processes():
            each.send_signal(number)


def cpu_of(processes: list[psutil.Process]) -> float:
    """Return seconds of processor time; Linux counts those of each thread in nanoseconds."""
    files = [file for each in processes for file in Path(f"/proc/{each.pid}/task").glob("*/schedstat")]
    return sum(int(file.read_text("ascii").split()[0]) for file in files) / 1e9


class Place(NamedTuple):
    """A database, its number of shards, and the server it is on."""

    url: str | None = None
    shards: int = 1
    server: PostgresServer | None = None

    def backends(self) -> list[psutil.Process]:
        """Return the processes of PostgreSQL that serve this database."""
        if self.server is None or self.url is None:
            return []
        name = self.url.rpartition("/")[2]
        return [each for each in self.server.processes() if name in "".join(each.cmdline())]


@contextmanager
def contestant(python: Path, place: Place) -> Iterator[Contestant]:
    """Start a server of the checkout that ``python`` belongs to."""
    environment = {} if place.shards == 1 else {"VSQL_VAULT_STORAGE__SHARDS": str(place.shards)}
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory), database_url=place.url, by_exec=True, environment=environment)
        server.python = str(python)
        server.start()
        try:
            found = Contestant(server, place.backends)
            yield found
            found.close()
            server.stop()
        finally:
            server.kill()


def compare(
    other: Path, storage: str, options: argparse.Namespace
) -> dict[tuple[str, int], list[tuple[Figures, Figures]]]:
    """Return for each method and number of connections the figures of each round: of the other checkout, and of this one."""
    found: dict[tuple[str, int], list[tuple[Figures, Figures]]] = defaultdict(list)
    with ExitStack() as stack:
        places = [Place(), Place()]
        if storage == "postgresql":
            postgres = stack.enter_context(PostgresServer(DEFAULT))
            places = [
                Place(postgres.url(postgres.create_database()), shards, postgres) for shards in (1, options.shards)
            ]
        before = stack.enter_context(contestant(other / ".venv/bin/python", places[0]))
        now = stack.enter_context(contestant(Path(sys.executable), places[1]))
        if options.held:
            for each in places:
                hold(stack, each)
        for round_number in range(options.rounds):
            for connections in options.connections:
                requests = options.requests // LONE_SHARE if connections == 1 else options.requests
                for method in options.methods:
                    order = (before, now) if round_number % 2 == 0 else (now, before)
                    figures = {each: each.turn(method, connections, requests) for each in order}
                    found[method, connections].append((figures[before], figures[now]))
    return found


def hold(stack: ExitStack, place: Place) -> None:
    """Leave a transaction open that has a snapshot and a row of its own."""
    if place.url is not None:
        held = stack.enter_context(closing(psycopg.connect(place.url)))
        held.execute("CREATE TABLE public.held (number int)")
        held.commit()
        held.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        held.execute("INSERT INTO public.held VALUES (1)")


def show(storage: str, found: dict[tuple[str, int], list[tuple[Figures, Figures]]]) -> None:
    """Print a line for each method and number of connections."""
    print(f"\n{storage}: other -> this, ratio of the median round (lowest to highest)")
    for (method, connections), rounds in found.items():
        parts = []
        for place, (name, unit) in enumerate((("CPU", "us"), ("rate", "/s"), ("p50", "us"), ("both", "us"))):
            ratios = sorted(now[place] / before[place] for before, now in rounds)
            old, new = (statistics.median(pair[side][place] for pair in rounds) for side in (0, 1))
            spread = f"({ratios[0]:.2f}-{ratios[-1]:.2f})"
            parts.append(f"{name} {old:6.0f} -> {new:6.0f} {unit} {statistics.median(ratios):.2f} {spread}")
        print(f"{method:<8} {connections:>3} callers  " + "   ".join(parts), flush=True)


def main() -> None:
    """Read the options, and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("other", type=Path, help="the checkout to compare with")
    parser.add_argument("--storage", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 64])
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=["GET", "PUT", "REPLACE", "DELETE"])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3_000)
    parser.add_argument("--shards", type=int, default=1)
    parser.add_argument("--held", action="store_true")
    options = parser.parse_args()
    os.environ.pop("PYTHONPATH", None)  # each server imports its own checkout
    for storage in options.storage:
        show(storage, compare(options.other.absolute(), storage, options))


if __name__ == "__main__":
    main()
