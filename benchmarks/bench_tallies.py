"""What it costs those who store and purge that entries are tallied for the report, on both storages.

    python -m benchmarks.bench_tallies [--entries 100000] [--rounds 7] [--storage sqlite]

Two vaults of this number of entries take turns: one unchanged, and one whose database lacks what only the tallies need: the
triggers, and the columns by which the index of policies finds when a key was used. New entries are stored, stored again and
purged, by 64 callers and by one, then removed through the storage in commits of 250, as a sweep does. The sequencer runs
meanwhile, which folds what commits left. Medians of rounds by turns, in microseconds an entry; the ratio is of the two medians.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sqlite3
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks.bench_log import a_call, a_wish, vault_at
from benchmarks.report_data import PURPOSES, entries
from tests.support.postgres import PostgresServer
from vsqlvault.interfaces.writes import RemoveEntry, StoreEntry, Write
from vsqlvault.model.entry import EntryKey
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.service.tasks import running
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_retention_policy, an_access_record, an_entry

FILL = 1_000
SWEPT = 250
OPERATIONS = {64: 1_920, 1: 200}
"""How many entries a phase takes, by how many callers."""
SQLITE_WITHOUT = """
DROP TRIGGER entries_added; DROP TRIGGER entries_removed; DROP TRIGGER entries_changed;
DROP INDEX entries_by_access_policy;
CREATE INDEX entries_by_access_policy ON entries (access_policy) WHERE purged_at IS NULL;
"""
POSTGRESQL_WITHOUT = """
DROP TRIGGER entries_added ON vault.entries; DROP TRIGGER entries_removed ON vault.entries;
DROP TRIGGER entries_changed ON vault.entries;
DROP INDEX vault.entries_by_access_policy;
CREATE INDEX entries_by_access_policy ON vault.entries (access_policy) WHERE purged_at IS NULL;
"""
Costs = dict[str, dict[bool, list[float]]]


async def fill(vault: Vault, url: str, number: int, *, tallied: bool) -> None:
    """Store entries, and remove what ``tallied`` selects."""
    for purpose in PURPOSES:
        await vault.rules.policies.save_retention_policy(a_call(), a_retention_policy(purpose))
    every = entries(number, (await vault.queue.read()).now)
    while part := list(islice(every, FILL)):
        await vault.storage.commit([Write((), changes=(StoreEntry(entry, b"c" * 400),)) for entry in part])
    if url.startswith("sqlite"):
        beside = sqlite3.connect(url.removeprefix("sqlite:///"))
        beside.executescript("" if tallied else SQLITE_WITHOUT)
        beside.close()
        return
    connection = await asyncpg.connect(url)
    if not tallied:
        await connection.execute(POSTGRESQL_WITHOUT)
    await connection.execute("VACUUM (ANALYZE)")
    await connection.close()


async def drive(work: Callable[[EntryKey], Awaitable[Any]], keys: Sequence[EntryKey], callers: int) -> float:
    """Return the microseconds that each key took."""
    waiting = iter(keys)

    async def caller() -> None:
        for key in waiting:
            await work(key)

    started = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    return (time.perf_counter() - started) / len(keys) * 1e6


async def turn(vault: Vault, numbers: Iterator[int]) -> dict[str, float]:
    """Store, store again, purge and remove new entries."""
    spent = {}
    for callers, operations in OPERATIONS.items():
        keys = [EntryKey("card", f"new-{number}") for number in islice(numbers, operations)]
        kinds: dict[str, Callable[[EntryKey], Awaitable[Any]]] = {
            "PUT": lambda key: vault.entries.store(a_call(), key, a_wish()),
            "PUT again": lambda key: vault.entries.store(a_call(), key, a_wish()),
            "DELETE": lambda key: vault.entries.purge(a_call(), key, Preconditions()),
        }
        for kind, work in kinds.items():
            spent[f"{kind}, {callers} at once"] = await drive(work, keys, callers)
    swept = [an_entry(f"swept-{number}") for number in islice(numbers, 20 * SWEPT)]
    await vault.storage.commit([Write((), changes=(StoreEntry(entry, os.urandom(1024)),)) for entry in swept])
    started = time.perf_counter()
    for first in range(0, len(swept), SWEPT):
        part = swept[first : first + SWEPT]
        await vault.storage.commit([Write((an_access_record(),), (), (RemoveEntry(entry.key),)) for entry in part])
    spent[f"removed in commits of {SWEPT}"] = (time.perf_counter() - started) / len(swept) * 1e6
    return spent


async def measure(urls: Sequence[str], options: argparse.Namespace) -> Costs:
    """Return what each kind cost, with tallies and without, in each round."""
    costs: Costs = defaultdict(lambda: defaultdict(list))
    async with AsyncExitStack() as stack:
        vaults = {tallied: await stack.enter_async_context(vault_at(url)) for tallied, url in enumerate(urls)}
        for tallied, vault in vaults.items():
            await fill(vault, urls[tallied], options.entries, tallied=bool(tallied))
        numbers = count()
        for number in range(options.rounds + 1):
            for tallied in (0, 1) if number % 2 else (1, 0):
                vaults[tallied].sequencer._stopping.clear()
                async with running(vaults[tallied].log.sequencer.task):
                    spent = await turn(vaults[tallied], numbers)
                for kind, micros in spent.items():
                    if number:  # the first round warms up
                        costs[kind][bool(tallied)].append(micros)
    return costs


@contextmanager
def places(storage: str) -> Iterator[Sequence[str]]:
    """Give the URLs of two empty databases."""
    if storage == "sqlite":
        with tempfile.TemporaryDirectory() as directory:
            yield [f"sqlite:///{Path(directory, name)}" for name in ("without.db", "with.db")]
        return
    with PostgresServer() as server:
        yield [server.url(server.create_database()) for _ in range(2)]


def main() -> None:
    """Print a table for each storage."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--storage", choices=["sqlite", "postgresql"], action="append")
    options = parser.parse_args()
    for storage in options.storage or ["sqlite", "postgresql"]:
        with places(storage) as urls:
            costs = asyncio.run(measure(urls, options))
        print(f"{storage:<28} {'without':>9} {'with':>9} {'ratio':>7}")
        for kind, by_way in costs.items():
            without, tallied = (statistics.median(by_way[way]) for way in (False, True))
            print(f"{kind:<28} {without:>9.0f} {tallied:>9.0f} {tallied / without:>7.1%}")


if __name__ == "__main__":
    main()
