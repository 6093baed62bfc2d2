"""What the compliance report costs on a vault of many entries and long logs, on both storages.

The rows are laid down by the storages themselves, in large batches. Run ``python -m benchmarks.bench_report``, with
``--entries`` for how many entries, access rows and a tenth of that in purge rows; ``--rounds`` for how often it is written.
The memory is the growth of this process's peak over all rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import resource
import statistics
import tempfile
import time
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from tests.support.postgres import PostgresServer
from vsqlvault.interfaces.storage import StoreEntry, Write
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import PurgeReason
from vsqlvault.testing import a_call, a_purge_record, a_retention_policy, an_access_record, an_entry
from vsqlvault.testing.vaults import a_vault

TARGET_MS = 500
ASKED_FOR_MS = 5_000
BATCH = 1_000
VALUE = b"c" * 400
DAY = timedelta(days=1)


def writes(count: int, now: Any) -> Iterator[Write]:
    """Give writes that each store an entry and leave a row, and, each tenth, a row of a purge."""
    chance = random.Random(1)
    for number in range(count):
        created = now - DAY * chance.randrange(400)
        entry = an_entry(
            f"e{number}", VALUE, purpose=chance.choice(["card", "ach"]), created_at=created, updated_at=created,
            expires_at=created + DAY * chance.choice([90, 200, 360, 900]), key_ref=f"akv:kv:k{chance.randrange(40)}",
            algorithm_hint=chance.choice([None, "AES-256-GCM", "AES-256-GCM-SIV"]),
            owner_app=f"app-{chance.randrange(8)}",
        )  # fmt: skip
        denied = chance.random() < 0.05
        row = an_access_record(
            at=now - timedelta(seconds=chance.randrange(89 * 86_400)),
            operation=chance.choice([Operation.RETRIEVE, Operation.STORE, Operation.INSPECT]),
            outcome=Outcome.DENIED if denied else Outcome.GRANTED,
            reason=chance.choice(["app-not-allowed", "purpose-not-held"]) if denied else None,
            app=f"app-{chance.randrange(8)}", client_address="192.0.2.7",
        )  # fmt: skip
        purged = now - timedelta(seconds=chance.randrange(89 * 86_400))
        late = timedelta(seconds=chance.randrange(90_000))
        purge = a_purge_record(purged_at=purged, expired_at=purged - late, reason=PurgeReason.EXPIRED)
        yield Write((row,), changes=(StoreEntry(entry, VALUE),), purges=(purge,) if number % 10 == 0 else ())


async def measure(url: str, directory: Path, count: int, rounds: int) -> tuple[list[float], int]:
    """Return the milliseconds of each round, and by how many KiB the peak grew in all of them."""
    async with a_vault(directory, settings={"storage": {"database_url": url}}) as vault:
        admin = a_call("vault-admin", Role.ADMIN)
        for purpose in ("card", "ach"):
            await vault.policies.save_retention_policy(admin, a_retention_policy(purpose))
        batch: list[Write] = []
        for write in writes(count, (await vault.queue.read()).now):
            batch.append(write)
            if len(batch) == BATCH:
                await vault.storage.commit(batch)
                batch = []
        await vault.storage.commit(batch)
        await vault.report.write(admin)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        spent = []
        for _ in range(rounds):
            begun = time.perf_counter()
            await vault.report.write(admin)
            spent.append((time.perf_counter() - begun) * 1000)
        return spent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--entries", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.entries:,} entries, as many access rows, {options.entries // 10:,} purge rows")
    print(f"target {TARGET_MS} ms; asked for: at most {ASKED_FOR_MS} ms")
    print(f"{'storage':<12} {'median ms':>10} {'worst ms':>10} {'peak + KiB':>11}")
    with tempfile.TemporaryDirectory() as directory:
        show("sqlite", f"sqlite:///{directory}/vault.db", Path(directory), options)
        with PostgresServer() as server:
            show("postgresql", server.url(server.create_database()), Path(directory), options)


def show(name: str, url: str, directory: Path, options: argparse.Namespace) -> None:
    """Measure one storage, and print its row."""
    spent, grown = asyncio.run(measure(url, directory, options.entries, options.rounds))
    print(f"{name:<12} {statistics.median(spent):>10.0f} {max(spent):>10.0f} {grown:>11}", flush=True)


if __name__ == "__main__":
    main()
