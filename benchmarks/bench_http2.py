"""The throughput of HTTP/2 with the limit of running requests, without it, and of HTTP/1.1, by turns.

The client is h2load of nghttp2, in a process of its own, over TLS: GET of one entry of 1 KB with its audit row.
``python -m benchmarks.bench_http2``, with ``--rounds``, ``--requests``, ``--connections``, ``--streams`` and
``--callers``.
"""

import argparse
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil

from tests.support.server import VaultServer
from tests.support.tls import Ground

HUGE = 100_000
AS_A_PROGRAM = """
import sys
from vsqlvault.http.server import http2, http2_connection
limit = int(sys.argv.pop(1))
if limit:
    http2.Http2.__init__.__defaults__ = (http2.MAX_HELD_IN_ALL_BYTES, limit)
    http2_connection.MAX_RUNNING = limit
from vsqlvault.cli import main
sys.exit(main())
"""
VARIANTS = {"HTTP/2": (0, "h2"), "HTTP/2 without the limit": (HUGE, "h2"), "HTTP/1.1": (0, "http/1.1")}
"""The limit of the server, 0 for its own, and the protocol."""


class Limited(VaultServer):
    """A server with another limit of running requests."""

    limit = 0

    def command(self):
        """Return the command that changes the limit and serves."""
        config = str(self.directory / "vault.toml")
        return [sys.executable, "-c", AS_A_PROGRAM, str(self.limit), "serve", "--config", config]


def rate(server, protocol, options):
    """Return requests per second, and the server's microseconds of processor time for each."""
    process = psutil.Process(server.pid)
    before = sum(process.cpu_times()[:2])
    # with HTTP/1.1, h2load has one connection for each request that runs at the same time
    streams = options.streams if protocol == "h2" else 1
    connections = options.connections if protocol == "h2" else options.callers
    command = [
        "h2load", "-n", str(options.requests), "-c", str(connections), "-m", str(streams), f"--npn-list={protocol}",
        "-H", f"x-vault-key: {server.key('payments')}", f"https://127.0.0.1:{server.address[1]}/vault/card/a",
    ]  # fmt: skip
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    if f"status codes: {options.requests} 2xx" not in printed:
        raise AssertionError(printed)
    found = re.search(r"([\d.]+) req/s", printed)
    spent = sum(process.cpu_times()[:2]) - before
    return float(found[1]), spent / options.requests * 1e6


def main():
    """Print the medians of all rounds, and what each is of HTTP/2 with the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--requests", type=int, default=16_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--streams", type=int, default=32)
    parser.add_argument("--callers", type=int, default=64, help="connections of HTTP/1.1")
    options = parser.parse_args()
    found = {name: [] for name in VARIANTS}
    with tempfile.TemporaryDirectory() as directory:
        servers = {}
        for limit in {limit for limit, _ in VARIANTS.values()}:
            place = Path(directory, str(limit))
            place.mkdir()
            ground = Ground(place)
            servers[limit] = server = Limited(place, settings=ground.settings(more="http2 = true"))
            server.limit, server.tls = limit, ground.context()
            server.start().retention("card")
            server.stored("payments", "card/a", "v" * 1000)
        try:
            for each in range(options.rounds + 1):
                for name, (limit, protocol) in VARIANTS.items():
                    measured = rate(servers[limit], protocol, options)
                    if each:  # the first round warms up
                        found[name].append(measured)
        finally:
            for server in servers.values():
                server.kill()
    usual = statistics.median(each[0] for each in found["HTTP/2"])
    for name, rounds in found.items():
        per_second, spent = (statistics.median(column) for column in zip(*rounds, strict=True))
        span = f"{min(rounds)[0]:,.0f} to {max(rounds)[0]:,.0f}"
        print(f"{name:<26} {per_second:>8,.0f}/s ({span}) {per_second / usual:>7.1%} {spent:>7.0f} µs")


if __name__ == "__main__":
    main()
