"""What is kept of logs and entries for the report is what a count of all rows gives, whatever came in between."""

from __future__ import annotations

import asyncio
import random
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Databases
from vsqlvault.errors import VaultError
from vsqlvault.interfaces.evidence import LAG_BOUNDS_SECONDS, Evidence, EvidenceQuery
from vsqlvault.interfaces.storage import KeyRefQuery
from vsqlvault.interfaces.tree_storage import TreeGrowth
from vsqlvault.interfaces.writes import Change, CountRetrieval, OverwriteEntry, RemoveEntry, StoreEntry, Write
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.purge import PurgeReason
from vsqlvault.testing import T0, a_purge_record, an_access_record, an_entry
from vsqlvault.testing.driving import committed
from vsqlvault_plugins.storage.postgres import tallies as postgres_tallies
from vsqlvault_plugins.storage.postgres.entry_counts import Folding
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage, PostgresTuning
from vsqlvault_plugins.storage.sql import log_counts
from vsqlvault_plugins.storage.sqlite import tallies as sqlite_tallies
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

Tallying = SqliteStorage | PostgresStorage
Run = Callable[[Coroutine[Any, Any, Any]], Any]
SIZE = 8
DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
STEPS = 60
PLACES_OF_BLOCKS = "SELECT log, count(*) FROM {schema}log_blocks GROUP BY log"


class Place:
    """Where a vault's database is, opened as often as a test likes."""

    def __init__(self, url: str) -> None:
        self.url = url

    async def open(self) -> Tallying:
        storage: Tallying
        if self.url.startswith("postgresql"):
            tuning = PostgresTuning(folding=Folding(leave=5, at_once=40))
            storage = await PostgresStorage.open(self.url, pool_size=2, tuning=tuning)
        else:
            storage = await SqliteStorage.open(Path(self.url.removeprefix("sqlite:///")))
        await storage.migrate()
        return storage

    def days(self, number: int) -> str:
        """Return what SQL adds to a time for this number of days."""
        return f"interval '{number} days'" if self.url.startswith("postgresql") else f"{number * 86_400_000_000}"

    async def rows(self, sql: str) -> list[Any]:
        """Run a statement beside the vault, ``{schema}`` before each table; return its rows."""
        if self.url.startswith("postgresql"):
            connection = await asyncpg.connect(self.url)
            try:
                return [tuple(row) for row in await connection.fetch(sql.format(schema="vault."))]
            finally:
                await connection.close()
        beside = sqlite3.connect(self.url.removeprefix("sqlite:///"), isolation_level=None)
        try:
            return beside.execute(sql.format(schema="")).fetchall()
        finally:
            beside.close()


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (log_counts, postgres_tallies, sqlite_tallies):
        monkeypatch.setattr(module, "BLOCK_ROWS", SIZE)


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda work: runner.run(asyncio.wait_for(work, 60))


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    if request.param == "sqlite":
        yield Place(f"sqlite:///{tmp_path / 'vault.db'}")
        return
    postgres: Databases = request.getfixturevalue("postgres")
    name = postgres.create_database()
    yield Place(postgres.url(name))
    postgres.drop_database(name)


async def grow(storage: Tallying, limit: int = 1_000) -> None:
    """Make leaves of rows; tiles do not matter here."""
    pending = await storage.unsequenced(limit)
    assert await storage.grow_tree(TreeGrowth(await storage.tree_size(), [leaf.place for leaf in pending], {}, None))


def random_writes(chance: random.Random, at: datetime, count: int) -> list[Write]:
    """Return writes that can be one batch: no two of their changes are of one entry."""
    return [a_random_write(chance, at, f"-{number}") for number in range(count)]


def a_random_write(chance: random.Random, at: datetime, mark: str = "") -> Write:
    """Return a write with rows in both logs, most of them at ``at``, some long before or after it."""
    when = at + chance.choice([0, 0, 0, -3, 5]) * DAY
    row = an_access_record(
        at=when,
        operation=chance.choice([Operation.RETRIEVE, Operation.STORE, Operation.AUTHENTICATE]),
        outcome=chance.choice(list(Outcome)),
        reason=chance.choice([None, "app-not-allowed"]),
        purpose=chance.choice(["card", "ach", "unknown", None]),
        external_id=chance.choice(["a", None]),
        app=chance.choice(["payments", None]),
        client_address=chance.choice(["192.0.2.7", None]),
        method=chance.choice(["api-key", "system"]),
        count=chance.choice([1, 1, 7]),
        detail=chance.choice([None, "x"]),
        role=chance.choice(["admin", None]),
        identity=chance.choice(["jane", None]),
    )
    lags = [-HOUR, timedelta(), timedelta(microseconds=1), *(timedelta(seconds=bound) for bound in LAG_BOUNDS_SECONDS)]
    lag = chance.choice([*lags, timedelta(microseconds=chance.randrange(10**12))])
    purge = a_purge_record(
        an_entry(purpose=chance.choice(["card", "ach"]), key_ref=chance.choice(["k1", "k2", None])),
        purged_at=when, expired_at=when - lag, reason=chance.choice(list(PurgeReason)),
    )  # fmt: skip
    changes = [a_random_change(chance, at, f"{mark}-{place}") for place in range(chance.choice([0, 1, 1, 3]))]
    return Write((row,), changes=changes, purges=(purge,) if chance.random() < 0.7 else ())


def a_random_change(chance: random.Random, at: datetime, mark: str) -> Change:
    """Return a change of one of some entries, which may not be there; the service would only change what is."""
    key = EntryKey(chance.choice(["card", "ach", "unknown"]), f"e{chance.randrange(4)}{mark}")
    match chance.randrange(8):
        case 0:
            return RemoveEntry(key)
        case 1:
            return OverwriteEntry(key, b"\0", at, "crypto-shred")
        case 2:
            return CountRetrieval(key)
    created = (
        at - chance.choice([0, 1, 30, 89, 90, 91, 364, 365, 366]) * DAY - timedelta(seconds=chance.randrange(90_000))
    )
    span = chance.choice([timedelta(), DAY, 30 * DAY, 90 * DAY, 365 * DAY, 900 * DAY])
    entry = an_entry(
        key.external_id, purpose=key.purpose, created_at=created, expires_at=created + span,
        updated_at=created + timedelta(seconds=chance.choice([0, chance.randrange(10**6)])),
        key_ref=chance.choice(["k1", "k2", "=", "", None]), algorithm_hint=chance.choice(["AES-256-GCM", "", "=", None]),
        access_policy=chance.choice(["owner-only", "nowhere"]), owner_app=chance.choice(["payments", "shop"]),
        purged_at=at if chance.random() < 0.1 else None,
    )  # fmt: skip
    return StoreEntry(entry, b"c")


def a_query(since: datetime, until: datetime, *, from_rows: bool, as_of: datetime = T0) -> EvidenceQuery:
    return EvidenceQuery(
        as_of=as_of, since=since, until=until, retention_limits={"card": as_of - 90 * DAY, "ach": as_of - 365 * DAY}, grace=DAY,
        known_policies=["owner-only"], from_rows=from_rows,
    )  # fmt: skip


def in_order(evidence: Evidence) -> list[Any]:
    """Return what was counted in an order of its own, so that two counts can be compared."""
    shown: list[Any] = [dict(evidence.lags), list(evidence.lag_histogram), list(evidence.retired_keys)]
    return shown + [sorted(group, key=repr) for group in (evidence.purges, evidence.access, evidence.holdings)]


async def assert_exact(storage: Tallying, since: datetime, until: datetime, as_of: datetime = T0) -> None:
    """Compare what is kept with what all rows and all entries come to; the census and the uses of keys, too."""
    kept = await storage.evidence(a_query(since, until, from_rows=False, as_of=as_of))
    query = a_query(since, until, from_rows=True, as_of=as_of)
    counted = await storage.evidence(query)
    assert in_order(kept) == in_order(counted)
    assert kept.entry_statistics == await storage.entry_statistics(as_of, query.retention_limits, query.known_policies)
    uses = [
        (purpose, use)
        for purpose, retention_limit in sorted(query.retention_limits.items())
        for use in await storage.key_refs(
            KeyRefQuery(purpose=purpose, now=as_of, created_before=retention_limit, limit=99)
        )
    ]
    assert kept.key_uses == uses


@pytest.mark.parametrize("seed", range(3))
def test_kept_counts_are_those_of_all_rows(run: Run, place: Place, seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(seed)

    async def nothing(_: Any) -> None:
        """A process that was killed before it could tally."""

    async def live() -> None:
        storage = await place.open()
        at = T0
        await committed(storage, Write((an_access_record(at=at),), changes=(StoreEntry(an_entry(key_ref="k1"), b"c"),)))
        for _ in range(STEPS):
            at += timedelta(minutes=chance.randrange(600))
            await committed(storage, *random_writes(chance, at, chance.randrange(1, 6)))
            match chance.randrange(4):
                case 0:
                    await grow(storage, chance.randrange(1, 9))
                case 1:
                    with monkeypatch.context() as killed:
                        killed.setattr(type(storage), "_tally", nothing)
                        await grow(storage)
                    await storage.close()
                    storage = await place.open()
            if chance.random() < 0.3:
                since = T0 + timedelta(minutes=chance.randrange(20_000))
                as_of = at - timedelta(hours=chance.choice([0, 0, 1, 24, 30, 24 * 60]))
                await assert_exact(storage, since, since + timedelta(minutes=chance.randrange(20_000)), as_of)
        await grow(storage)
        await assert_exact(storage, T0 - 90 * DAY, at + 90 * DAY, at)
        edge = (await storage.evidence(a_query(T0, at, from_rows=True))).access[0]
        await assert_exact(storage, edge.first_at, edge.last_at)
        await storage.close()
        kept = dict(await place.rows(PLACES_OF_BLOCKS))
        assert min(kept["access"], kept["purge"]) > STEPS // SIZE
        ((tallied,),) = await place.rows("SELECT sum(entry_count) FROM {schema}key_tallies")
        assert tallied > 5
        if isinstance(storage, PostgresStorage):
            ((deltas,),) = await place.rows("SELECT count(*) FROM {schema}entry_deltas")
            assert deltas <= 5
        assert await place.rows("SELECT entry_count FROM {schema}holding_tallies WHERE entry_count < 1") == []

    run(live())


def test_whole_blocks_are_not_read_row_by_row(run: Run, place: Place) -> None:
    async def live() -> None:
        storage = await place.open()
        for _ in range(SIZE):
            await committed(storage, Write((an_access_record(at=T0),), purges=(a_purge_record(purged_at=T0),)))
        await grow(storage)
        await place.rows("UPDATE {schema}access_tallies SET row_count = row_count + 1000")
        await place.rows("UPDATE {schema}purge_tallies SET row_count = row_count + 1000")
        kept = await storage.evidence(a_query(T0 - DAY, T0 + DAY, from_rows=False))
        counted = await storage.evidence(a_query(T0 - DAY, T0 + DAY, from_rows=True))
        assert (kept.access[0].rows, kept.purges[0].count) == (SIZE + 1000, SIZE + 1000)
        assert (counted.access[0].rows, counted.purges[0].count) == (SIZE, SIZE)
        await storage.close()

    run(live())


def test_a_block_is_not_tallied_before_all_its_rows_are_leaves(run: Run, place: Place) -> None:
    async def live() -> None:
        storage = await place.open()
        await committed(storage, *(Write((an_access_record(at=T0),)) for _ in range(2 * SIZE)))
        await grow(storage, SIZE - 1)
        assert await place.rows(PLACES_OF_BLOCKS) == []
        await grow(storage, 1)
        assert await place.rows(PLACES_OF_BLOCKS) == [("access", 1)]
        await storage.close()

    run(live())


def test_a_tally_that_fails_is_made_by_the_next_growth_and_the_tree_grows_meanwhile(
    run: Run, place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def live() -> None:
        storage = await place.open()
        await committed(storage, *(Write((an_access_record(at=T0),)) for _ in range(SIZE)))
        for module in (sqlite_tallies, postgres_tallies):
            broken = dict(module.TALLIES) | {"put_block": "INSERT INTO nowhere VALUES (1)"}
            monkeypatch.setattr(module, "TALLIES", broken)
        await grow(storage)
        assert await storage.tree_size() == SIZE
        assert await place.rows(PLACES_OF_BLOCKS) == []
        monkeypatch.undo()
        await committed(storage, Write((an_access_record(at=T0),)))
        for module in (log_counts, sqlite_tallies, postgres_tallies):
            monkeypatch.setattr(module, "BLOCK_ROWS", SIZE)
        await grow(storage)
        assert await place.rows(PLACES_OF_BLOCKS) == [("access", 1)]
        await storage.close()

    run(live())


def test_two_processes_that_tally_at_once_keep_a_block_once(run: Run, place: Place) -> None:
    async def live() -> None:
        first, second = await place.open(), await place.open()
        await committed(first, *(Write((an_access_record(at=T0),)) for _ in range(5 * SIZE)))
        pending = await first.unsequenced(100)
        growth = TreeGrowth(0, [leaf.place for leaf in pending], {}, None)
        assert await first.grow_tree(growth)
        await place.rows("DELETE FROM {schema}access_tallies")
        await place.rows("DELETE FROM {schema}log_blocks")
        await asyncio.gather(first._tally(), second._tally())
        assert await place.rows(PLACES_OF_BLOCKS) == [("access", 5)]
        await assert_exact(first, T0 - DAY, T0 + DAY)
        await first.close()
        await second.close()

    run(live())


def test_a_row_that_is_committed_late_is_in_the_tally_of_its_block(run: Run, postgres_url: str) -> None:
    """PostgreSQL gives rows their positions before they are committed: this one has the first place, and comes in last."""
    late_row = (
        "INSERT INTO vault.access_log (at, request_id, operation, outcome, status, shard)"
        " VALUES ($1, 'late', 'list', 'granted', 200, 0)"
    )

    async def live() -> None:
        storage = await Place(postgres_url).open()
        beside = await asyncpg.connect(postgres_url)
        transaction = beside.transaction()
        await transaction.start()
        await beside.execute("SELECT pg_advisory_xact_lock_shared(1987277164, 1)")
        await beside.execute(late_row, T0)
        await committed(storage, *(Write((an_access_record(at=T0),)) for _ in range(2 * SIZE)))
        growing = asyncio.ensure_future(storage.unsequenced(100))
        await asyncio.sleep(0.05)
        await transaction.commit()
        growth = TreeGrowth(0, [leaf.place for leaf in await growing], {}, None)
        assert await storage.grow_tree(growth)
        assert await Place(postgres_url).rows(PLACES_OF_BLOCKS) == [("access", 2)]
        await assert_exact(storage, T0 - DAY, T0 + DAY)
        found = await storage.evidence(a_query(T0 - DAY, T0 + DAY, from_rows=False))
        assert sum(count.rows for count in found.access) == 2 * SIZE + 1
        await beside.close()
        await storage.close()

    run(live())


def test_entries_of_days_that_are_not_cut_are_not_read_one_by_one(run: Run, place: Place) -> None:
    async def live() -> None:
        storage = await place.open()
        stored = [an_entry(f"e{n}", created_at=T0 - 10 * DAY, expires_at=T0 + 3 * DAY) for n in range(SIZE)]
        for entry in stored:  # a batch would be one delta, and those are folded only once there are some
            await committed(storage, Write((an_access_record(),), changes=(StoreEntry(entry, b"c"),)))
        await grow(storage)
        for table in ("holding_tallies", "key_tallies"):
            await place.rows(f"UPDATE {{schema}}{table} SET entry_count = entry_count + 1000")
        kept = await storage.evidence(a_query(T0 - DAY, T0, from_rows=False))
        counted = await storage.evidence(a_query(T0 - DAY, T0, from_rows=True))
        assert [holding.active for holding in kept.holdings] == [SIZE + 1000]
        assert kept.key_uses is not None
        assert [use.active for _, use in kept.key_uses] == [SIZE + 1000]
        assert [holding.active for holding in counted.holdings] == [SIZE]
        await storage.close()

    run(live())


def test_an_entry_counts_on_the_right_side_of_each_time_to_the_microsecond(run: Run, place: Place) -> None:
    midnight = T0.replace(hour=0, minute=0, second=0, microsecond=0)
    beside = [timedelta(microseconds=-1), timedelta(), timedelta(microseconds=1), 12 * HOUR]

    async def live() -> None:
        storage = await place.open()
        ages = [(days * DAY, near) for days in (0, 60, 89, 90, 91, 335, 365) for near in beside]
        created = [midnight - age + near for age, near in ages]
        stored = [
            an_entry(f"e{n}-{span.days}", created_at=at, updated_at=at, expires_at=at + span)
            for n, at in enumerate(created)
            for span in (90 * DAY, 365 * DAY)
        ]
        await committed(
            storage, *(Write((an_access_record(),), changes=(StoreEntry(entry, b"c"),)) for entry in stored)
        )
        await grow(storage)
        for near in beside:
            await assert_exact(storage, midnight - DAY, midnight + near, midnight + near)
        await storage.close()

    run(live())


def test_a_batch_that_fails_changes_no_tally(run: Run, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def live() -> None:
        storage = await place.open()
        keep, drop = an_entry("keep"), an_entry("drop")
        await committed(storage, *(Write((an_access_record(),), changes=(StoreEntry(e, b"c"),)) for e in (keep, drop)))
        await grow(storage)
        changes = (
            RemoveEntry(keep.key),
            StoreEntry(replace(drop, key_ref="k9"), b"c"),
            StoreEntry(an_entry("new"), b"c"),
        )
        twice = a_purge_record()
        with pytest.raises(VaultError):
            await storage.commit([Write((an_access_record(),), changes=changes, purges=(twice, twice))])
        await assert_exact(storage, T0 - DAY, T0 + DAY)
        found = (await storage.evidence(a_query(T0 - DAY, T0 + DAY, from_rows=False))).key_uses
        assert found is not None
        assert [(use.key_ref, use.active) for _, use in found] == [(keep.key_ref, 2)]
        await storage.close()

    run(live())


def test_concurrent_commits_and_folds_lose_no_count(run: Run, place: Place) -> None:
    chance = random.Random(4)

    async def live() -> None:
        storages = [await place.open() for _ in range(3)]

        async def change(storage: Tallying) -> None:
            for _ in range(15):
                await storage.commit(random_writes(chance, T0, chance.randrange(1, 9)))

        async def fold(storage: Tallying) -> None:
            for _ in range(15):
                await storage._tally()
                await asyncio.sleep(0.01)

        await asyncio.gather(*(change(storage) for storage in storages), *(fold(storage) for storage in storages[:2]))
        for storage in storages:
            await assert_exact(storage, T0 - DAY, T0 + DAY)
            await storage.close()

    run(live())


def test_whatever_changes_entries_beside_the_vault_is_counted(run: Run, place: Place) -> None:
    async def live() -> None:
        storage = await place.open()
        stored = [an_entry(f"e{n}", created_at=T0 - 10 * DAY, expires_at=T0 + 3 * DAY) for n in range(9)]
        await committed(
            storage, *(Write((an_access_record(),), changes=(StoreEntry(entry, b"c"),)) for entry in stored)
        )
        for statement in (
            "UPDATE {schema}entries SET key_ref = 'k7' WHERE external_id < 'e3'",
            "UPDATE {schema}entries SET algorithm_hint = 'AES-128' WHERE external_id < 'e4'",
            "UPDATE {schema}entries SET access_policy = 'nowhere' WHERE external_id < 'e5'",
            "UPDATE {schema}entries SET owner_app = 'shop' WHERE external_id < 'e6'",
            "UPDATE {schema}entries SET purpose = 'ach' WHERE external_id < 'e2'",
            f"UPDATE {{schema}}entries SET expires_at = created_at + {place.days(2)} WHERE external_id < 'e3'",
            f"UPDATE {{schema}}entries SET created_at = created_at - {place.days(90)} WHERE external_id < 'e4'",
            "UPDATE {schema}entries SET purged_at = updated_at WHERE external_id IN ('e2', 'e3')",
            "UPDATE {schema}entries SET purged_at = NULL WHERE external_id = 'e2'",
            "DELETE FROM {schema}entries WHERE external_id IN ('e3', 'e5', 'e0')",
        ):
            await place.rows(statement)
            await assert_exact(storage, T0 - DAY, T0)
        await storage.close()

    run(live())
