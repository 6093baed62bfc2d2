"""Processor time of all processes per request: the vault over HTTP, and pgbench with prepared statements, by turns.

    python -m benchmarks.bench_pgbench [--callers 64] [--rounds 5] [--requests 8000]

pgbench reads or stores the same entries and adds the same rows, one statement a request (``pgbench/``), in another database of
the same PostgreSQL. Its processor time is its own and PostgreSQL's. That of the vault is the server's and PostgreSQL's; the
client's is printed apart. PUT stores a new entry. pgbench keeps no entry counters, and has no HTTP, access policies and hashes.
Target: the vault takes at most as much as pgbench.
"""

from __future__ import annotations

import argparse
import os
import resource
import statistics
import subprocess
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import NamedTuple

from benchmarks.bench_postgres import ENTRIES, SCRIPTS, between
from benchmarks.peers.driver import Peer, processor_seconds
from tests.support.postgres import DEFAULT, PostgresServer
from tests.support.server import VaultServer

TARGET = 1.0
OPERATIONS = {"GET": "read", "PUT": "create"}
PGBENCH_TIMES = 8
"""pgbench does this many times the requests of a turn, because each turn of it opens its connections, which costs much."""

NEW = range(1_000_000_000, 2_000_000_000)
"""Numbers of entries that pgbench has not stored."""

START_SECONDS = 60.0
CHILDREN = slice(13, 15)
"""The fields of /proc/PID/stat, after the name, with the ticks of children that have ended."""


class Cost(NamedTuple):
    """Microseconds of processor time a request: of the program, of PostgreSQL, and of a client beside the program."""

    program: float
    postgresql: float
    client: float

    @property
    def whole(self) -> float:
        """Without the client."""
        return self.program + self.postgresql


def postgresql_seconds(pid: int) -> float:
    """Return the processor time of PostgreSQL, with that of connections that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    ended = sum(map(int, fields[CHILDREN])) / os.sysconf("SC_CLK_TCK")
    return processor_seconds([pid]) + ended


def used(who: int) -> float:
    """Return the processor time of this process, or of its children that have ended."""
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def vault_turn(peer: Peer, operation: str, options: argparse.Namespace) -> Cost:
    """Measure requests to the vault. The client also prepares its requests in this time."""
    before = used(resource.RUSAGE_SELF)
    figures = peer.turn(operation, options.callers, options.requests)
    client = (used(resource.RUSAGE_SELF) - before) / options.requests * 1e6
    return Cost(figures.server_us, figures.postgresql_us, client)


def pgbench_turn(server: PostgresServer, url: str, method: str, options: argparse.Namespace) -> Cost:
    """Measure transactions of pgbench."""
    postmaster = server.processes()[0].pid
    numbers = NEW if method == "PUT" else range(ENTRIES)
    each = PGBENCH_TIMES * options.requests // options.callers
    command: list[str | Path] = [
        server.program_directory / "pgbench",
        "-n",
        "-M",
        "prepared",
        "-c",
        str(options.callers),
        "-j",
        "2",
    ]
    command += ["-t", str(each), "-f", SCRIPTS / f"{method.lower()}.sql", *between(numbers), url]
    before = used(resource.RUSAGE_CHILDREN), postgresql_seconds(postmaster)
    subprocess.run(command, capture_output=True, check=True)
    after = used(resource.RUSAGE_CHILDREN), postgresql_seconds(postmaster)
    own, postgresql = ((new - old) / (each * options.callers) * 1e6 for old, new in zip(before, after, strict=True))
    return Cost(own, postgresql, 0.0)


def measure(options: argparse.Namespace) -> dict[str, list[tuple[Cost, Cost]]]:
    """Return each round's cost of the vault and of pgbench, by method."""
    found: dict[str, list[tuple[Cost, Cost]]] = defaultdict(list)
    with PostgresServer(DEFAULT) as postgres, tempfile.TemporaryDirectory(prefix="bench-pgbench-") as directory:
        postmaster = postgres.processes()[0].pid
        bare = postgres.url(postgres.create_database())
        subprocess.run([postgres.program_directory / "psql", "-q", "-f", SCRIPTS / "schema.sql", bare], check=True)
        url = postgres.url(postgres.create_database())
        vault = VaultServer(Path(directory), database_url=url, by_exec=True, start_seconds=START_SECONDS)
        vault.start()
        try:
            vault.retention("card")
            peer = Peer(
                "vault", vault.url, "vsqlvault", vault.key("payments"), [vault.pid], [postmaster], options.entries
            )
            peer.fill()
            for number in range(options.rounds + 1):
                for method, operation in OPERATIONS.items():
                    postgres.sql("CHECKPOINT")
                    ours = vault_turn(peer, operation, options)
                    postgres.sql("CHECKPOINT")
                    theirs = pgbench_turn(postgres, bare, method, options)
                    if number:  # the first round fills caches
                        found[method].append((ours, theirs))
            peer.go_on()
            vault.stop()
        finally:
            vault.kill()
    return found


def show(found: dict[str, list[tuple[Cost, Cost]]]) -> None:
    """Print medians, and the ratios of the rounds."""
    for method, rounds in found.items():
        ratios = sorted(ours.whole / theirs.whole for ours, theirs in rounds)
        for name, costs in zip(("vault", "pgbench"), zip(*rounds, strict=True), strict=True):
            program, postgresql, client = (statistics.median(each) for each in zip(*costs, strict=True))
            print(
                f"{method} {name:8} {program:6.0f} us, PostgreSQL {postgresql:6.0f} us, client beside it {client:6.0f} us"
            )
        print(f"{method} ratio {statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}), target {TARGET}")


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=8_000, help="of each turn")
    parser.add_argument("--entries", type=int, default=5_000, help="of the vault, which are read")
    show(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
