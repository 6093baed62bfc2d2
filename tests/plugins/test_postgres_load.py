"""Many callers, few connections, several processes: nobody starves, nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from vsqlvault.config import load_settings
from vsqlvault.errors import SweepRunning
from vsqlvault.interfaces.storage import LogQuery, Read
from vsqlvault.interfaces.writes import Committed, EntryIs
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Role
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.runtime import open_vault
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_retention_policy, a_write, storing
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage

CALLERS = 256
TURNS = 8
EXPIRED = 3_000
"""More than one batch of a sweep."""
ADMIN = a_call("vault-admin", Role.ADMIN)
Run = Callable[[Coroutine[Any, Any, Any]], Any]


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 120))


@pytest.mark.parametrize("pool_size", [1, 4])
def test_many_callers_share_few_connections_and_each_is_served(run: Run, postgres_url: str, pool_size: int) -> None:
    async def load() -> list[int]:
        storage = await PostgresStorage.open(postgres_url, pool_size=pool_size)
        await storage.migrate()
        queue = CommitQueue(storage, StorageClock(), max_batch=64, max_waiting=4096)
        order: list[int] = []

        async def caller(number: int) -> None:
            for turn in range(TURNS):
                assert await queue.commit(storing(f"e{number}", b"%d" % turn)) == Committed()
                assert (await queue.read(EntryKey("card", f"e{number}"), with_value=True)).value == b"%d" % turn
                order.append(turn)

        await asyncio.gather(*(caller(number) for number in range(CALLERS)))
        await storage.close()
        return order

    order = run(load())
    assert len(order) == CALLERS * TURNS
    last_of_the_first, first_of_the_last = len(order) - 1 - order[::-1].index(0), order.index(TURNS - 1)
    assert last_of_the_first < first_of_the_last, "somebody was served to the end before another one began"


@asynccontextmanager
async def vault(url: str) -> AsyncIterator[Vault]:
    settings = load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": url, "VSQL_VAULT_STORAGE__POOL_SIZE": "3"})
    async with open_vault(settings) as opened:
        yield opened


async def sweep(door: Vault) -> int:
    """Sweep as soon as nobody else does, and return how many were purged."""
    while True:
        try:
            return (await door.purge.sweeper.sweep(ADMIN)).purged
        except SweepRunning:
            await asyncio.sleep(0.01)


def test_two_that_sweep_at_once_purge_each_entry_once_with_a_proof_that_holds(run: Run, postgres_url: str) -> None:
    async def race() -> None:
        async with vault(postgres_url) as first, vault(postgres_url) as second:
            await first.rules.policies.save_retention_policy(ADMIN, a_retention_policy("card", max_retention_days=365))
            (snapshot,) = await first.storage.read([Read()])
            then = snapshot.now - timedelta(days=30)
            stored = {}
            for start in range(0, EXPIRED, 500):
                writes = [
                    storing(
                        f"e{n}", b"cipher-%d" % n, created_at=then, updated_at=then, expires_at=then + timedelta(days=1)
                    )
                    for n in range(start, start + 500)
                ]
                await first.storage.commit(writes)
                stored |= {write.changes[0].entry.entry_id: write.changes[0] for write in writes}
            assert sum(await asyncio.gather(sweep(first), sweep(second), sweep(first), sweep(second))) == EXPIRED
            rows = [row.record for row in await first.storage.purge_log(LogQuery(limit=2 * EXPIRED))]
            assert {row.entry_id for row in rows} == stored.keys()
            assert len(rows) == EXPIRED
            for row in rows:
                assert row.proof_hash == purge_proof(stored[row.entry_id].entry, stored[row.entry_id].value)

    run(race())


def test_a_policy_that_one_changes_binds_the_other_at_once(run: Run, postgres_url: str) -> None:
    async def change() -> None:
        async with vault(postgres_url) as first, vault(postgres_url) as second:
            for days in range(300, 310):
                policy = replace(a_retention_policy("card"), max_retention_days=days)
                await first.rules.policies.save_retention_policy(ADMIN, policy)
                assert (await second.rules.policies.policy_snapshot()).retention["card"].max_retention_days == days
            assert await second.storage.commit([a_write()]) == [Committed()]

    run(change())


def test_a_commit_planned_while_the_vault_was_empty_reads_only_what_it_expects(run: Run, postgres_url: str) -> None:
    async def read_by_commits() -> int:
        storage = await PostgresStorage.open(postgres_url, pool_size=1)
        await storage.migrate()
        await storage.commit([storing("first")])
        writes = [storing(f"e{n}") for n in range(2_000)]
        await storage.commit(writes)
        entries = [write.changes[0].entry for write in writes[:20]]
        for entry in entries:
            assert await storage.commit([a_write(expects=(EntryIs(entry.key, entry.stamp),))]) == [Committed()]
        await storage.close()
        beside = await asyncpg.connect(postgres_url)
        await beside.execute("SELECT pg_stat_clear_snapshot()")
        read = await beside.fetchval(
            "SELECT sum(idx_tup_fetch + seq_tup_read) FROM pg_stat_user_tables WHERE relname LIKE 'entries_%'"
        )
        await beside.close()
        return int(read)

    assert run(read_by_commits()) < 1_000
