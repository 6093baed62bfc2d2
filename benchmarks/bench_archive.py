"""Archives and drops nine tenths of a log while 16 clients go on: their p99, the size of the database, and both verifiers.

    python -m benchmarks.bench_archive --rows 10000000 [--storage sqlite postgresql] [--seconds 30] [--turns 3]
    python -m benchmarks.bench_archive --rows 10000000 --kept DIR [--generate]

The generator writes rows that are 400 days old, and a tenth of younger ones, straight to the storage. Then a server serves the
storage, and the commands ``archive-audit`` and ``drop-archived`` run beside it, each in a process of its own, by turns with
phases without either.

With ``--kept DIR`` the log is generated in DIR once (SQLite), and each measurement is on a copy of it. ``--generate`` only
generates, so that it can be done when the machine is busy.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path

from benchmarks.log_generator import generate
from tests.support.postgres import PostgresServer
from tests.support.server import VaultServer
from vsqlvault.config import Settings, load_settings
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.times import format_time
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_vault
from vsqlvault.testing import a_purge_record, an_access_record, an_entry

KEY = SigningKey("bench.example/archive", b"\x0b" * 32)
SETTINGS = '[audit]\nsigning_key_env = "SIGNING"\n'
OLD, YOUNG = timedelta(days=400), timedelta(days=1)
AT_ONCE, PURGE_EACH = 5_000, 20
CLIENTS, PAUSE_SECONDS = 16, 0.02
MOST_TURNS = 36
"""In how many parts a kept log has its old rows. Each divisor can be the number of turns."""
KEPT_LOG, KEPT_PARTS = "vault.db", "parts.json"
SECOND_VERIFIER = Path(__file__).parents[1] / "contrib" / "verify-audit" / "verify_audit.py"


def generated(server: VaultServer, rows: int, parts: int) -> list[str]:
    """Write nine tenths of the rows as old ones, and the rest as young ones. Return a time after each part of the old ones."""
    settings = load_settings(server.directory / "vault.toml")
    if not server.database_url.startswith("sqlite"):
        return asyncio.run(committed(settings, rows, parts))
    asyncio.run(_created(settings))
    return generate(server.directory / "vault.db", KEY, rows, parts, OLD, YOUNG)


async def _created(settings: Settings) -> None:
    async with open_vault(settings) as vault:
        await vault.log.sequencer.sequence()


async def committed(settings: Settings, rows: int, parts: int) -> list[str]:
    """As ``generate``, by commits of any storage."""
    async with open_vault(settings) as vault:
        now = (await vault.queue.read()).now
        old, between = rows * 9 // 10, list[str]()
        ends = [*(old * (part + 1) // parts for part in range(parts)), rows]
        for begin, end in zip([0, *ends], ends, strict=False):
            for first in range(begin, end, AT_ONCE):
                at = now - (OLD if end <= old else YOUNG)
                await vault.storage.commit([_write(first, min(AT_ONCE, end - first), at)])
            await vault.log.sequencer.sequence()
            await asyncio.sleep(0.01)
            between.append(format_time((await vault.queue.read()).now))
            await asyncio.sleep(0.01)
        return between[:-1]


def _write(first: int, count: int, at: datetime) -> Write:
    purges = count // PURGE_EACH
    access = tuple(
        an_access_record(at=at, request_id=f"{number:032x}", operation=Operation.RETRIEVE, app="payments")
        for number in range(first, first + count - purges)
    )
    return Write(access, purges=tuple(a_purge_record(an_entry(f"g{first}-{n}"), purged_at=at) for n in range(purges)))


def generate_kept(kept: Path, rows: int) -> None:
    """Generate a log in a directory, unless it has one with this number of rows. ``parts.json`` is written last."""
    if not (kept / KEPT_PARTS).exists():
        server = VaultServer(kept, settings=SETTINGS, environment={"SIGNING": KEY.reveal()})
        os.environ |= {"SIGNING": KEY.reveal(), "VSQL_VAULT_API_KEY": server.admin_key}
        parts = {"rows": rows, "between": generated(server, rows, MOST_TURNS)}
        (kept / KEPT_PARTS).write_text(json.dumps(parts))
    found = json.loads((kept / KEPT_PARTS).read_text())["rows"]
    if found != rows:
        raise SystemExit(f"--kept: expected a log of {rows} rows, found one of {found}")


def copied(kept: Path, directory: Path, turns: int) -> list[str]:
    """Copy a kept log. Return a time after each part of its old rows, for ``turns`` equal parts."""
    shutil.copy(kept / KEPT_LOG, directory / KEPT_LOG)
    between: list[str] = json.loads((kept / KEPT_PARTS).read_text())["between"]
    each = MOST_TURNS // turns
    return between[each - 1 :: each]


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

    def told(self) -> list[float]:
        """Return the seconds of the requests since the last call."""
        took, self._seconds = self._seconds, []
        return took

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
        sys.executable, *arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    output = (await process.communicate())[0].decode()
    if process.returncode:
        raise SystemExit(f"{arguments} ended with {process.returncode}: {output}")
    return time.monotonic() - began, output.strip().replace("\n", " | ")


def size_of(server: VaultServer) -> str:
    """Return the size of the database in MB."""
    if server.database_url.startswith("sqlite"):
        file, log = (server.directory / name for name in ("vault.db", "vault.db-wal"))
        (free,) = server.query(sqlite="PRAGMA freelist_count", postgresql="")[0]
        sizes = [path.stat().st_size / 1e6 if path.exists() else 0 for path in (file, log)]
        return f"{sizes[0]:,.0f} MB, {free} free pages, and {sizes[1]:,.0f} MB of write-ahead log"
    found = server.query(sqlite="", postgresql="SELECT pg_database_size(current_database())")
    return f"{found[0][0] / 1e6:,.0f} MB"


class Phases:
    """The latencies of each kind of phase, and how they compare with the quiet phases before and after each.

    Other load of the machine changes within minutes. So the summary has the median of the ratios of all turns, too.
    """

    def __init__(self, clients: Clients, seconds: float) -> None:
        self._clients, self._seconds = clients, seconds
        self._all: dict[str, list[float]] = {}
        self._quiet: list[float] = []
        self._since_quiet: list[tuple[str, float]] = []
        self._ratios: dict[str, list[float]] = {}

    async def quiet(self) -> None:
        """Measure the clients alone."""
        self._clients.told()
        await asyncio.sleep(self._seconds)
        self._quiet.append(self._take("quiet"))
        print(f"    quiet          p99 {self._quiet[-1]:7.2f} ms", flush=True)
        for name, p99 in self._since_quiet:
            self._ratios.setdefault(name, []).append(p99 / statistics.mean(self._quiet[-2:]))
        self._since_quiet = []

    async def beside(self, name: str, server: VaultServer, *arguments: str) -> None:
        """Measure the clients beside a command."""
        self._clients.told()
        took, output = await command(server, *arguments)
        p99 = self._take(name)
        self._since_quiet.append((name, p99))
        ratio = p99 / self._quiet[-1]
        print(f"    {name:14} p99 {p99:7.2f} ms = {ratio:.2f} times, {took:.1f} s: {output}", flush=True)

    def summary(self) -> None:
        """Print the ratios over all turns."""
        quiet = percentile(self._all["quiet"])
        for name, took in self._all.items():
            median, p99 = statistics.median(took) * 1000, percentile(took)
            what = f"p99 {p99:7.2f} ms = {p99 / quiet:.2f} times, median {median:.2f} ms, {len(took)} requests"
            if ratios := self._ratios.get(name):
                what += f"; ratios by turns: median {statistics.median(ratios):.2f}"
                what += f", {min(ratios):.2f} to {max(ratios):.2f} of {len(ratios)}"
            print(f"  {name:14} {what}", flush=True)

    def _take(self, name: str) -> float:
        took = self._clients.told()
        self._all.setdefault(name, []).extend(took)
        return percentile(took)


def percentile(seconds: list[float], share: float = 0.99) -> float:
    """Return a percentile in milliseconds."""
    return sorted(seconds)[int(len(seconds) * share)] * 1000


async def run(server: VaultServer, between: list[str], seconds: float) -> None:
    """Measure, and print."""
    directory, python = server.directory, "-m"
    vault = [python, "vsqlvault"]
    settings = ["--config", str(directory / "vault.toml"), "--vkey", str(KEY.verifier)]
    archive = str(directory / "archive")
    print(f"  database before: {await asyncio.to_thread(size_of, server)}", flush=True)
    clients = Clients(server)
    phases = Phases(clients, seconds)
    await clients.start()
    await asyncio.sleep(2)
    for before in between:
        await phases.quiet()
        await phases.beside(
            "archive-audit", server, *vault, "archive-audit", *settings, "--out", archive, "--before", before
        )
        await phases.quiet()
        await phases.beside("drop-archived", server, *vault, "drop-archived", *settings, "--archive", archive)
    await phases.quiet()
    await clients.stop()
    phases.summary()
    await asyncio.sleep(2)
    print(f"  database after: {await asyncio.to_thread(size_of, server)}", flush=True)
    if not server.database_url.startswith("sqlite"):
        for table in ("access_log", "purge_log", "leaves"):
            await asyncio.to_thread(server.query, sqlite="", postgresql=f"VACUUM FULL vault.{table}")
        print(f"  after VACUUM FULL: database {await asyncio.to_thread(size_of, server)}", flush=True)
    took, output = await command(server, *vault, "verify", *settings, "--archive", archive)
    print(f"  verify --archive {took:.1f} s: {output}", flush=True)
    rest = str(directory / "rest.zip")
    took, _ = await command(server, *vault, "export-audit", *settings[:2], "--out", rest)
    print(f"  export-audit     {took:.1f} s", flush=True)
    took, output = await command(server, str(SECOND_VERIFIER), rest, "--vkey", str(KEY.verifier), "--archive", archive)
    print(f"  second verifier  {took:.1f} s: {output}", flush=True)


def measure(url: str | None, rows: int, seconds: float, turns: int, kept: Path | None = None) -> None:
    """Generate a log in a new storage, or copy the kept one, and measure."""
    with tempfile.TemporaryDirectory(dir=kept) as name:
        directory = Path(name)
        (directory / "archive").mkdir()
        server = VaultServer(
            directory, settings=SETTINGS, database_url=url, environment={"SIGNING": KEY.reveal()}, by_exec=True
        )
        os.environ |= {"SIGNING": KEY.reveal(), "VSQL_VAULT_API_KEY": server.admin_key}
        began = time.monotonic()
        between = copied(kept, directory, turns) if kept else generated(server, rows, turns)
        print(f"{server.database_url.partition(':')[0]}: {rows} rows in {time.monotonic() - began:.1f} s", flush=True)
        server.start()
        try:
            server.retention("card")
            asyncio.run(run(server, between, seconds))
        finally:
            server.kill()


def main() -> None:
    """Measure each storage."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--seconds", type=float, default=20, help="of each quiet phase")
    parser.add_argument("--turns", type=int, default=3, help="in how many parts the old rows are archived and dropped")
    parser.add_argument("--storage", nargs="+", default=["sqlite", "postgresql"], choices=["sqlite", "postgresql"])
    parser.add_argument("--kept", type=Path, metavar="DIR", help="a directory that keeps the generated log (SQLite)")
    parser.add_argument("--generate", action="store_true", help="only generate the log in --kept")
    chosen = parser.parse_args()
    if chosen.kept:
        if MOST_TURNS % chosen.turns:
            parser.error(f"--turns: expected a divisor of {MOST_TURNS} with --kept")
        chosen.kept.mkdir(exist_ok=True)
        generate_kept(chosen.kept, chosen.rows)
    if chosen.generate:
        return
    if "sqlite" in chosen.storage:
        measure(None, chosen.rows, chosen.seconds, chosen.turns, chosen.kept)
    if "postgresql" in chosen.storage:
        with PostgresServer() as postgres:
            measure(postgres.url(postgres.create_database()), chosen.rows, chosen.seconds, chosen.turns)


if __name__ == "__main__":
    main()
