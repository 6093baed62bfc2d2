"""Measures the vault beside other servers, by turns in one run: four operations, by one caller and by many.

    python -m benchmarks.peers [peers.toml] [--storage postgresql sqlite] [--callers 1 16 64] [--rounds 5] [--requests 3000]

It starts the vault itself, and measures servers that run already. ``peers.toml`` names them:

    [[peer]]
    name = "OpenBao 2.6"
    adapter = "openbao"            # a file in benchmarks/peers/adapters, or a path of another one
    url = "http://127.0.0.1:8200"
    credential_env = "BAO_TOKEN"   # the variable that has the credential
    pids = [4711]                  # its processes; their children count, too
    postgresql_pids = [4712]       # its PostgreSQL, if it has one

For each operation and number of callers it prints requests a second, the median and 99th percentile of the latency, and
microseconds of processor time a request, of the server and of PostgreSQL. A ratio is the vault's rate divided by the peer's in
the same round: the median round, with the lowest and the highest.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import sysconfig
import tempfile
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from benchmarks.peers.adapters import OPERATIONS
from benchmarks.peers.driver import Figures, Peer
from tests.support.postgres import DEFAULT, PostgresServer
from tests.support.server import VaultServer

LONE_SHARE = 3
"""A lone caller makes this many times fewer requests."""

MEMBERS = {"name", "adapter", "url", "credential_env", "pids", "postgresql_pids"}
Found = dict[tuple[str, int], dict[str, list[Figures]]]


def peers_of(file: Path) -> list[Peer]:
    """Return the peers of a file."""
    peers: list[Peer] = []
    for table in tomllib.loads(file.read_text("utf-8")).get("peer", ()):
        if unknown := set(table) - MEMBERS:
            raise SystemExit(f"{file}: unknown {min(unknown)}; there are: {', '.join(sorted(MEMBERS))}")
        if missing := {"name", "adapter", "url"} - set(table):
            raise SystemExit(f"{file}: {min(missing)} is required")
        credential = os.environ.get(table.get("credential_env", ""), "")
        pids, postgresql_pids = table.get("pids", []), table.get("postgresql_pids", [])
        peers.append(Peer(table["name"], table["url"], table["adapter"], credential, pids, postgresql_pids))
    return peers


@contextmanager
def vault(storage: str) -> Iterator[Peer]:
    """Start a vault."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url: str | None = None
        postgresql_pids: list[int] = []
        if storage == "postgresql":
            postgres = stack.enter_context(PostgresServer(DEFAULT))
            url = postgres.url(postgres.create_database())
            postgresql_pids = [postgres.processes()[0].pid]
        server = VaultServer(directory, database_url=url, by_exec=True, start_seconds=120.0)
        server.start()
        stack.callback(server.kill)
        server.retention("card")
        peer = Peer(f"vault, {storage}", server.url, "vsqlvault", server.key("payments"), [server.pid], postgresql_pids)
        try:
            yield peer
        finally:
            peer.go_on()
            server.stop()


def measure(peers: list[Peer], options: argparse.Namespace) -> Found:
    """Take turns, and return the figures of each."""
    found: Found = defaultdict(lambda: defaultdict(list))
    for round_number in range(options.rounds):
        for callers in options.callers:
            requests = max(1, options.requests // LONE_SHARE) if callers == 1 else options.requests
            for operation in options.operations:
                for peer in peers if round_number % 2 == 0 else reversed(peers):
                    figures = peer.turn(operation, callers, requests)
                    found[operation, callers][peer.name].append(figures)
                    print(
                        f"round {round_number + 1}: {operation}, {callers} callers, {peer.name}: {figures}", flush=True
                    )
    return found


def python_build() -> str:
    """Return the build of Python that runs the vault."""
    arguments = str(sysconfig.get_config_var("CONFIG_ARGS") or "")
    build = [name for name in ("--enable-optimizations", "--with-lto") if name in arguments]
    return (
        f"Python {platform.python_version()}, {platform.python_compiler()}, {' '.join(build) or 'neither PGO nor LTO'}"
    )


def show(found: Found) -> None:
    """Print medians for each peer, and the ratio of its rate to that of the first one, the vault."""
    print(python_build())
    print(f"{'':<30} {'req/s':>8} {'p50 ms':>8} {'p99 ms':>8} {'cpu us':>8} {'pg us':>8}  rate of the vault")
    for (operation, callers), by_peer in found.items():
        print(f"{operation}, {callers} callers")
        first = next(iter(by_peer.values()))
        for name, rounds in by_peer.items():
            rate, median, p99, server, postgresql = (statistics.median(each) for each in zip(*rounds, strict=True))
            ratios = sorted(own.rate / other.rate for own, other in zip(first, rounds, strict=True))
            shown = f"{statistics.median(ratios):.2f} times ({ratios[0]:.2f} to {ratios[-1]:.2f})"
            print(
                f"  {name:<28} {rate:>8,.0f} {median:>8.2f} {p99:>8.2f} {server:>8.0f} {postgresql:>8.0f}"
                f"  {'' if rounds is first else shown}",
                flush=True,
            )


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("peers", type=Path, nargs="?", help="the file that names the other servers")
    parser.add_argument("--storage", nargs="*", choices=["postgresql", "sqlite"], default=["postgresql"])
    parser.add_argument("--operations", nargs="+", choices=OPERATIONS, default=list(OPERATIONS))
    parser.add_argument("--callers", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--requests", type=int, default=3_000)
    options = parser.parse_args()
    others = peers_of(options.peers) if options.peers else []
    with ExitStack() as stack:
        peers = [stack.enter_context(vault(storage)) for storage in options.storage] + others
        for peer in others:
            stack.callback(peer.go_on)
        for peer in peers:
            peer.fill()
        show(measure(peers, options))


if __name__ == "__main__":
    main()
