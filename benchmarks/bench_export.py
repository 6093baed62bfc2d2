"""Exports a log that grows by 5,000 rows a second, to a destination that is killed and slow at random.

    python benchmarks/bench_export.py [--rate 5000] [--seconds 60] [--sinks file http syslog] [--postgresql]

For each kind of destination it serves a vault, lets another process write rows straight to the storage, and measures requests
to the vault meanwhile; by turns without an export and with it. The destination keeps what it got. In the end no row may be
missing, rows that arrived twice are counted by their index, and the root of the signed checkpoint is rebuilt from what arrived.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import secrets
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.support.certificates import Authority
from tests.support.postgres import PostgresServer
from tests.support.server import VaultServer
from vsqlvault.config import load_settings
from vsqlvault.interfaces.writes import Write
from vsqlvault.runtime import open_vault
from vsqlvault.testing import an_access_record

RECEIVER = Path(__file__).with_name("export_receiver.py")
VERIFY = Path(__file__).parents[1] / "contrib" / "verify-export" / "verify_export.py"
WRITES_PER_SECOND = 20
PAUSE_SECONDS = 0.02
UP_SECONDS, DOWN_SECONDS = (4.0, 12.0), (0.2, 2.0)
DRAIN_SECONDS = 180.0


async def write(url: str, rate: int, seconds: float) -> None:
    """Commit ``rate`` rows a second, twenty commits a second, and print how many."""
    settings = load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": url})
    written, began = 0, time.monotonic()
    async with open_vault(settings) as vault:
        while (elapsed := time.monotonic() - began) < seconds:
            due = min(int(rate * elapsed), written + 4 * rate // WRITES_PER_SECOND) - written
            now = datetime.now(UTC)
            rows = tuple(an_access_record(at=now, request_id=secrets.token_hex(16)) for _ in range(due))
            if rows:
                await vault.storage.commit([Write(rows)])
            written += due
            await asyncio.sleep(1 / WRITES_PER_SECOND)
    print(written)


class Destination:
    """A receiver in its own process, which is killed and started again at random until ``stop``."""

    def __init__(self, kind: str, directory: Path, seed: int) -> None:
        self.kind, self.directory, self.out = kind, directory, directory / "received.ndjson"
        self.kills = 0
        self._is_calm = False
        self._random = random.Random(seed)
        self._ends = threading.Event()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        if kind == "syslog":
            Authority(directory).server()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    @property
    def settings(self) -> str:
        """Return the table of the settings."""
        lines = {
            "file": f'path = "{self.out}"',
            "http": f'url = "http://127.0.0.1:{self.port}/"\nhmac_key_env = "SIEM_KEY"',
            "syslog": f'host = "127.0.0.1"\nport = {self.port}\nca_file = "{self.directory / "authority.pem"}"',
        }
        return f'[[export]]\nname = "bench"\nkind = "{self.kind}"\n{lines[self.kind]}\n'

    def _run(self) -> None:
        while not self._ends.is_set():
            command = [sys.executable, "-S", RECEIVER, self.kind, str(self.port), str(self.directory)]
            process = None if self.kind == "file" else subprocess.Popen(command)
            until = time.monotonic() + self._random.uniform(*UP_SECONDS)
            while not self._ends.wait(0.1) and (self._is_calm or time.monotonic() < until):
                pass
            if process is not None:
                process.kill()
                process.wait()
            if self._ends.is_set():
                return
            self.kills += 1
            if process is None:  # a file cannot be killed: it is moved away, and cannot be written for a while
                self._take_away()
            else:
                self._ends.wait(self._random.uniform(*DOWN_SECONDS))

    def _take_away(self) -> None:
        with suppress(FileNotFoundError):
            self.out.rename(self.directory / f"received.{self.kills}.ndjson")
        self.out.mkdir()
        self._ends.wait(self._random.uniform(*DOWN_SECONDS))
        self.out.rmdir()

    def calm(self) -> None:
        """Keep the receiver running from now on."""
        self._is_calm = True

    def stop(self) -> None:
        """End the receiver."""
        self._ends.set()
        self._thread.join(10)

    def files(self) -> list[Path]:
        """Return the files with what arrived."""
        return sorted(path for path in self.directory.glob("received*.ndjson") if path.is_file())


class Latencies:
    """Reads an entry every 20 ms, and keeps how long each read took."""

    def __init__(self, server: VaultServer) -> None:
        self.seconds: list[float] = []
        self._server, self._ends = server, threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while not self._ends.wait(PAUSE_SECONDS):
            began = time.perf_counter()
            assert self._server.get("payments", "card/bench").status == 200
            self.seconds.append(time.perf_counter() - began)

    def stop(self) -> None:
        """Read no more."""
        self._ends.set()
        self._thread.join()

    def p(self, share: float) -> float:
        """Return a percentile, in milliseconds."""
        return statistics.quantiles(self.seconds, n=1000)[int(share * 1000) - 1] * 1000


@contextmanager
def served(directory: Path, url: str | None, export: str) -> Iterator[VaultServer]:
    directory.mkdir(exist_ok=True)
    settings = f'[audit]\ncheckpoint_interval_seconds = 0.2\n[hardening]\nlandlock = "off"\n{export}'
    server = VaultServer(
        directory, database_url=url, settings=settings, environment={"SIEM_KEY": "a key"}, by_exec=True
    )
    server.start()
    try:
        server.retention("card")
        server.stored("payments", "card/bench")
        yield server
    finally:
        server.stop()


def waiting(server: VaultServer) -> int:
    text = server.call(None, "GET", "/metrics").body.decode()
    found = re.search(r'vsqlvault_delivery_waiting\{delivery="export:bench"\} ([0-9.e+]+)', text)
    return int(float(found[1])) if found else 0


def run(directory: Path, url: str | None, chosen: argparse.Namespace, kind: str | None) -> dict[str, float]:
    """Run once, with an export of this kind or without one, and return the figures."""
    directory.mkdir()
    destination = Destination(kind, directory, chosen.seed) if kind else None
    with served(directory / "vault", url, destination.settings if destination else "") as server:
        latencies = Latencies(server)
        began = time.monotonic()
        command = [sys.executable, __file__, "--write", server.database_url, str(chosen.rate), str(chosen.seconds)]
        writer = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        backlog = 0
        while writer.poll() is None:
            backlog = max(backlog, waiting(server) if destination else 0)
            time.sleep(1)
        assert writer.stdout is not None
        rows = int(writer.stdout.read())
        latencies.stop()
        figures = {"rows": rows, "rate": rows / chosen.seconds, "p50": latencies.p(0.5), "p99": latencies.p(0.99)}
        if destination:
            figures |= drained(server, destination, began, rows) | {"backlog": backlog, "kills": destination.kills}
    return figures


def drained(server: VaultServer, destination: Destination, began: float, rows: int) -> dict[str, float]:
    """Wait until everything has arrived, and compare it with a signed checkpoint."""
    destination.calm()
    checkpoint = destination.directory / "checkpoint"
    until, size, counts = time.monotonic() + DRAIN_SECONDS, 0, Counter[int]()
    while time.monotonic() < until and not (size >= rows and sum(index < size for index in counts) == size):
        time.sleep(1)
        if size < rows:
            checkpoint.write_bytes(server.call("auditor", "GET", "/audit/checkpoint").body)
            size = int(checkpoint.read_text().splitlines()[1])
        if size >= rows and waiting(server) == 0:
            counts = indexes(destination.files())
    seconds = time.monotonic() - began
    verified = subprocess.run(
        [sys.executable, VERIFY, checkpoint, *destination.files()], capture_output=True, text=True, check=False
    )
    destination.stop()
    twice = [index for index, times in counts.items() if times > 1]
    return {
        "lost": size - sum(index < size for index in counts),
        "twice": len(twice),
        "first twice": min(twice, default=-1),
        "verified": verified.returncode == 0,
        "seconds until all arrived": seconds,
    }


def indexes(files: list[Path]) -> Counter[int]:
    found: Counter[int] = Counter()
    for path in files:
        with path.open("rb") as lines:
            for line in lines:
                with suppress(ValueError, KeyError):
                    found[json.loads(line)["index"]] += 1
    return found


def main() -> None:
    if sys.argv[1:2] == ["--write"]:
        asyncio.run(write(sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=int, default=5_000)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--sinks", nargs="+", choices=("file", "http", "syslog"), default=("file", "http", "syslog"))
    parser.add_argument(
        "--postgresql", action="store_true", help="on a PostgreSQL server of its own, in place of SQLite"
    )
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-export-") as place, ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(quick=False)) if chosen.postgresql else None
        for number, kind in enumerate(chosen.sinks):
            for turn, used in enumerate((None, kind)):
                url = postgres.url(postgres.create_database()) if postgres else None
                figures = run(Path(place) / f"{number}-{turn}", url, chosen, used)
                shown = ", ".join(
                    f"{name} {value:.1f}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in figures.items()
                )
                print(f"{used or 'none':7} {shown}", flush=True)


if __name__ == "__main__":
    os.environ.pop("VSQL_VAULT_API_KEY", None)
    main()
