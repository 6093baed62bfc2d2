"""The vault's path to PostgreSQL beside pgbench, which does the same work with one statement a request, in one run.

    python -m benchmarks.bench_postgres [--callers 64] [--rounds 3] [--seconds 5] [--processes 1] [--micro]

A program of its own and not a pytest-benchmark: pgbench is a program, too, and the two take turns. Durability is on.

Two paths are measured. "storage" is commit queue and storage alone: what a GET or PUT reads, and then commits with its audit
row and its guards, which is what pgbench is made to do. "vault" has the policies, the trace and the proofs as well; a PUT
replaces, so that it also leaves a purge row, which pgbench is spared.
pgbench is measured as it comes (each statement is parsed and planned again) and with prepared statements, as asyncpg has them.
Medians of the rounds; compare ratios, not figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg

from tests.support.postgres import DEFAULT, MICRO, PostgresServer
from vsqlvault.config import load_settings
from vsqlvault.interfaces.writes import EntryIs, RevisionIs, StoreEntry, Write
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.runtime import open_vault
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.entries.requests import StoreRequest
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_retention_policy, an_access_record
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage

SCRIPTS = Path(__file__).with_name("pgbench")
ENTRIES = 100_000
VALUE_BYTES = 1024
PGBENCH_CLIENTS = 32
Operations: TypeAlias = "dict[str, Callable[[], Awaitable[Any]]]"
_RATE = re.compile(r"tps = ([0-9.]+)")
OWNER = Principal("payments", "api-key", "benchmark", purposes=None, roles=frozenset({Role.ADMIN}))


def a_call() -> Call:
    return Call(OWNER, secrets.token_hex(16), "127.0.0.1")


def wanted() -> StoreRequest:
    return StoreRequest(
        os.urandom(VALUE_BYTES), ValueEncoding.UTF_8, "AES-256-GCM", "card-key-v7", "{}", None, "owner-only"
    )


def operations(vault: Vault) -> Operations:
    def key() -> EntryKey:
        return EntryKey("card", f"e{random.randrange(ENTRIES)}")

    return {
        "GET": lambda: vault.entries.retrieve(a_call(), key()),
        "PUT": lambda: vault.entries.store(a_call(), key(), wanted()),
    }


async def fill(url: str) -> None:
    async with open_vault(load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": url})) as vault:
        await vault.rules.policies.save_retention_policy(a_call(), a_retention_policy("card"))
        for first in range(0, ENTRIES, 500):
            keys = [EntryKey("card", f"e{number}") for number in range(first, first + 500)]
            await asyncio.gather(*(vault.entries.store(a_call(), key, wanted()) for key in keys))
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


@asynccontextmanager
async def whole_path(url: str) -> AsyncIterator[Operations]:
    async with open_vault(load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": url})) as vault:
        yield operations(vault)


@asynccontextmanager
async def storage_path(url: str) -> AsyncIterator[Operations]:
    storage = await PostgresStorage.open(url)
    queue = CommitQueue(storage, StorageClock(), max_batch=256, max_waiting=4096)
    value = os.urandom(VALUE_BYTES)
    row = an_access_record()

    async def get() -> None:
        key = EntryKey("card", f"e{random.randrange(ENTRIES)}")
        seen = await queue.read(key, with_value=True)
        assert seen.entry
        await queue.commit(Write((row,), (EntryIs(key, seen.entry.stamp), RevisionIs(seen.revision))))

    async def put() -> None:
        key = EntryKey("card", f"e{random.randrange(ENTRIES)}")
        seen = await queue.read(key)
        assert seen.entry
        entry = replace(seen.entry, version=seen.entry.version + 1)
        expects = (EntryIs(key, seen.entry.stamp), RevisionIs(seen.revision))
        await queue.commit(Write((row,), expects, (StoreEntry(entry, value),)))

    yield {"GET": get, "PUT": put}
    await storage.close()


PATHS = {"storage": storage_path, "vault": whole_path}


async def drive(url: str, path: str, name: str, callers: int, seconds: float) -> list[float]:
    """Return the seconds that each operation took, of as many as ``callers`` do one after another."""
    taken: list[float] = []
    async with PATHS[path](url) as offered:
        operation = offered[name]
        await asyncio.gather(*(operation() for _ in range(callers)))
        until = time.perf_counter() + seconds

        async def caller() -> None:
            while (began := time.perf_counter()) < until:
                await operation()
                taken.append(time.perf_counter() - began)

        await asyncio.gather(*(caller() for _ in range(callers)))
    return taken


def vaults(url: str, path: str, name: str, options: argparse.Namespace) -> tuple[float, float]:
    """Return operations a second and the 99th percentile in milliseconds, over all processes."""
    command = [sys.executable, "-m", "benchmarks.bench_postgres", "--drive", url, path, name]
    command += ["--callers", str(options.callers // options.processes), "--seconds", str(options.seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(options.processes)]
    results = [json.loads(process.communicate()[0]) for process in running]
    return sum(count / options.seconds for count, _ in results), max(p99 for _, p99 in results)


def pgbench(
    server: PostgresServer, url: str, mode: str, name: str, seconds: float, numbers: range = range(ENTRIES)
) -> tuple[float, float]:
    """Return transactions a second, and nothing to say of a percentile; ``numbers`` are those of the entries."""
    script = SCRIPTS / f"{name.lower()}.sql"
    command = ["pgbench", "-n", "-M", mode, "-c", str(clients(server)), "-j", "2"]
    command += ["-T", str(round(seconds)), "-f", str(script), *between(numbers), url]
    done = subprocess.run(
        [server.program_directory / command[0], *command[1:]], capture_output=True, text=True, check=True
    )
    match = _RATE.search(done.stdout)
    assert match, done.stdout
    return float(match[1]), math.nan


def between(numbers: range) -> list[str]:
    """Return the options that have a script take an entry's number out of these."""
    return ["-D", f"first={numbers[0]}", "-D", f"last={numbers[-1]}"]


def clients(server: PostgresServer) -> int:
    return min(PGBENCH_CLIENTS, int(server.settings.get("max_connections", "100")) - 2)


def compare(options: argparse.Namespace) -> None:
    with PostgresServer(MICRO if options.micro else DEFAULT) as server:
        ours, bare = (server.url(server.create_database()) for _ in range(2))
        asyncio.run(fill(ours))
        subprocess.run(
            [server.program_directory / "psql", "-q", "-f", SCRIPTS / "schema.sql", bare],
            check=True,
            capture_output=True,
        )
        contestants: dict[str, Callable[[str], tuple[float, float]]] = {
            "pgbench": lambda name: pgbench(server, bare, "simple", name, options.seconds),
            "pgbench, prepared": lambda name: pgbench(server, bare, "prepared", name, options.seconds),
            "storage": lambda name: vaults(ours, "storage", name, options),
            "vault": lambda name: vaults(ours, "vault", name, options),
        }
        found: dict[tuple[str, str], list[tuple[float, float]]] = defaultdict(list)
        for _ in range(options.rounds):
            for name in ("GET", "PUT"):
                for who, contestant in contestants.items():
                    server.sql("CHECKPOINT")
                    found[name, who].append(contestant(name))
        print(f"{options.callers} callers in {options.processes} process(es), pgbench with {clients(server)} clients")
        for name in ("GET", "PUT"):
            show(name, {who: found[name, who] for who in contestants})


def show(name: str, found: dict[str, list[tuple[float, float]]]) -> None:
    rates = {who: statistics.median(rate for rate, _ in rounds) for who, rounds in found.items()}
    for who, rate in rates.items():
        ratios = f"{rate / rates['pgbench']:.2f} of pgbench, {rate / rates['pgbench, prepared']:.2f} of it prepared"
        p99 = statistics.median(p99 for _, p99 in found[who])
        print(f"{name} {who:18} {rate:8,.0f}/s  {ratios}" + ("" if math.isnan(p99) else f"; p99 {p99:.1f} ms"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--micro", action="store_true")
    parser.add_argument("--drive", nargs=3, metavar=("URL", "PATH", "OPERATION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        taken = sorted(asyncio.run(drive(*options.drive, options.callers, options.seconds)))
        print(json.dumps([len(taken), taken[len(taken) * 99 // 100] * 1000]))
    else:
        compare(options)


if __name__ == "__main__":
    main()
