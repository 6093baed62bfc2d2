"""The cost of the transparency log: for requests, for the sequencer, and for verification.

    python -m benchmarks.bench_log requests [--storage sqlite] [--callers 64] [--rounds 7] [--seconds 2]
    python -m benchmarks.bench_log sequencer [--storage sqlite] [--rows 50000] [--rate 2000]
    python -m benchmarks.bench_log verify [--storage sqlite] [--rows 1000000] [--at URL [--part storage]]

``requests``: GET and PUT through the whole service, HTTP left out, with leaves and without them, by turns; and with leaves
while the sequencer runs. "Without" is the same build that keeps no hash with its rows. Processor time is this process's own,
SQLite's threads in it; medians of the rounds.

``sequencer``: how many rows a second get their index, on one core, when they wait already; and how long it takes from a commit
to the signed checkpoint that covers it while rows come in at ``--rate`` a second.

``verify``: how long it takes, and how much memory, to verify ``--rows`` rows: in the storage, in an export, and there with the
second verifier, each in a process of its own. Filling takes longest: with ``--at``, the URL of a database, that one is
filled where it is empty, and kept; ``--part`` (``storage``, ``export``, ``second``) measures one of them.
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
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any
from unittest import mock

from tests.support.postgres import DEFAULT, PostgresServer
from vsqlvault.config import load_settings
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_vault
from vsqlvault.service.entries.requests import StoreRequest
from vsqlvault.service.tasks import running
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_retention_policy, an_access_record
from vsqlvault_plugins.storage.postgres import rows as postgres_rows
from vsqlvault_plugins.storage.sqlite import rows as sqlite_rows

ENTRIES = 2_000
VALUE_BYTES = 1024
OWNER = Principal("payments", "api-key", "benchmark", purposes=None, roles=frozenset({Role.ADMIN}))
SECOND_VERIFIER = Path(__file__).parents[1] / "contrib" / "verify-audit" / "verify_audit.py"
MODULES = {"sqlite": sqlite_rows, "postgresql": postgres_rows}


def a_call() -> Call:
    return Call(OWNER, secrets.token_hex(16), "127.0.0.1")


def a_key() -> EntryKey:
    return EntryKey("card", f"e{random.randrange(ENTRIES)}")


def a_wish() -> StoreRequest:
    value = os.urandom(VALUE_BYTES)
    return StoreRequest(value, ValueEncoding.UTF_8, "AES-256-GCM", "card-key-v7", "{}", None, "owner-only")


@contextmanager
def place(storage: str) -> Iterator[str]:
    """Give the URL of an empty database."""
    if storage == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            yield f"sqlite:///{Path(directory, 'vault.db')}"
        return
    server = PostgresServer(DEFAULT)
    try:
        server.start()
        yield server.url(server.create_database())
    finally:
        server.close()


def place_settings(url: str) -> dict[str, str]:
    return {"VSQL_VAULT_STORAGE__DATABASE_URL": url, "VSQL_VAULT_AUDIT__SIGNING_KEY_ENV": "BENCHMARK_SIGNING_KEY"}


@asynccontextmanager
async def vault_at(url: str) -> AsyncIterator[Vault]:
    os.environ["BENCHMARK_SIGNING_KEY"] = SigningKey("benchmark.example/audit", bytes(32)).reveal()
    async with open_vault(load_settings(None, place_settings(url))) as vault:
        yield vault


async def drive(work: Callable[[], Awaitable[Any]], callers: int, seconds: float) -> tuple[float, float]:
    """Return operations a second, and microseconds of processor time for each."""
    done = 0
    end = time.perf_counter() + seconds

    async def caller() -> None:
        nonlocal done
        while time.perf_counter() < end:
            await work()
            done += 1

    started, processor = time.perf_counter(), time.process_time()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return done / (time.perf_counter() - started), (time.process_time() - processor) / done * 1e6


async def requests(options: argparse.Namespace, url: str) -> None:
    found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
    async with vault_at(url) as vault:
        await vault.rules.policies.save_retention_policy(a_call(), a_retention_policy("card"))
        for number in range(ENTRIES):
            await vault.entries.store(a_call(), EntryKey("card", f"e{number}"), a_wish())
        operations: dict[str, Callable[[], Awaitable[Any]]] = {
            "GET": lambda: vault.entries.retrieve(a_call(), a_key()),
            "PUT": lambda: vault.entries.store(a_call(), a_key(), a_wish()),
        }
        for turn in range(options.rounds + 1):
            ways = ["without leaves", "with leaves", "with leaves, sequencing"]
            for way in ways if turn % 2 else reversed(ways):
                for kind, work in operations.items():
                    measured = await _measured(options, vault, way, work)
                    if turn:  # the first round warms up
                        found[kind, way].append(measured)
    for kind in operations:
        rate, cost = (statistics.median(each) for each in zip(*found[kind, "without leaves"], strict=True))
        for way in ways:
            its_rate, its_cost = (statistics.median(each) for each in zip(*found[kind, way], strict=True))
            shares = f"{its_rate:>9,.0f}/s ({its_rate / rate:>6.1%})   {its_cost:>6.1f} us ({its_cost / cost:>6.1%})"
            print(f"{kind} {way:<24} {shares}")


async def _measured(options: argparse.Namespace, vault: Vault, way: str, work: Any) -> tuple[float, float]:
    if way == "without leaves":
        with mock.patch.object(MODULES[options.storage], "row_hash", return_value=None):
            return await drive(work, options.callers, options.seconds)
    if way == "with leaves":
        return await drive(work, options.callers, options.seconds)
    await vault.log.sequencer.sequence()  # what the other ways have left is not this one's to pay for
    vault.log.sequencer._stopping.clear()
    async with running(vault.log.sequencer.task):
        return await drive(work, options.callers, options.seconds)


async def sequencer(options: argparse.Namespace, url: str) -> None:
    async with vault_at(url) as vault:
        for _ in range(options.rows // 250):
            await vault.storage.commit([Write((an_access_record(),)) for _ in range(250)])
        started, processor = time.perf_counter(), time.process_time()
        rows = await vault.log.sequencer.sequence()
        seconds, busy = time.perf_counter() - started, time.process_time() - processor
        print(f"{rows:,} rows that waited: {rows / seconds:,.0f}/s, {busy / rows * 1e6:.1f} us of processor time each")
        delays = await _delays(options, vault)
    for share in (50, 99, 100):
        found = delays[min(len(delays) - 1, len(delays) * share // 100)]
        print(f"from commit to signed checkpoint, {share:>3} %: {found:.2f} s at {options.rate:,} rows/s")


async def verify(options: argparse.Namespace, url: str) -> None:
    async with vault_at(url) as vault:
        if await vault.storage.tree_size() < options.rows:
            await _fill(vault, options.rows)
    key = str(SigningKey.parse(os.environ["BENCHMARK_SIGNING_KEY"]).verifier)
    parts = {options.part} if options.part else {"storage", "export", "second"}
    if "storage" in parts:
        await _timed("in the storage", url, "verify", "--vkey", key)
    if parts == {"storage"}:
        return
    with tempfile.TemporaryDirectory() as directory:
        export = str(Path(directory, "audit.zip"))
        await _timed("writing the export", url, "export-audit", "--out", export)
        print(f"{'the export':<32} {await asyncio.to_thread(os.path.getsize, export) / 1e6:,.0f} MB")
        if "export" in parts:
            await _timed("in the export", url, "verify", export, "--vkey", key)
        if "second" in parts:
            command = [sys.executable, str(SECOND_VERIFIER), export, "--vkey", key]
            print(f"{'in the export, second verifier':<32} {await asyncio.to_thread(_run, command, dict(os.environ))}")


async def _fill(vault: Vault, rows: int) -> None:
    for _ in range(rows // 1000):
        await vault.storage.commit([Write((an_access_record(request_id=secrets.token_hex(16)),)) for _ in range(1000)])
    await vault.log.sequencer.sequence()


async def _timed(name: str, url: str, *arguments: str) -> None:
    command = [sys.executable, "-m", "vsqlvault", *arguments]
    print(f"{name:<32} {await asyncio.to_thread(_run, command, {**os.environ, **place_settings(url)})}", flush=True)


def _run(command: list[str], environment: dict[str, str]) -> str:
    """Run a command to its end, and return what it took."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    seconds, busy = time.perf_counter() - started, usage.ru_utime + usage.ru_stime
    return f"{seconds:>7.1f} s, {busy:>7.1f} s of processor time, {usage.ru_maxrss / 1024:>5.0f} MB, exit {process.returncode}"


async def _delays(options: argparse.Namespace, vault: Vault) -> list[float]:
    """Return, sorted, how long each batch of rows waited for a checkpoint that covers it."""
    committed: list[tuple[int, float]] = []
    delays: list[float] = []
    base = await vault.storage.tree_size()

    async def write() -> None:
        total = base
        period = 100 / options.rate
        due = time.perf_counter()
        for _ in range(int(options.seconds * 5 / period)):
            await vault.storage.commit([Write((an_access_record(),)) for _ in range(100)])
            total += 100
            committed.append((total, time.perf_counter()))
            due += period
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async def watch() -> None:
        while not writing.done() or committed:
            checkpoint = await vault.storage.newest_checkpoint()
            now = time.perf_counter()
            while committed and checkpoint and committed[0][0] <= checkpoint.size:
                delays.append(now - committed.pop(0)[1])
            await asyncio.sleep(0.02)

    async with running(vault.log.sequencer.task):
        writing = asyncio.create_task(write())
        await watch()
    return sorted(delays)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=["requests", "sequencer", "verify"])
    parser.add_argument("--storage", choices=list(MODULES), default="sqlite")
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rate", type=int, default=2_000)
    parser.add_argument("--at", help="the URL of a database to use, and to keep")
    parser.add_argument("--part", choices=["storage", "export", "second"])
    options = parser.parse_args()
    options.rows = options.rows or (1_000_000 if options.what == "verify" else 50_000)
    work = {"requests": requests, "sequencer": sequencer, "verify": verify}[options.what]
    with nullcontext(options.at) if options.at else place(options.storage) as url:
        asyncio.run(work(options, url))


if __name__ == "__main__":
    main()
