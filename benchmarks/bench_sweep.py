"""A sweep of many expired entries beside clients that read: its rate, its memory, and what the readers feel of it.

    python -m benchmarks.bench_sweep [--entries 100000] [--beside 10000] [--readers 16] [--pause-ms 5] [--storage sqlite]

A program of its own. The vault is whole: policies, proofs, both logs, durability on. Reads go on without the sweep, then
with it (``--beside``: number of entries), then without it again, then beside the scrub that follows a sweep, in one run and one
process; a reader waits ``--pause-ms`` between two reads (0: not at all, so that the readers alone use all the machine gives).
Then ``--entries`` are swept while nobody reads, and as many again while the transparency log grows. Compare the ratios, not
the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import secrets
import statistics
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from pathlib import Path

import psutil

from tests.support.postgres import PostgresServer
from vsqlvault.config import load_settings
from vsqlvault.http.serving import COLLECT_AFTER
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.model.times import utc_now
from vsqlvault.runtime import open_vault
from vsqlvault.service.purge.throttle import ALONE_SECONDS
from vsqlvault.service.tasks import running
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_retention_policy, storing

LIVE = 5_000
VALUE_BYTES = 1024
FILL = 500
OWNER = Principal("payments", "api-key", "benchmark", purposes=None, roles=frozenset({Role.ADMIN}))
MEGABYTE = 1024 * 1024


def a_call() -> Call:
    return Call(OWNER, secrets.token_hex(16), "127.0.0.1")


async def fill(storage: Storage, expired: int, at_once: bool = False) -> None:
    """Store what has ended, one after the other over ninety days, or ``at_once`` and in no order; and what lives on."""
    now = utc_now()
    step = timedelta(days=90) / expired
    lives = [(f"live-{number}", now - timedelta(days=1), now + timedelta(days=30)) for number in range(LIVE)]
    begun = now - timedelta(days=100)
    ends = [
        (begun, begun + timedelta(days=9)) if at_once else (begun + step * n, begun + step * (n + 10))
        for n in range(expired)
    ]
    names = [(secrets.token_hex(8), *end) for end in ends] + lives
    if at_once:
        random.Random(1).shuffle(names)
    for first in range(0, len(names), FILL):
        await storage.commit(
            [
                storing(name, os.urandom(VALUE_BYTES), created_at=created_at, expires_at=expires_at)
                for name, created_at, expires_at in names[first : first + FILL]
            ]
        )


class Readers:
    """Clients that read what lives, without end."""

    def __init__(self, vault: Vault, count: int, pause_seconds: float) -> None:
        self._vault = vault
        self._count = count
        self._pause_seconds = pause_seconds
        self._tasks: list[asyncio.Task[None]] = []
        self.seconds: list[float] = []

    def start(self) -> None:
        """Begin."""
        self._tasks = [asyncio.create_task(self._read()) for _ in range(self._count)]

    async def stop(self) -> None:
        """End."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _read(self) -> None:
        while True:
            key = EntryKey("card", f"live-{random.randrange(LIVE)}")
            started = time.perf_counter()
            await self._vault.entries.retrieve(a_call(), key)
            self.seconds.append(time.perf_counter() - started)
            await asyncio.sleep(self._pause_seconds * random.uniform(0.5, 1.5))

    def told(self, seconds: float) -> str:
        """Return rate, p50 and p99 of what was read in the last phase, and begin a new one."""
        took, self.seconds = sorted(self.seconds) or [0.0], []
        self.p99, self.longest = took[int(len(took) * 0.99)] * 1000, took[-1] * 1000
        return (
            f"{len(took) / seconds:8,.0f} GET/s  p50 {statistics.median(took) * 1000:6.2f} ms  p99 {self.p99:6.2f} ms"
        )


async def measured(vault: Vault, readers: Readers, seconds: float) -> tuple[str, float]:
    readers.told(1) if readers.seconds else None
    await asyncio.sleep(seconds)
    return readers.told(seconds), readers.p99


async def run(url: str, options: argparse.Namespace) -> None:
    environment = {"VSQL_VAULT_STORAGE__DATABASE_URL": url}
    environment["VSQL_VAULT_PURGE__SCRUB"] = "off"  # it is measured by itself
    environment |= {f"VSQL_VAULT_PURGE__{name.upper()}": value for name, value in options.set}
    async with open_vault(load_settings(None, environment)) as vault:
        await vault.rules.policies.save_retention_policy(a_call(), a_retention_policy("card"))
        await fill(vault.storage, options.beside)
        print(f"{url.partition(':')[0]}: expired entries of {VALUE_BYTES} bytes")
        readers = Readers(vault, options.readers, options.pause_ms / 1000)
        readers.start()
        await asyncio.sleep(1)
        before, quiet = await measured(vault, readers, options.seconds)
        async with memory() as peak:
            started = time.perf_counter()
            count = await vault.purge.sweeper.sweep(a_call())
            took = time.perf_counter() - started
        beside = readers.told(took)
        busy = readers.p99
        after, quiet_again = await measured(vault, readers, options.seconds)
        started = time.perf_counter()
        scrub = await vault.purge.scrubber.scrub(a_call())
        scrubbed = time.perf_counter() - started
        beside_scrub = readers.told(scrubbed)
        longest = readers.longest
        await readers.stop()
        print(f"  quiet        {before}")
        print(f"  sweep beside {beside}  = {busy / ((quiet + quiet_again) / 2):.1f} times quiet p99")
        print(f"  quiet again  {after}")
        print(f"  scrub beside {beside_scrub}  longest {longest:.0f} ms")
        print(f"  scrub        in {scrubbed:.1f} s, left: {scrub.left if scrub else None}")
        print(f"  sweep        {count.purged:,} purged in {took:.1f} s = {count.purged / took:,.0f}/s, {peak()}")
        await alone(vault, options.entries, "nothing beside it")
        async with running(vault.log.sequencer.task):
            await alone(vault, options.entries, "beside the log's growth")


async def alone(vault: Vault, entries: int, what: str) -> None:
    """Sweep while nobody asks for anything."""
    await fill(vault.storage, entries)
    await asyncio.sleep(ALONE_SECONDS + 1)  # so that nobody was served just before, and filling has left nothing to do
    async with memory() as peak:
        started = time.perf_counter()
        count = await vault.purge.sweeper.sweep(a_call())
        took = time.perf_counter() - started
    print(f"  sweep, {what}: {count.purged:,} purged in {took:.1f} s = {count.purged / took:,.0f}/s, {peak()}")


@asynccontextmanager
async def memory() -> AsyncIterator[object]:
    """Watch this process's resident memory for the length of the block."""
    process = psutil.Process()
    seen = [process.memory_info().rss]

    async def watch() -> None:
        while True:
            await asyncio.sleep(0.1)
            seen.append(process.memory_info().rss)

    task = asyncio.create_task(watch())
    yield lambda: f"memory {seen[0] / MEGABYTE:.0f} MB before, at most {(max(seen) - seen[0]) / MEGABYTE:+.0f} MB"
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task


def setting(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--beside", type=int, default=10_000)
    parser.add_argument("--readers", type=int, default=16)
    parser.add_argument("--pause-ms", type=float, default=5)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--storage", choices=["sqlite", "postgresql"])
    parser.add_argument("--set", type=setting, action="append", default=[], metavar="sweep_batch=250")
    options = parser.parse_args()
    gc.freeze()  # as the server does
    gc.set_threshold(COLLECT_AFTER)
    if options.storage != "postgresql":
        with tempfile.TemporaryDirectory(dir=".") as directory:
            asyncio.run(run(f"sqlite:///{Path(directory) / 'vault.db'}", options))
    if options.storage != "sqlite":
        with PostgresServer() as server:
            asyncio.run(run(server.url(server.create_database()), options))


if __name__ == "__main__":
    main()
