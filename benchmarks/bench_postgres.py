"""The vault's path to PostgreSQL beside pgbench, which does the same work with one statement a request, in one run.

    python -m benchmarks.bench_postgres [--callers 64] [--rounds 3] [--seconds 5] [--processes 1] [--micro]

A program of its own and not a pytest-benchmark: pgbench is a program, too, and the two take turns. Durability is on. GET and
PUT go through policies, audit and commit queue; a PUT replaces, so that it leaves a purge row with its proof as well, which
pgbench is spared. Medians of the rounds; compare ratios, not figures.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import secrets
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import asyncpg

from tests.support.postgres import DEFAULT, MICRO, PostgresServer
from vsqlvault.config import load_settings
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.runtime import open_vault
from vsqlvault.service.entries import StoreWish
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_retention_policy

SCRIPTS = Path(__file__).with_name("pgbench")
ENTRIES = 100_000
VALUE_BYTES = 1024
PGBENCH_CLIENTS = 32
_RATE = re.compile(r"tps = ([0-9.]+)")
OWNER = Principal("payments", "api-key", "benchmark", purposes=None, roles=frozenset({Role.ADMIN}))


def a_call() -> Call:
    return Call(OWNER, secrets.token_hex(16), "127.0.0.1")


def wish() -> StoreWish:
    return StoreWish(
        os.urandom(VALUE_BYTES), ValueEncoding.UTF_8, "AES-256-GCM", "card-key-v7", "{}", None, "owner-only"
    )


def operations(vault: Vault) -> dict[str, Callable[[], Awaitable[Any]]]:
    def key() -> EntryKey:
        return EntryKey("card", f"e{random.randrange(ENTRIES)}")

    return {
        "GET": lambda: vault.entries.retrieve(a_call(), key()),
        "PUT": lambda: vault.entries.store(a_call(), key(), wish()),
    }


async def fill(url: str) -> None:
    async with open_vault(load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": url})) as vault:
        await vault.policies.save_retention_policy(a_call(), a_retention_policy("card"))
        for first in range(0, ENTRIES, 500):
            keys = [EntryKey("card", f"e{number}") for number in range(first, first + 500)]
            await asyncio.gather(*(vault.entries.store(a_call(), key, wish()) for key in keys))
    connection = await asyncpg.connect(url)
    await connection.execute("VACUUM ANALYZE")
    await connection.close()


async def drive(url: str, name: str, callers: int, seconds: float) -> list[float]:
    """Return the seconds that each operation took, of as many as ``callers`` do one after another."""
    taken: list[float] = []
    async with open_vault(load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": url})) as vault:
        operation = operations(vault)[name]
        await asyncio.gather(*(operation() for _ in range(callers)))
        until = time.perf_counter() + seconds

        async def caller() -> None:
            while (began := time.perf_counter()) < until:
                await operation()
                taken.append(time.perf_counter() - began)

        await asyncio.gather(*(caller() for _ in range(callers)))
    return taken


def vaults(url: str, name: str, options: argparse.Namespace) -> tuple[float, float]:
    """Return operations a second and the 99th percentile in milliseconds, over all processes."""
    command = [sys.executable, "-m", "benchmarks.bench_postgres", "--drive", url, name]
    command += ["--callers", str(options.callers // options.processes), "--seconds", str(options.seconds)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(options.processes)]
    results = [json.loads(process.communicate()[0]) for process in running]
    return sum(count / options.seconds for count, _ in results), max(p99 for _, p99 in results)


def pgbench(server: PostgresServer, url: str, name: str, seconds: float) -> float:
    script = SCRIPTS / f"{name.lower()}.sql"
    command = ["pgbench", "-n", "-M", "prepared", "-c", str(min(PGBENCH_CLIENTS, spare(server))), "-j", "2"]
    command += ["-T", str(round(seconds)), "-f", str(script), url]
    done = subprocess.run(
        [server.program_directory / command[0], *command[1:]], capture_output=True, text=True, check=True
    )
    match = _RATE.search(done.stdout)
    assert match, done.stdout
    return float(match[1])


def spare(server: PostgresServer) -> int:
    return int(server.settings.get("max_connections", "100")) - 2


def compare(options: argparse.Namespace) -> None:
    with PostgresServer(MICRO if options.micro else DEFAULT) as server:
        ours, bare = (server.url(server.create_database()) for _ in range(2))
        asyncio.run(fill(ours))
        subprocess.run(
            [server.program_directory / "psql", "-q", "-f", SCRIPTS / "schema.sql", bare],
            check=True,
            capture_output=True,
        )
        found: dict[str, list[Any]] = {"GET": [], "PUT": []}
        for _ in range(options.rounds):
            for name, rounds in found.items():
                server.sql("CHECKPOINT")
                alone = pgbench(server, bare, name, options.seconds)
                server.sql("CHECKPOINT")
                rounds.append((alone, *vaults(ours, name, options)))
        print(
            f"{options.callers} callers in {options.processes} process(es), pgbench with {min(PGBENCH_CLIENTS, spare(server))}"
        )
        for name, rounds in found.items():
            alone, rate, p99 = (statistics.median(column) for column in zip(*rounds, strict=True))
            print(f"{name}: vault {rate:,.0f}/s, p99 {p99:.1f} ms; pgbench {alone:,.0f}/s; ratio {rate / alone:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--callers", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--micro", action="store_true")
    parser.add_argument("--drive", nargs=2, metavar=("URL", "OPERATION"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.drive:
        taken = sorted(asyncio.run(drive(*options.drive, options.callers, options.seconds)))
        print(json.dumps([len(taken), taken[len(taken) * 99 // 100] * 1000]))
    else:
        compare(options)


if __name__ == "__main__":
    main()
