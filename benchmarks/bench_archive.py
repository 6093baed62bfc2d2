"""Archives and drops nine tenths of a log while 16 clients go on: their p99, the size of the database, and both verifiers.

    python -m benchmarks.bench_archive --rows 10000000 [--storage sqlite postgresql] [--seconds 30] [--kills 20]

The generator writes rows that are 400 days old, and a tenth of younger ones, straight to the storage. Then a server serves the
storage, and the commands ``archive-audit`` and ``drop-archived`` run beside it, each in a process of its own.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

from tests.support.postgres import PostgresServer
from tests.support.server import VaultServer
from vsqlvault.config import load_settings
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.times import format_time
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_vault
from vsqlvault.service.log.archive_drop import LEASE_SECONDS
from vsqlvault.testing import a_purge_record, an_access_record, an_entry

KEY = SigningKey("bench.example/archive", b"\x0b" * 32)
SETTINGS = '[audit]\nsigning_key_env = "SIGNING"\n'
OLD, YOUNG = timedelta(days=400), timedelta(days=1)
AT_ONCE, PURGE_EACH, SIGNED_EACH = 5_000, 20, 100_000
CLIENTS, PAUSE_SECONDS = 16, 0.02
KILLED_WITHIN_SECONDS = 20.0
NICE = ("nice", "-n", "10")
SECOND_VERIFIER = Path(__file__).parents[1] / "contrib" / "verify-audit" / "verify_audit.py"


async def generate(directory: Path, rows: int) -> str:
    """Write nine tenths of the rows as old ones, and the rest as young ones. Return a time between the two."""
    async with open_vault(load_settings(directory / "vault.toml")) as vault:
        old = rows * 9 // 10
        now = (await vault.queue.read()).now
        between = ""
        for first in range(0, rows, AT_ONCE):
            at = now - (OLD if first < old else YOUNG)
            count = min(AT_ONCE, rows - first)
            access = tuple(
                an_access_record(at=at, request_id=f"{number:032x}", operation=Operation.RETRIEVE, app="payments")
                for number in range(first, first + count - count // PURGE_EACH)
            )
            purges = tuple(a_purge_record(an_entry(f"g{first}-{n}"), purged_at=at) for n in range(count // PURGE_EACH))
            await vault.storage.commit([Write(access, purges=purges)])
            if first % SIGNED_EACH == 0 or first + count in {old, rows}:
                await vault.log.sequencer.sequence()
            if first + count == old:
                await asyncio.sleep(0.01)
                between = format_time((await vault.queue.read()).now)
                await asyncio.sleep(0.01)
        return between


class Clients:
    """Requests of 16 clients, each with a connection of its own: a GET and a PUT by turns, with short pauses."""

    def __init__(self, server: VaultServer) -> None:
        self._server = server
        self._seconds: list[float] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._run(number)) for number in range(CLIENTS)]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    def told(self) -> tuple[float, float, int]:
        """Return median and p99 in milliseconds and the number of requests since the last call."""
        took, self._seconds = sorted(self._seconds), []
        return statistics.median(took) * 1000, took[int(len(took) * 0.99)] * 1000, len(took)

    async def _run(self, number: int) -> None:
        reader, writer = await asyncio.open_connection(*self._server.address)
        key = self._server.key("payments")
        while True:
            for method in ("PUT", "GET"):
                body = b'{"encrypted_value":"%s"}' % secrets.token_hex(16).encode() if method == "PUT" else b""
                head = (
                    f"{method} /vault/card/client-{number} HTTP/1.1\r\nHost: vault\r\nX-Vault-Key: {key}\r\n"
                    f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
                )
                began = time.perf_counter()
                writer.write(head.encode() + body)
                answer = await reader.readuntil(b"\r\n\r\n")
                if not answer.startswith((b"HTTP/1.1 200", b"HTTP/1.1 201")):
                    raise SystemExit(f"a request failed: {answer!r}")
                length = next(
                    int(line.split(b":")[1])
                    for line in answer.lower().split(b"\r\n")
                    if line.startswith(b"content-length:")
                )
                await reader.readexactly(length)
                self._seconds.append(time.perf_counter() - began)
                await asyncio.sleep(PAUSE_SECONDS)


async def command(server: VaultServer, *arguments: str) -> tuple[float, str]:
    """Run a command, and return its seconds and its output."""
    environment = {**os.environ, "SIGNING": KEY.reveal(), "VSQL_VAULT_API_KEY": server.admin_key}
    began = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *NICE, sys.executable, *arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    if process.returncode:
        raise SystemExit(f"{arguments} ended with {process.returncode}: {output}")
    return time.monotonic() - began, output.strip().replace("\n", " | ")


async def killed(server: VaultServer, most_seconds: float, *arguments: str) -> bool:
    """Kill a command after a random time with SIGKILL; return False if it had ended before."""
    environment = {**os.environ, "SIGNING": KEY.reveal(), "VSQL_VAULT_API_KEY": server.admin_key}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        await asyncio.wait_for(process.wait(), random.uniform(0.3, most_seconds))
    except TimeoutError:
        process.kill()
        await process.wait()
        return True
    return False


def size_of(server: VaultServer) -> str:
    """Return the size of the database in MB."""
    if server.database_url.startswith("sqlite"):
        file, log = (server.directory / name for name in ("vault.db", "vault.db-wal"))
        (free,) = server.query(sqlite="PRAGMA freelist_count", postgresql="")[0]
        sizes = [path.stat().st_size / 1e6 if path.exists() else 0 for path in (file, log)]
        return f"{sizes[0]:,.0f} MB, {free} free pages, and {sizes[1]:,.0f} MB of write-ahead log"
    found = server.query(sqlite="", postgresql="SELECT pg_database_size(current_database())")
    return f"{found[0][0] / 1e6:,.0f} MB"


async def run(server: VaultServer, between: str, seconds: float, kills: int) -> None:
    """Measure, and print."""
    directory, python = server.directory, "-m"
    vault = [python, "vsqlvault"]
    settings = ["--config", str(directory / "vault.toml"), "--vkey", str(KEY.verifier)]
    archive = str(directory / "archive")
    clients = Clients(server)
    await clients.start()
    await asyncio.sleep(2)
    clients.told()
    await asyncio.sleep(seconds)
    _, quiet, count = clients.told()
    print(
        f"  before          p99 {quiet:7.2f} ms, {count} requests, database {await asyncio.to_thread(size_of, server)}",
        flush=True,
    )
    steps = (
        ("archive-audit", [*vault, "archive-audit", *settings, "--out", archive, "--before", between]),
        ("drop-archived", [*vault, "drop-archived", *settings, "--archive", archive]),
    )
    for name, arguments in steps:
        count = sum([await killed(server, KILLED_WITHIN_SECONDS, *arguments) for _ in range(kills)])
        if count:
            print(f"  {name} was killed {count} times", flush=True)
            await asyncio.sleep(LEASE_SECONDS if name == "drop-archived" else 0)
        took, output = await command(server, *arguments)
        median, p99, count = clients.told()
        print(
            f"  {name:15} p99 {p99:7.2f} ms = {p99 / quiet:.2f} times, median {median:.2f} ms, {count} requests, {took:.1f} s:"
            f" {output}",
            flush=True,
        )
    await asyncio.sleep(seconds)
    _, again, count = clients.told()
    print(
        f"  after           p99 {again:7.2f} ms, {count} requests, database {await asyncio.to_thread(size_of, server)}",
        flush=True,
    )
    if not server.database_url.startswith("sqlite"):
        for table in ("access_log", "purge_log", "leaves"):
            await asyncio.to_thread(server.query, sqlite="", postgresql=f"VACUUM FULL vault.{table}")
        print(f"  after VACUUM FULL: database {await asyncio.to_thread(size_of, server)}", flush=True)
    await clients.stop()
    took, output = await command(server, *vault, "verify", *settings, "--archive", archive)
    print(f"  verify --archive {took:.1f} s: {output}", flush=True)
    rest = str(directory / "rest.zip")
    took, _ = await command(server, *vault, "export-audit", *settings[:2], "--out", rest)
    print(f"  export-audit     {took:.1f} s", flush=True)
    took, output = await command(server, str(SECOND_VERIFIER), rest, "--vkey", str(KEY.verifier), "--archive", archive)
    print(f"  second verifier  {took:.1f} s: {output}", flush=True)


def measure(url: str | None, rows: int, seconds: float, kills: int) -> None:
    """Generate a log in a new storage, and measure."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "archive").mkdir()
        server = VaultServer(
            directory, settings=SETTINGS, database_url=url, environment={"SIGNING": KEY.reveal()}, by_exec=True
        )
        os.environ |= {"SIGNING": KEY.reveal(), "VSQL_VAULT_API_KEY": server.admin_key}
        began = time.monotonic()
        between = asyncio.run(generate(directory, rows))
        print(f"{server.database_url.partition(':')[0]}: {rows} rows in {time.monotonic() - began:.1f} s", flush=True)
        server.start()
        try:
            server.retention("card")
            asyncio.run(run(server, between, seconds, kills))
        finally:
            server.kill()


def main() -> None:
    """Measure each storage."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000, help="a multiple of 50000")
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--kills", type=int, default=0, help="how often each command is killed before it may end")
    parser.add_argument("--storage", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    chosen = parser.parse_args()
    if "sqlite" in chosen.storage:
        measure(None, chosen.rows, chosen.seconds, chosen.kills)
    if "postgresql" in chosen.storage:
        with PostgresServer() as postgres:
            measure(postgres.url(postgres.create_database()), chosen.rows, chosen.seconds, chosen.kills)


if __name__ == "__main__":
    main()
