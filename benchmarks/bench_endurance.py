"""The limits of one server: its start time, the connections it refuses, and its memory after many requests.

    python -m benchmarks.bench_endurance [--starts 7] [--idle 10000] [--requests 1000000]

- Start: from the start of the process to the first answer of ``/health``; each start on a file that is there already.
- Idle: this number of silent connections. Beyond ``server.max_connections`` they are closed at once; ``/health`` is requested
  meanwhile.
- Requests: GET and PUT by turns, this number in total, sent by wrk; the server's resident memory after each tenth.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import psutil

from benchmarks.bench_servers import ask, fill
from tests.support.server import VaultServer

CONNECTIONS = 64
TURN_SECONDS = 5.0
SHARES = 10


def resident(server: VaultServer) -> float:
    """Return the MiB that the server's process holds."""
    return float(psutil.Process(server.pid).memory_info().rss) / 2**20


def measure_starts(directory: Path, starts: int) -> None:
    """Start and stop it, and print how long the first answer took."""
    taken = []
    for _ in range(starts + 1):
        server = VaultServer(directory, by_exec=True)
        began = time.perf_counter()
        server.start()
        if server.call(None, "GET", "/health").status != 200:
            raise RuntimeError("it does not answer")
        taken.append(time.perf_counter() - began)
        server.stop()
    taken.pop(0)  # it made the schema
    print(f"start to first answer: median {statistics.median(taken):.2f} s, longest {max(taken):.2f} s")


async def stay_idle(address: tuple[str, int], number: int) -> int:
    """Open this number of silent connections, and return how many of them were still open after a second."""

    async def is_kept() -> bool:
        reader, writer = await asyncio.open_connection(*address)
        try:
            async with asyncio.timeout(1):
                return bool(await reader.read(1))
        except TimeoutError:
            return True
        except ConnectionResetError:
            return False
        finally:
            writer.close()

    return sum(await asyncio.gather(*(is_kept() for _ in range(number))))


def _stay_idle(address: tuple[str, int], number: int) -> int:
    return asyncio.run(stay_idle(address, number))


def measure_idle(server: VaultServer, number: int) -> None:
    """Have another process open the connections, and print what became of them and of ``/health`` meanwhile."""
    before = resident(server)
    health: list[float] = []
    with ProcessPoolExecutor(1) as elsewhere:
        idling = elsewhere.submit(_stay_idle, server.address, number)
        while not idling.done():
            began = time.perf_counter()
            answer = server.call(None, "GET", "/health")
            if answer.status != 200:
                raise RuntimeError(f"health: {answer.status}")
            health.append(time.perf_counter() - began)
            time.sleep(0.05)
        kept = idling.result()
    print(
        f"{number} idle connections: {kept} kept, {number - kept} closed at once; /health answered {len(health)} times "
        f"within {max(health):.2f} s; memory {before:.0f} MiB before, {resident(server):.0f} MiB after"
    )


def measure_memory(server: VaultServer, requests: int) -> None:
    """Make this number of requests, and print the memory after each share."""
    asked, faces = 0.0, []
    print(f"resident: {resident(server):.1f} MiB at first")
    while asked < requests:
        for method in ("GET", "PUT"):
            asked += ask(server, method, CONNECTIONS, TURN_SECONDS).rate * TURN_SECONDS
        if asked * SHARES >= requests * (len(faces) + 1):
            faces.append(resident(server))
            print(f"resident: {faces[-1]:.1f} MiB after {asked:,.0f} requests", flush=True)


def main() -> None:
    """Read the options, and measure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--starts", type=int, default=7)
    parser.add_argument("--idle", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=1_000_000)
    options = parser.parse_args()
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with tempfile.TemporaryDirectory() as directory:
        measure_starts(Path(directory), options.starts)
        server = VaultServer(Path(directory), by_exec=True)
        server.start()
        try:
            server.retention("card")
            asyncio.run(fill(server))
            measure_idle(server, options.idle)
            measure_memory(server, options.requests)
            server.stop()
        finally:
            server.kill()


if __name__ == "__main__":
    main()
