"""The cost of comparing each value with its hash when it is read: GET with the check and without it, by turns.

    python -m benchmarks.bench_value_check [--storage postgresql] [--http] [--callers 64] [--rounds 300] [--seconds 0.25]
        [--bytes 1024]

With ``--http`` a server answers callers on kept-alive connections, which never pause. Without it, the service is called without
HTTP, so the share of the check is larger than for a client. Both ways are measured in each round, in the same process, on the
same entries. A turn is short and there are many, so other load of the machine affects both ways alike. The first round warms
up. A ratio is the figure with the check, divided by that without it in the same round. Its median is printed with the interval
that contains the true median in 95 of 100 runs.

Processor time is that of all threads of the process that serves, and of PostgreSQL's processes, which compare the values of
entries that were read before. The client of ``--http`` is another process and is not counted.

"Without" removes the comparison from the service, and from the commits of both storages (``unchecked_values``). The vault has
no setting for that. After the rounds, a value that was changed in the database must be refused with the check and be answered
without it.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from itertools import cycle
from math import comb
from pathlib import Path
from typing import NamedTuple

import asyncpg
import psutil

from benchmarks.bench_log import ENTRIES, a_call, a_key, a_wish, drive, vault_at
from benchmarks.compare_revisions import Caller
from benchmarks.unchecked_values import unchecked
from tests.support.postgres import DEFAULT, PostgresServer
from tests.support.server import VaultServer
from vsqlvault.errors import ValueCorrupt
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_retention_policy

TARGET = 0.97
WAYS = ("with", "without")
SWITCH = {"with": signal.SIGUSR2, "without": signal.SIGUSR1}
SETTLE_SECONDS = 0.05
"""Time from a signal to the server until its requests are those of the other way."""
FORGED = EntryKey("card", "forged")
OF_SQLITE = "UPDATE entries SET encrypted_value = CAST('forged' AS BLOB) WHERE external_id = 'forged'"
OF_POSTGRESQL = "UPDATE vault.entries SET encrypted_value = 'forged'::bytea WHERE external_id = 'forged'"


class Figures(NamedTuple):
    """Of one turn: requests a second, and microseconds of processor time for each request."""

    rate: float
    cpu_us: float


class ServerWithSwitch(VaultServer):
    """A server whose check is removed and restored by a signal."""

    def command(self) -> list[str]:
        """Return how it is started."""
        return [sys.executable, "-m", "benchmarks.unchecked_values", *super().command()[3:]]


class Processes:
    """Processes whose processor time is counted: the one that serves, and those of PostgreSQL."""

    def __init__(self, pid: int, postgres: PostgresServer | None) -> None:
        self._pid = pid
        self._postgres = postgres

    def seconds(self) -> dict[int, float]:
        """Return the processor time of each process; Linux counts that of each thread in nanoseconds."""
        found = {}
        for pid in self._pids():
            try:
                texts = [file.read_text("ascii") for file in Path(f"/proc/{pid}/task").glob("*/schedstat")]
            except OSError:  # the process has ended
                continue
            found[pid] = sum(int(text.split()[0]) for text in texts) / 1e9
        return found

    def _pids(self) -> list[int]:
        if self._postgres is None:
            return [self._pid]
        first = (self._postgres.data_directory / "postmaster.pid").read_text("utf-8").split()[0]
        return [self._pid, int(first), *(each.pid for each in psutil.Process(int(first)).children())]

    def since(self, before: dict[int, float]) -> float:
        """Return the seconds of processor time since ``before``, of the processes that ran then too."""
        return sum(seconds - before[pid] for pid, seconds in self.seconds().items() if pid in before)


@contextmanager
def database(storage: str) -> Iterator[tuple[str, PostgresServer | None]]:
    """Give the URL of an empty database, and the server that has it."""
    if storage == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite:///{Path(directory, 'vault.db')}", None
        return
    with PostgresServer(DEFAULT) as server:
        yield server.url(server.create_database()), server


async def forge(url: str) -> None:
    """Change the value of one entry in the database, and nothing else."""
    if url.startswith("sqlite"):
        with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as file, file:
            file.execute(OF_SQLITE)
        return
    connection = await asyncpg.connect(url)
    await connection.execute(OF_POSTGRESQL)
    await connection.close()


def by_turns(rounds: int, turn: Callable[[str], Figures]) -> list[dict[str, Figures]]:
    """Measure both ways in each round, in changing order."""
    found = [{way: turn(way) for way in (WAYS if number % 2 else reversed(WAYS))} for number in range(rounds + 1)]
    return found[1:]


def require_difference(answer: Callable[[str], bool]) -> None:
    """Raise RuntimeError unless the changed value is refused with the check, and is answered without it."""
    found = {way: answer(way) for way in WAYS}
    if found != {"with": False, "without": True}:
        raise RuntimeError(f"expected a refusal with the check only, found answers {found}")


def in_process(options: argparse.Namespace, url: str, postgres: PostgresServer | None) -> list[dict[str, Figures]]:
    """Measure the service without HTTP."""
    processes = Processes(os.getpid(), postgres)
    context = vault_at(url)
    with asyncio.Runner() as runner:
        vault = runner.run(context.__aenter__())
        runner.run(_fill(vault, options.bytes))
        runner.run(forge(url))

        def turn(way: str) -> Figures:
            before, began = processes.seconds(), time.perf_counter()
            with unchecked() if way == "without" else nullcontext():
                rate, _ = runner.run(
                    drive(lambda: vault.entries.retrieve(a_call(), a_key()), options.callers, options.seconds)
                )
            requests = rate * (time.perf_counter() - began)
            return Figures(rate, processes.since(before) / requests * 1e6)

        def answer(way: str) -> bool:
            with unchecked() if way == "without" else nullcontext():
                try:
                    viewed = runner.run(_retrieved(vault))
                except ValueCorrupt:
                    return False
            return viewed == b"forged"

        found = by_turns(options.rounds, turn)
        require_difference(answer)
        runner.run(context.__aexit__(None, None, None))
    return found


async def _fill(vault: Vault, size: int) -> None:
    await vault.rules.policies.save_retention_policy(a_call(), a_retention_policy("card"))
    for key in (FORGED, *(EntryKey("card", f"e{number}") for number in range(ENTRIES))):
        await vault.entries.store(a_call(), key, replace(a_wish(), value=os.urandom(size)))


async def _retrieved(vault: Vault) -> bytes | None:
    return (await vault.entries.retrieve(a_call(), FORGED)).value


def over_http(options: argparse.Namespace, url: str, postgres: PostgresServer | None) -> list[dict[str, Figures]]:
    """Measure a server, with kept-alive connections."""
    with tempfile.TemporaryDirectory() as directory, asyncio.Runner() as runner:
        here = {"PYTHONPATH": str(Path(__file__).parents[1])}
        server = ServerWithSwitch(Path(directory), database_url=url, environment=here, by_exec=True).start()
        try:
            processes = Processes(server.pid, postgres)
            server.retention("card")
            value = "x" * options.bytes
            for name in ("forged", *(f"e{number}" for number in range(ENTRIES))):
                server.stored("payments", f"card/{name}", value)
            runner.run(forge(url))
            requests = [_request(server, f"e{number * 7 % ENTRIES}") for number in range(ENTRIES)]

            def switch(way: str) -> None:
                server.signal(SWITCH[way])
                time.sleep(SETTLE_SECONDS)

            def answer(way: str) -> bool:
                switch(way)
                return server.get("payments", "card/forged").status == 200

            found = runner.run(_turns_of_callers(server, processes, requests, options))
            require_difference(answer)
            server.stop()
        finally:
            server.kill()
    return found


def _request(server: VaultServer, name: str) -> bytes:
    return (
        f"GET /vault/card/{name} HTTP/1.1\r\nHost: localhost\r\nX-Vault-Key: {server.key('payments')}\r\n\r\n".encode()
    )


async def _turns_of_callers(
    server: VaultServer, processes: Processes, requests: list[bytes], options: argparse.Namespace
) -> list[dict[str, Figures]]:
    """Measure both ways in each round, in changing order, while the callers go on."""
    loop, left = asyncio.get_running_loop(), cycle(requests)
    answered: list[float] = []
    made = [
        await loop.create_connection(lambda: Caller(left, answered, is_head=False), *server.address)
        for _ in range(options.callers)
    ]

    async def turn(way: str) -> Figures:
        server.signal(SWITCH[way])
        await asyncio.sleep(SETTLE_SECONDS)
        earlier, before, began = len(answered), processes.seconds(), time.perf_counter()
        await asyncio.sleep(options.seconds)
        cost, passed = processes.since(before), time.perf_counter() - began
        for _, caller in made:
            if caller.ended.done():
                caller.ended.result()
        number = len(answered) - earlier
        return Figures(number / passed, cost / number * 1e6)

    rounds = range(options.rounds + 1)
    found = [{way: await turn(way) for way in (WAYS if number % 2 else reversed(WAYS))} for number in rounds]
    for transport, _ in made:
        transport.close()
    return found[1:]


def interval(ordered: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the median: a sign test's, which assumes no distribution."""
    number, low, outside = len(ordered), 0, 1
    while low + 1 < number // 2 and 40 * (outside + comb(number, low + 1)) <= 2**number:
        low += 1
        outside += comb(number, low)
    return ordered[low], ordered[-1 - low]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", choices=("sqlite", "postgresql"), default="sqlite")
    parser.add_argument("--http", action="store_true", help="measure a server, through HTTP")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=300)
    parser.add_argument("--seconds", type=float, default=0.25, help="of a turn")
    parser.add_argument("--bytes", type=int, default=1024)
    options = parser.parse_args()
    with database(options.storage) as (url, postgres):
        rounds = (over_http if options.http else in_process)(options, url, postgres)
    for way in WAYS:
        rate, cost = (statistics.median(each) for each in zip(*(turn[way] for turn in rounds), strict=True))
        print(f"GET {way:<8} the check {rate:>9,.0f}/s {cost:>7.1f} us of processor time, medians")
    for index, name in enumerate(("rate", "processor time")):
        ratios = sorted(turn["with"][index] / turn["without"][index] for turn in rounds)
        low, high = interval(ratios)
        print(f"{name}, with / without: {statistics.median(ratios):.3f} (95 %: {low:.3f} to {high:.3f})")
    costs = sorted(turn["with"].cpu_us - turn["without"].cpu_us for turn in rounds)
    low, high = interval(costs)
    print(f"the check: {statistics.median(costs):.1f} us of processor time (95 %: {low:.1f} to {high:.1f})")
    print(f"target for the rate: at least {TARGET}")


if __name__ == "__main__":
    main()
