"""What the compliance report costs on a vault of many entries and long logs, on both storages.

    python -m benchmarks.bench_report [--entries 1000000] [--rounds 5] [--storage sqlite] [--at URL] [--parts]

The storages themselves commit the rows, in large batches, and the transparency log takes them up, as in a vault that has run
for long. That takes longest: with ``--at``, the URL of a database, that one is filled where it is empty, and kept. The
memory is the growth of this process's peak over all rounds. ``--parts`` tells, of the last round, what each question to the
storage took.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.report_data import PURPOSES, ROWS_FOR_A_PURGE, writes
from tests.support.postgres import PostgresServer
from vsqlvault.model.principal import Role
from vsqlvault.proof.note import SigningKey
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_retention_policy
from vsqlvault.testing.vaults import a_vault

TARGET_MS = 500
ASKED_FOR_MS = 5_000
BATCH = 1_000
ADMIN = a_call("vault-admin", Role.ADMIN)
KEY_VARIABLE = "BENCHMARK_SIGNING_KEY"


async def measure(url: str, options: argparse.Namespace) -> None:
    """Fill the database if it is empty, and print its row."""
    os.environ[KEY_VARIABLE] = SigningKey("benchmark.example/audit", bytes(32)).reveal()
    settings = {"storage": {"database_url": url}, "audit": {"signing_key_env": KEY_VARIABLE}}
    parts = _Parts()
    with tempfile.TemporaryDirectory() as directory:
        async with a_vault(Path(directory), settings=settings, wrap=parts.around) as vault:
            if await vault.storage.tree_size() < options.entries:
                await _fill(vault, options.entries, url)
            await vault.compliance.report.write(ADMIN)
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            spent = []
            for _ in range(options.rounds):
                parts.spent.clear()
                begun = time.perf_counter()
                await vault.compliance.report.write(ADMIN)
                spent.append((time.perf_counter() - begun) * 1000)
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    name = url.partition(":")[0]
    print(f"{name:<12} {statistics.median(spent):>10.0f} {max(spent):>10.0f} {grown:>11}", flush=True)
    if options.parts:
        for part, seconds in parts.spent.most_common():
            print(f"    {part:<24} {seconds * 1000:>8.1f} ms")


async def _fill(vault: Vault, count: int, url: str) -> None:
    for purpose in PURPOSES:
        await vault.rules.policies.save_retention_policy(ADMIN, a_retention_policy(purpose))
    everything = writes(count, (await vault.queue.read()).now)
    while batch := list(islice(everything, BATCH)):
        await vault.storage.commit(batch)
    await vault.log.sequencer.sequence()
    if url.startswith("postgres"):  # as it would come to it by itself within a minute
        connection = await asyncpg.connect(url)
        await connection.execute("VACUUM (ANALYZE)")
        await connection.close()


class _Parts:
    """What each of a storage's methods took, all calls of it together."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()

    def around(self, storage: Any) -> Any:
        """Return the storage, watched."""
        spent = self.spent

        class Watched:
            def __getattr__(self, name: str) -> Any:
                method = getattr(storage, name)
                if not asyncio.iscoroutinefunction(method):
                    return method

                async def timed(*arguments: Any, **named: Any) -> Any:
                    begun = time.perf_counter()
                    try:
                        return await method(*arguments, **named)
                    finally:
                        spent[name] += time.perf_counter() - begun

                return timed

        return Watched()


@contextmanager
def places(options: argparse.Namespace) -> Iterator[Sequence[str]]:
    """Give the URLs of what is measured."""
    if options.at:
        yield options.at
        return
    with tempfile.TemporaryDirectory() as directory, PostgresServer() as server:
        urls = {"sqlite": f"sqlite:///{directory}/vault.db", "postgresql": server.url(server.create_database())}
        yield [urls[name] for name in options.storage or urls]


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--storage", choices=["sqlite", "postgresql"], action="append")
    parser.add_argument("--at", action="append", help="the URL of a database to use, and to keep")
    parser.add_argument("--parts", action="store_true", help="also print what each question to the storage took")
    options = parser.parse_args()
    print(f"{options.entries:,} entries, as many access rows, {options.entries // ROWS_FOR_A_PURGE:,} purge rows")
    print(f"target {TARGET_MS} ms; asked for: at most {ASKED_FOR_MS} ms")
    print(f"{'storage':<12} {'median ms':>10} {'worst ms':>10} {'peak + KiB':>11}")
    with places(options) as urls:
        for url in urls:
            asyncio.run(measure(url, options))


if __name__ == "__main__":
    main()
