"""The whole service over HTTP beside four others, by turns, in one run: throughput, latency, and processor time a request.

    python -m benchmarks.bench_servers [--rounds 3] [--seconds 2] [--connections 1 16 64 256] [--plot servers.svg]

- vault: the stock command, on SQLite and on PostgreSQL, each audit row on disk before its answer; on PostgreSQL also with a
  worker for each of two processors.
- stock: the same operations and storage through Quart's routes on Hypercorn: ``create_app()`` without the lane.
- lane: this server's connections and the lane alone, with a constant for an answer: what HTTP costs.
- bare: a protocol of asyncio's over httptools that answers a constant: what any server on asyncio costs.
- pgbench: PostgreSQL doing the same work, one statement a request, 32 clients, each statement parsed again or prepared; and
  one client, for what a lone request has to wait for on this machine.

PUT stores a new entry each time. REPLACE is a PUT that replaces a value, which also leaves a purge row
with its proof; pgbench writes no such row.

A server without a turn is suspended, so that no server is measured beside another one's timers. pgbench's turn for a
method comes right after the servers' with 64 connections, for the machine is not as fast in one minute as in the next. A lone
caller asks for three times as long, since few of its requests are the hundredth part.

Processor time is that of the server's processes, without the database. The client takes its share of the same machine: it is
wrk where that is installed, which takes little; else, for HEAD, and for a lone caller it is one of ours. Compare ratios, not
figures. Medians of the rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import httptools
import psutil

from benchmarks.bench_postgres import ENTRIES as PGBENCH_ENTRIES
from benchmarks.bench_postgres import PGBENCH_CLIENTS, SCRIPTS, between, pgbench
from tests.support.postgres import DEFAULT, PostgresServer
from tests.support.server import VaultServer

ENTRIES = 2_000
VALUE = "x" * 1024
BODY = json.dumps({"encrypted_value": VALUE, "key_ref": "key-v1"}).encode()
NUMBER = "9" * 15
"""Stands in a body for a number that makes its value another one each time."""

NUMBERED = json.dumps({"encrypted_value": NUMBER + VALUE[len(NUMBER) :], "key_ref": "key-v1"})
ANSWER = json.dumps({"purpose": "card", "external_id": "e1", "encrypted_value": VALUE, "key_ref": "key-v1"}).encode()
ALONE_TIMES = 3
CATCH_UP_SECONDS = 0.3
"""Before a server is measured, for what it did not do by the clock while it stood still."""

CROWD = 64
METHODS = ("PUT", "REPLACE", "GET", "HEAD")
VERBS = {"REPLACE": "PUT"}
KEPT, FRESH = range(PGBENCH_ENTRIES), range(PGBENCH_ENTRIES, 10**12)
STATEMENTS = {"PUT": ("put", FRESH), "REPLACE": ("put", KEPT), "GET": ("get", KEPT)}
"""What pgbench does for a method, and with which entries' numbers."""

WRK = shutil.which("wrk")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)", re.IGNORECASE)


class RequestedAccess(NamedTuple):
    """What a client saw: how many requests in how many seconds; and the median and the 99th percentile, in seconds."""

    requests: float
    passed: float
    median: float
    p99: float


class Figures(NamedTuple):
    """Of one turn: requests a second, milliseconds, and microseconds of the server's processor time a request."""

    rate: float
    median_ms: float
    p99_ms: float
    cpu_us: float


class Caller(asyncio.Protocol):
    """One connection that sends requests, one after the other, until it is stopped."""

    def __init__(self, method: str, key: str, taken: list[float], stopping: asyncio.Event) -> None:
        self._method = method
        self._taken = taken
        self._stopping = stopping
        self._buffer = b""
        self._asked = 0.0
        self._verb = VERBS.get(method, method)
        length = len(BODY) if self._verb == "PUT" else 0
        self._fields = (
            f" HTTP/1.1\r\nHost: localhost\r\nX-Vault-Key: {key}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\n\r\n"
        )
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask for the first time."""
        self._transport: Any = transport
        self._ask()

    def _ask(self) -> None:
        self._asked = time.perf_counter()
        fresh = random.randrange(10**15)
        name = f"n{fresh}" if self._method == "PUT" else f"e{random.randrange(ENTRIES)}"
        body = {"PUT": BODY.decode(), "REPLACE": NUMBERED.replace(NUMBER, f"{fresh:015}")}.get(self._method, "")
        self._transport.write(f"{self._verb} /vault/card/{name}{self._fields}{body}".encode())

    def data_received(self, data: bytes) -> None:
        """Take the answer, and ask for the next."""
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._buffer, 0, end + 2)
        whole = end + 4 + (int(length[1]) if length and self._method != "HEAD" else 0)
        if len(self._buffer) < whole:
            return
        if not self._buffer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
            self.ended.set_exception(RuntimeError(self._buffer[:300].decode("latin-1")))
            self._transport.close()
            return
        self._taken.append(time.perf_counter() - self._asked)
        self._buffer = self._buffer[whole:]
        if self._stopping.is_set():
            self._transport.close()
            self.ended.set_result(None)
        else:
            self._ask()

    def connection_lost(self, error: Exception | None) -> None:
        """Say so, if that was not meant."""
        if not self.ended.done():
            self.ended.set_exception(error or ConnectionResetError("the server hung up"))


def ask(server: VaultServer, method: str, connections: int, seconds: float) -> Figures:
    """Send requests on this number of connections for this many seconds."""
    before = _cpu(server.pid)
    # wrk waits for the body that HEAD does not have; of a lone caller's times it tells some too long
    if WRK is None or method == "HEAD" or connections == 1:
        requests, passed, median, p99 = asyncio.run(_ask_ourselves(server, method, connections, seconds))
    else:
        requests, passed, median, p99 = _ask_by_wrk(WRK, server, method, connections, seconds)
    return Figures(requests / passed, median * 1000, p99 * 1000, (_cpu(server.pid) - before) / requests * 1e6)


def turn(server: VaultServer, method: str, connections: int, seconds: float) -> Figures:
    """Ask a server that stands still before and afterwards."""
    _signal(server, signal.SIGCONT)
    time.sleep(CATCH_UP_SECONDS)
    figures = ask(server, method, connections, seconds * ALONE_TIMES if connections == 1 else seconds)
    _signal(server, signal.SIGSTOP)
    return figures


def _ask_by_wrk(wrk: str, server: VaultServer, method: str, connections: int, seconds: float) -> RequestedAccess:
    body = {"PUT": f"'{BODY.decode()}'", "REPLACE": f"string.gsub('{NUMBERED}', '{NUMBER}', fresh)"}.get(method, "nil")
    name = "'n' .. fresh" if method == "PUT" else f"'e' .. math.random(0, {ENTRIES - 1})"
    script = f"""
math.randomseed({random.randrange(2**31)})
wrk.method = "{VERBS.get(method, method)}"
wrk.headers["X-Vault-Key"] = "{server.key("payments")}"
wrk.headers["Content-Type"] = "application/json"
request = function()
  local fresh = string.format("%015.0f", math.floor(math.random() * 1e15))
  local body = {body}
  return wrk.format(nil, "/vault/card/" .. {name}, nil, body)
end
done = function(summary, latency)
  local faults = summary.errors.status + summary.errors.read + summary.errors.write + summary.errors.timeout
  io.stderr:write(string.format("%d %d %d %f %f", summary.requests, summary.duration, faults, latency:percentile(50),
    latency:percentile(99)))
end
"""
    path = server.directory / "ask.lua"
    path.write_text(script, "utf-8")
    command = [wrk, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(path), server.url]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    requests, microseconds, faults, median, p99 = (float(word) for word in said.split())
    if faults:
        raise RuntimeError(f"{faults:.0f} of {requests:.0f} were no success")
    return RequestedAccess(requests, microseconds / 1e6, median / 1e6, p99 / 1e6)


async def _ask_ourselves(server: VaultServer, method: str, connections: int, seconds: float) -> RequestedAccess:
    taken: list[float] = []
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    key = server.key("payments")
    began = time.perf_counter()
    callers = [
        (await loop.create_connection(lambda: Caller(method, key, taken, stopping), *server.address))[1]
        for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    stopping.set()
    await asyncio.gather(*(caller.ended for caller in callers))
    passed = time.perf_counter() - began
    taken.sort()
    return RequestedAccess(len(taken), passed, taken[len(taken) // 2], taken[int(len(taken) * 0.99)])


def _processes(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def _signal(server: VaultServer, number: signal.Signals) -> None:
    for each in _processes(server.pid):
        each.send_signal(number)


def _cpu(pid: int) -> float:
    times = [each.cpu_times() for each in _processes(pid)]
    return float(sum(each.user + each.system for each in times))


async def fill(server: VaultServer) -> None:
    """Store every entry once, as the app that will ask for them."""
    lock = iter(range(ENTRIES))

    async def store() -> None:
        reader, writer = await asyncio.open_connection(*server.address)
        for number in lock:
            head = f"PUT /vault/card/e{number} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Key: {server.key('payments')}\r\n"
            writer.write(f"{head}Content-Type: application/json\r\nContent-Length: {len(BODY)}\r\n\r\n".encode() + BODY)
            answer = await reader.readuntil(b"\r\n\r\n")
            length = _LENGTH.search(answer)
            await reader.readexactly(int(length[1]) if length else 0)
        writer.close()

    await asyncio.gather(*(store() for _ in range(32)))


class Contestant(VaultServer):
    """A server of another kind, started like the vault's own."""

    kind = "vault"

    def command(self) -> list[str]:
        """Return how it is started."""
        if self.kind in {"vault", "workers"}:
            return super().command()
        return [
            sys.executable,
            "-m",
            "benchmarks.bench_servers",
            "--serve",
            self.kind,
            str(self.directory / "vault.toml"),
        ]


@contextmanager
def contestant(kind: str, url: str | None = None) -> Iterator[VaultServer]:
    """Start a server, with its entries in place where it has a storage."""
    with tempfile.TemporaryDirectory() as directory:
        settings = "[server]\nworkers = 2\n" if kind == "workers" else ""
        server = Contestant(Path(directory), database_url=url, settings=settings)
        server.kind = kind
        server.start()
        try:
            if kind in {"vault", "workers", "stock"}:
                server.retention("card")
                asyncio.run(fill(server))
            try:
                yield server
            finally:  # who stands still neither ends nor sees that others have
                with suppress(psutil.NoSuchProcess):
                    _signal(server, signal.SIGCONT)
            server.stop()
        finally:
            server.kill()


async def serve(kind: str, config: Path) -> None:
    """Be a contestant, until SIGTERM."""
    from vsqlvault.http.server.server import listen  # noqa: PLC0415 - the client's side needs none of it

    listener = listen("127.0.0.1:0")
    port = listener.getsockname()[1]
    print(json.dumps({"message": "Vault API is running", "listen_addr": f"127.0.0.1:{port}"}), flush=True)
    if kind == "stock":
        await _serve_stock(listener, config)
    elif kind == "bare":
        await asyncio.get_running_loop().create_server(Bare, sock=listener)
        await asyncio.Event().wait()
    else:
        await _serve_lane(listener)


async def _serve_stock(listener: Any, config: Path) -> None:
    from hypercorn.asyncio import serve as serve_by_hypercorn  # noqa: PLC0415
    from hypercorn.config import Config  # noqa: PLC0415

    from vsqlvault.config import load_settings  # noqa: PLC0415
    from vsqlvault.runtime import create_app  # noqa: PLC0415

    app = create_app(load_settings(config))
    app.asgi_app = app.asgi_app._asgi_app
    listener.setblocking(True)
    settings = Config()
    settings.bind = [f"fd://{listener.detach()}"]
    settings.keep_alive_max_requests = 10**9  # no caller is hung up on while it is measured
    await serve_by_hypercorn(app, settings)


async def _serve_lane(listener: Any) -> None:
    from vsqlvault.http.fast_path import FastPath  # noqa: PLC0415
    from vsqlvault.http.messages import Reply  # noqa: PLC0415
    from vsqlvault.http.operations import OPERATIONS  # noqa: PLC0415
    from vsqlvault.http.routing import Router  # noqa: PLC0415
    from vsqlvault.http.server.server import Server  # noqa: PLC0415
    from vsqlvault.http.server.state import Limits  # noqa: PLC0415

    class Constant:
        """Takes the dispatcher's place."""

        async def answer(self, request: Any, operation: Any) -> Reply:
            if request.method == "PUT":
                await request.read_body(65536)
            headers = (("X-Request-Id", request.request_id), ("Cache-Control", "no-store"))
            return Reply(200, ANSWER, headers=[*headers, ("X-Content-Type-Options", "nosniff")])

    async def nowhere(*_: Any) -> None:
        raise RuntimeError("only the fast path is served")

    server = Server(nowhere, Limits(), handler=FastPath(nowhere, Router(OPERATIONS), Constant(), 10.0))
    server.accept_from(listener)
    await asyncio.Event().wait()


class Bare(asyncio.Protocol):
    """Parses what it is sent, keeps the fields as a server must, and answers a constant."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take the transport."""
        self._transport: Any = transport
        self._parser = httptools.HttpRequestParser(self)
        self._headers: list[tuple[bytes, bytes]] = []
        self._body = b""
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(ANSWER)}\r\n\r\n"
        self._head = head.encode()

    def data_received(self, data: bytes) -> None:
        """Parse on."""
        self._parser.feed_data(data)

    def on_url(self, url: bytes) -> None:
        """Begin."""
        self._url = url
        self._headers, self._body = [], b""

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a field."""
        self._headers.append((name.lower(), value))

    def on_body(self, body: bytes) -> None:
        """Keep a part of the body."""
        self._body += body

    def on_message_complete(self) -> None:
        """Answer."""
        self._transport.write(self._head if self._parser.get_method() == b"HEAD" else self._head + ANSWER)


Found = dict[tuple[str, str, int], list[Figures]]


def run(options: argparse.Namespace) -> tuple[Found, dict[tuple[str, str], list[float]]]:
    """Take turns, and return every turn's figures: of servers, and of pgbench."""
    found: Found = defaultdict(list)
    by_pgbench: dict[tuple[str, str], list[float]] = defaultdict(list)
    with PostgresServer(DEFAULT) as postgres, ExitStack() as stack:
        servers = {
            name: stack.enter_context(
                contestant(kind, postgres.url(postgres.create_database()) if on == "PG" else None)
            )
            for name, kind, on in (
                ("vault, PostgreSQL", "vault", "PG"),
                ("vault, PostgreSQL, 2 workers", "workers", "PG"),
                ("stock, PostgreSQL", "stock", "PG"),
                ("vault, SQLite", "vault", "SQLite"),
                ("stock, SQLite", "stock", "SQLite"),
                ("lane", "lane", ""),
                ("bare", "bare", ""),
            )
        }
        bare = postgres.create_database()
        subprocess.run(
            [postgres.program_directory / "psql", "-q", "-f", SCRIPTS / "schema.sql", postgres.url(bare)],
            check=True,
            stdout=subprocess.DEVNULL,
        )
        for server in servers.values():
            _signal(server, signal.SIGSTOP)
        crowd = nearest_to_a_crowd(options.connections)
        for _, method, connections in product(range(options.rounds), METHODS, options.connections):
            for name, server in servers.items():
                found[name, method, connections].append(turn(server, method, connections, options.seconds))
            if method not in STATEMENTS:
                continue
            script, numbers = STATEMENTS[method]
            if connections == crowd:
                for mode in ("simple", "prepared"):
                    rate, _ = pgbench(postgres, postgres.url(bare), mode, script, max(1.0, options.seconds), numbers)
                    by_pgbench[f"pgbench, {mode}", method].append(rate)
            if connections == 1:
                seconds = options.seconds * ALONE_TIMES
                alone = pgbench_alone(postgres, postgres.url(bare), script, numbers, seconds)
                found["pgbench alone", method, 1].append(alone)
        if options.show_memory:
            for name, server in servers.items():
                print(f"{name}: {psutil.Process(server.pid).memory_info().rss / 2**20:.0f} MiB resident")
    return found, by_pgbench


def nearest_to_a_crowd(counts: Iterable[int]) -> int:
    """Return the number of connections by which servers are compared."""
    return min(counts, key=lambda number: abs(number - CROWD))


def pgbench_alone(server: PostgresServer, url: str, name: str, numbers: range, seconds: float) -> Figures:
    """Return what one client of pgbench saw, its statements prepared; of processor time, nothing is said."""
    with tempfile.TemporaryDirectory() as directory:
        command: list[str | Path] = [server.program_directory / "pgbench", "-n", "-M", "prepared", "-c", "1"]
        command += ["-T", str(max(1, round(seconds))), "-f", SCRIPTS / f"{name}.sql", *between(numbers)]
        command += ["-l", "--log-prefix", f"{directory}/log", url]
        subprocess.run(command, capture_output=True, check=True)
        lines = [line.split() for path in Path(directory).iterdir() for line in path.read_text().splitlines()]
    taken = sorted(int(line[2]) / 1000 for line in lines)
    return Figures(len(taken) / max(1, round(seconds)), taken[len(taken) // 2], taken[int(len(taken) * 0.99)], math.nan)


def medians(turns: list[Figures]) -> Figures:
    return Figures(*(statistics.median(each) for each in zip(*turns, strict=True)))


def show(found: Found, by_pgbench: dict[tuple[str, str], list[float]]) -> None:
    """Print all medians, then the ratios."""
    print(f"{'':<28} {'':<7} {'conns':>5} {'req/s':>9} {'median ms':>10} {'p99 ms':>8} {'cpu us':>7}")
    for (name, method, connections), turns in sorted(
        found.items(), key=lambda item: (item[0][1], item[0][2], item[0][0])
    ):
        rate, median, p99, cpu = medians(turns)
        print(f"{name:<28} {method:<7} {connections:>5} {rate:>9,.0f} {median:>10.2f} {p99:>8.2f} {cpu:>7.0f}")
    for (name, method), rates in by_pgbench.items():
        print(f"{name:<28} {method:<7} {PGBENCH_CLIENTS:>5} {statistics.median(rates):>9,.0f}")
    crowd = nearest_to_a_crowd({connections for _, _, connections in found})
    for method in METHODS:
        for storage in ("PostgreSQL", "PostgreSQL, 2 workers", "SQLite"):
            own = medians(found[f"vault, {storage}", method, crowd]).rate
            stock = medians(found[f"stock, {storage.split(',')[0]}", method, crowd]).rate
            line = f"{method} on {storage}, {crowd} connections: {own / stock:.1f} times stock"
            if storage.startswith("PostgreSQL"):
                for (name, of), rates in by_pgbench.items():
                    if of == method:
                        line += f", {own / statistics.median(rates):.2f} times {name}"
            print(line)
        if method == "REPLACE":  # HTTP has nothing to do with what becomes of a value
            continue
        lane, bare = (medians(found[name, method, crowd]).cpu_us for name in ("lane", "bare"))
        print(f"{method}: the lane takes {lane / bare:.2f} times the processor time of the bare protocol")


COLOURS = ("#2563eb", "#93c5fd", "#059669", "#6ee7b7", "#9333ea", "#6b7280", "#d97706")
WIDTH, HEIGHT, LEFT, TOP, BOTTOM, GAP = 460, 320, 64, 48, 44, 40


def plot(found: Found, by_pgbench: dict[tuple[str, str], list[float]]) -> str:
    """Return an SVG: requests a second over connections, a panel for each of GET and PUT."""
    names = sorted(
        {name for name, _, _ in found if not name.startswith("pgbench")}, key=lambda name: ("vault" not in name, name)
    )
    legend_height = 22 * (len(names) + 2)
    total_height = HEIGHT + legend_height
    style = (
        "text{fill:#1f2937}.axis{stroke:#9ca3af}.grid{stroke:#e5e7eb}"
        "@media(prefers-color-scheme:dark){text{fill:#e5e7eb}.grid{stroke:#374151}}"
    )
    size = f'viewBox="0 0 {2 * WIDTH + GAP} {total_height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">'
    parts = [head, f"<style>{style}</style>"]
    for place, method in enumerate(("GET", "PUT")):
        parts.append(_panel(place * (WIDTH + GAP), method, names, found, by_pgbench))
    for place, name in enumerate(names):
        y = HEIGHT + 22 * (place + 1)
        colour = COLOURS[place % len(COLOURS)]
        parts.append(f'<rect x="{LEFT}" y="{y - 9}" width="18" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{LEFT + 26}" y="{y}">{name}</text>')
    y = HEIGHT + 22 * (len(names) + 1)
    parts.append(f'<line x1="{LEFT}" x2="{LEFT + 18}" y1="{y - 7}" y2="{y - 7}" class="axis" stroke-dasharray="4 3"/>')
    parts.append(
        f'<text x="{LEFT + 26}" y="{y}">pgbench: the same work, one statement a request, 32 clients</text></svg>'
    )
    return "\n".join(parts) + "\n"


def _panel(x0: int, method: str, names: list[str], found: Found, by_pgbench: dict[tuple[str, str], list[float]]) -> str:
    counts = sorted({connections for _, of, connections in found if of == method})
    rates = {(name, each): medians(found[name, method, each]).rate for name in names for each in counts}
    bench = statistics.median(by_pgbench["pgbench, simple", method])
    low, high = math.floor(math.log10(min(*rates.values(), bench))), math.ceil(math.log10(max(*rates.values(), bench)))

    def across(connections: int) -> float:
        span = math.log2(counts[-1] / counts[0]) or 1
        return x0 + LEFT + (WIDTH - LEFT - 16) * math.log2(connections / counts[0]) / span

    def up(rate: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(rate) - low) / ((high - low) or 1)

    parts = [f'<text x="{x0 + LEFT}" y="24" font-weight="bold">{method}: requests a second</text>']
    for power in range(low, high + 1):
        for factor in (1, 2, 5):
            rate = factor * 10**power
            if rate <= 10**high:
                y = up(rate)
                parts.append(f'<line x1="{x0 + LEFT}" x2="{x0 + WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
                parts.append(f'<text x="{x0 + LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{rate:,}</text>')
    parts += [f'<text x="{across(each):.1f}" y="{HEIGHT - 20}" text-anchor="middle">{each}</text>' for each in counts]
    parts.append(f'<text x="{x0 + WIDTH // 2}" y="{HEIGHT - 3}" text-anchor="middle">connections</text>')
    y = up(bench)
    ends = f'x1="{x0 + LEFT}" x2="{x0 + WIDTH - 16}" y1="{y:.1f}" y2="{y:.1f}"'
    parts.append(f'<line {ends} class="axis" stroke-dasharray="4 3"/>')
    for place, name in enumerate(names):
        points = " ".join(f"{across(each):.1f},{up(rates[name, each]):.1f}" for each in counts)
        parts.append(
            f'<polyline points="{points}" fill="none" stroke="{COLOURS[place % len(COLOURS)]}" stroke-width="2.5"/>'
        )
    return "\n".join(parts)


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256])
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write an SVG of the throughput there")
    parser.add_argument("--show-memory", action="store_true", help="print what each server holds in memory at the end")
    parser.add_argument("--serve", nargs=2, metavar=("KIND", "CONFIG"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        asyncio.run(serve(options.serve[0], Path(options.serve[1])))
        return
    os.environ["PYTHONPATH"] = str(Path(__file__).parents[1])  # the contestants run in directories of their own
    found, by_pgbench = run(options)
    show(found, by_pgbench)
    if options.plot:
        options.plot.write_text(plot(found, by_pgbench), encoding="utf-8")


if __name__ == "__main__":
    main()
