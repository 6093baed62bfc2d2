"""What the requests of one app cost another: the latency of a quiet app alone, and beside an app that floods the vault.

    python -m benchmarks.bench_fairness [--storage sqlite postgresql] [--flood 64] [--methods GET PUT] [--rounds 5]
        [--before /path/to/other/checkout]

The quiet app has a few callers, each of which pauses between two requests. The flooding app has callers without pauses, in a
process of their own. Each round measures the quiet app alone, and then beside the flood. With ``--before``, a server of that
checkout takes turns with this one. Target: the 99th percentile of the quiet app at most doubles.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from itertools import count
from pathlib import Path
from typing import NamedTuple

from benchmarks.compare_revisions import Caller, Server
from tests.support.postgres import DEFAULT, PostgresServer

ENTRIES = 500
QUIET_CALLERS = 4
PAUSE_SECONDS = 0.01
CATCH_UP_SECONDS = 0.3
VALUE_BYTES = 1024
_fresh = count()


class Target(NamedTuple):
    """One app on one server: where it is, and with which key."""

    host: str
    port: int
    key: str
    app: str

    def request(self, method: str, number: int) -> bytes:
        """Return a request for entry ``number`` of the app; with a number beyond the stored ones, PUT creates an entry."""
        body = b""
        if method == "PUT":
            body = json.dumps({"encrypted_value": f"{next(_fresh):020}".ljust(VALUE_BYTES, "x")}).encode()
        head = (
            f"{method} /vault/card/{self.app}-{number} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Key: {self.key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body

    def requests(self, method: str) -> Iterator[bytes]:
        """Yield requests without an end: GET of stored entries, PUT of new ones."""
        start = time.time_ns()
        for number in count():
            yield self.request(method, number % ENTRIES if method == "GET" else start + number)


class Quiet(Caller):
    """A caller that pauses between two requests."""

    def _ask(self) -> None:
        asyncio.get_running_loop().call_later(PAUSE_SECONDS, super()._ask)


class Figures(NamedTuple):
    """Of one turn: milliseconds of the quiet app, alone and beside the flood, and requests a second of the flood."""

    alone_median: float
    alone_p99: float
    beside_median: float
    beside_p99: float
    flood_rate: float


async def call(target: Target, method: str, callers: int, seconds: float, kind: type[Caller]) -> list[float]:
    """Return the seconds that each request took."""
    taken: list[float] = []
    ends_at = time.perf_counter() + seconds

    def until_then() -> Iterator[bytes]:
        for request in target.requests(method):
            if time.perf_counter() >= ends_at:
                return
            yield request

    requests = until_then()
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: kind(requests, taken, is_head=False), target.host, target.port)
        for _ in range(callers)
    ]
    await asyncio.gather(*(caller.ended for _, caller in made))
    return sorted(taken)


async def fill(target: Target) -> None:
    """Store the entries of an app."""
    requests = (target.request("PUT", number) for number in range(ENTRIES))
    loop = asyncio.get_running_loop()
    made = [
        await loop.create_connection(lambda: Caller(requests, [], is_head=False), target.host, target.port)
        for _ in range(16)
    ]
    await asyncio.gather(*(caller.ended for _, caller in made))


class Contestant:
    """A server with the entries of both apps, which stands still between its turns."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._flooding, self._quiet = (Target(*server.address, server.key(app), app) for app in ("payments", "billing"))
        server.retention("card")
        for target in (self._flooding, self._quiet):
            asyncio.run(fill(target))
        self.signal(signal.SIGSTOP)

    def turn(self, method: str, flood: int, seconds: float) -> Figures:
        """Measure the quiet app alone, then beside the flood."""
        self.signal(signal.SIGCONT)
        time.sleep(CATCH_UP_SECONDS)
        alone = asyncio.run(call(self._quiet, method, QUIET_CALLERS, seconds, Quiet))
        command = [sys.executable, "-m", "benchmarks.bench_fairness", "--be-the-flood", method, str(flood)]
        command += [str(seconds + 1), *map(str, self._flooding)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it has connected
            time.sleep(CATCH_UP_SECONDS)
            beside = asyncio.run(call(self._quiet, method, QUIET_CALLERS, seconds, Quiet))
            requests = int(process.stdout.readline())
        self.signal(signal.SIGSTOP)
        times = [
            each * 1000 for found in (alone, beside) for each in (found[len(found) // 2], found[len(found) * 99 // 100])
        ]
        return Figures(*times, requests / (seconds + 1))

    def signal(self, number: signal.Signals) -> None:
        """Let the server go on or stand still."""
        with suppress(ProcessLookupError):
            os.kill(self._server.pid, number)


async def be_the_flood(method: str, callers: int, seconds: float, target: Target) -> None:
    """Flood the vault, and print how many requests were answered."""
    print("begins", flush=True)
    print(len(await call(target, method, callers, seconds, Caller)), flush=True)


@contextmanager
def contestant(python: Path, url: str | None) -> Iterator[Contestant]:
    """Start a server of the checkout that ``python`` belongs to."""
    with tempfile.TemporaryDirectory() as directory:
        server = Server(Path(directory), database_url=url, by_exec=True, start_seconds=120.0)
        server.python = str(python)
        server.start()
        try:
            found = Contestant(server)
            yield found
            found.signal(signal.SIGCONT)
            server.stop()
        finally:
            server.kill()


def measure(storage: str, options: argparse.Namespace) -> dict[tuple[str, str], list[Figures]]:
    """Return the figures of each round, by method and checkout."""
    found: dict[tuple[str, str], list[Figures]] = defaultdict(list)
    pythons = {"now": Path(sys.executable)}
    if options.before:
        pythons["before"] = options.before.absolute() / ".venv/bin/python"
    with ExitStack() as stack:
        urls: list[str | None] = [None] * len(pythons)
        if storage == "postgresql":
            postgres = stack.enter_context(PostgresServer(DEFAULT))
            urls = [postgres.url(postgres.create_database()) for _ in pythons]
        servers = {
            name: stack.enter_context(contestant(python, url))
            for (name, python), url in zip(pythons.items(), urls, strict=True)
        }
        for _ in range(options.rounds):
            for method in options.methods:
                for name, server in servers.items():
                    found[method, name].append(server.turn(method, options.flood, options.seconds))
    return found


def show(storage: str, found: dict[tuple[str, str], list[Figures]]) -> None:
    """Print medians, and the ratios of the rounds."""
    print(f"\n{storage}: quiet app alone -> beside the flood, in ms; ratio of the median round (lowest to highest)")
    for (method, name), rounds in found.items():
        middle = Figures(*(statistics.median(each) for each in zip(*rounds, strict=True)))
        median = sorted(each.beside_median / each.alone_median for each in rounds)
        p99 = sorted(each.beside_p99 / each.alone_p99 for each in rounds)
        print(
            f"{method:<4} {name:<7} p50 {middle.alone_median:6.2f} -> {middle.beside_median:6.2f} "
            f"{statistics.median(median):6.2f} ({median[0]:.2f}-{median[-1]:.2f})   "
            f"p99 {middle.alone_p99:6.2f} -> {middle.beside_p99:6.2f} "
            f"{statistics.median(p99):6.2f} ({p99[0]:.2f}-{p99[-1]:.2f})   flood {middle.flood_rate:6,.0f}/s",
            flush=True,
        )


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--storage", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--methods", nargs="+", choices=["GET", "PUT"], default=["GET", "PUT"])
    parser.add_argument("--flood", type=int, default=64, metavar="CALLERS")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument(
        "--before", type=Path, metavar="CHECKOUT", help="a checkout to compare with, with its own .venv"
    )
    parser.add_argument("--be-the-flood", nargs=7, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.be_the_flood:
        method, callers, seconds, host, port, key, app = options.be_the_flood
        asyncio.run(be_the_flood(method, int(callers), float(seconds), Target(host, int(port), key, app)))
        return
    os.environ.pop("PYTHONPATH", None)  # each server imports its own checkout
    for storage in options.storage:
        show(storage, measure(storage, options))


if __name__ == "__main__":
    main()
