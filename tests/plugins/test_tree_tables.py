"""The tables of the transparency log, where the two databases differ: who waits for whom, old rows, and what is refused."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.postgres import Databases
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.interfaces.tree_storage import TreeGrowth
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.transparency import Checkpoint, LogName, TileKey
from vsqlvault.proof.leaf import row_hash
from vsqlvault.testing import T0, a_purge_record, a_write, an_access_record
from vsqlvault.testing.driving import committed
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage, PostgresTuning
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

Run = Callable[[Coroutine[Any, Any, Any]], Any]
CHECKPOINT = Checkpoint("vault.example/audit", 1, b"\x07" * 32, "note\n", T0)
OLD_ROW = (
    "INSERT INTO access_log (at, request_id, operation, outcome, status) VALUES ({now}, 'old', 'list', 'granted', 200)"
)
OLD_ROW_OF_POSTGRES = (
    "INSERT INTO vault.access_log (at, request_id, operation, outcome, status, shard)"
    " VALUES (now(), 'old', 'list', 'granted', 200, 0)"
)


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda work: runner.run(asyncio.wait_for(work, 30))


async def grown(storage: Storage) -> None:
    """Make a leaf of every row, with a tile and a checkpoint."""
    pending = await storage.unsequenced(100)
    growth = TreeGrowth(0, [leaf.place for leaf in pending], {TileKey(0, 0): b"x" * 32}, CHECKPOINT)
    assert await storage.grow_tree(growth)


class TestPostgres:
    @pytest.fixture
    def storage(self, run: Run, postgres_url: str) -> Iterator[PostgresStorage]:
        async def opened() -> PostgresStorage:
            storage = await PostgresStorage.open(postgres_url, tuning=PostgresTuning(settle_seconds=0.2))
            await storage.migrate()
            return storage

        storage = run(opened())
        yield storage
        run(storage.close())

    @pytest.fixture
    def beside(self, run: Run, postgres_url: str, storage: PostgresStorage) -> Iterator[Any]:
        connection = run(asyncpg.connect(postgres_url))
        yield connection
        run(connection.close())

    def test_a_row_that_is_committed_late_has_its_place_before_those_that_were_faster(
        self, run: Run, storage: PostgresStorage, beside: Any
    ) -> None:
        async def race() -> None:
            transaction = beside.transaction()
            await transaction.start()
            await beside.execute("SELECT pg_advisory_xact_lock_shared(1987277164, 1)")
            await beside.execute(OLD_ROW_OF_POSTGRES)
            await committed(storage, Write((an_access_record(request_id="fast"),)))
            assert list(await storage.unsequenced(9)) == []
            await committed(storage, Write((an_access_record(request_id="not held up"),)))
            waiting = asyncio.ensure_future(storage.unsequenced(9))
            await asyncio.sleep(0.05)
            await transaction.commit()
            places = [leaf.place.position for leaf in await waiting]
            rows = await storage.access_log(LogQuery(limit=9, oldest_first=True))
            assert places == [row.position for row in rows]
            assert [row.record.request_id for row in rows] == ["old", "fast", "not held up"]

        run(race())

    def test_the_tree_grows_during_a_scrub(self, run: Run, storage: PostgresStorage, beside: Any) -> None:
        async def scene() -> None:
            assert await beside.fetchval(QUERIES["try_lock_scrub"])
            await committed(storage, a_write())
            await grown(storage)
            assert await storage.tree_size() == 1

        run(scene())

    def test_a_transaction_of_somebody_else_is_not_waited_for(
        self, run: Run, storage: PostgresStorage, beside: Any
    ) -> None:
        async def scene() -> None:
            transaction = beside.transaction()
            await transaction.start()
            await beside.execute("CREATE TABLE public.others (number int); SELECT pg_current_xact_id()")
            await committed(storage, a_write())
            assert len(await storage.unsequenced(9)) == 1
            await transaction.rollback()

        run(scene())

    def test_a_row_from_before_becomes_a_leaf_as_it_stands(
        self, run: Run, storage: PostgresStorage, beside: Any
    ) -> None:
        async def scene() -> None:
            await beside.execute(OLD_ROW_OF_POSTGRES)
            await committed(storage, a_write())
            rows = await storage.access_log(LogQuery(limit=9, oldest_first=True))
            pending = await storage.unsequenced(9)
            assert [leaf.leaf_hash for leaf in pending] == [row_hash(row.record) for row in rows]
            await grown(storage)
            assert [row.leaf_hash is None for row in await storage.leaf_rows(0, 9)] == [True, False]

        run(scene())

    def test_leaves_and_checkpoints_only_grow(self, run: Run, storage: PostgresStorage, beside: Any) -> None:
        run(committed(storage, a_write(purges=(a_purge_record(),))))
        run(grown(storage))
        for table in ("leaves", "checkpoints"):
            for statement in (f"DELETE FROM vault.{table}", f"TRUNCATE vault.{table}"):
                with pytest.raises(asyncpg.RaiseError, match="append-only"):
                    run(beside.execute(statement))
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            run(beside.execute("UPDATE vault.leaves SET position = position + 1"))
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            run(beside.execute("UPDATE vault.checkpoints SET note = 'x'"))

    def test_the_runtime_role_sequences_and_cannot_touch_what_was_sequenced(
        self, run: Run, postgres: Databases, postgres_url: str
    ) -> None:
        parts = urlsplit(postgres_url)
        postgres.sql("CREATE ROLE tree_server LOGIN PASSWORD 'server'")
        try:
            owner = run(PostgresStorage.open(postgres_url, roles=Roles(runtime="tree_server")))
            run(owner.migrate())
            run(owner.close())
            url = parts._replace(netloc=f"tree_server:server@{parts.hostname}:{parts.port}").geturl()
            storage = run(PostgresStorage.open(url))
            run(committed(storage, a_write(purges=(a_purge_record(),))))
            run(grown(storage))
            assert run(storage.tree_size()) == 2
            assert run(storage.newest_checkpoint()) == CHECKPOINT
            run(storage.close())
            connection = run(asyncpg.connect(url))
            for statement in (
                "DELETE FROM vault.leaves",
                "UPDATE vault.checkpoints SET note = 'x'",
                "DELETE FROM vault.tiles",
                "ALTER TABLE vault.leaves DISABLE TRIGGER ALL",
            ):
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    run(connection.execute(statement))
            run(connection.close())
        finally:
            postgres.drop_database(parts.path[1:])
            postgres.sql("DROP ROLE tree_server")


class TestSqlite:
    @pytest.fixture
    def storage(self, run: Run, tmp_path: Path) -> Iterator[SqliteStorage]:
        async def opened() -> SqliteStorage:
            storage = await SqliteStorage.open(tmp_path / "vault.db")
            await storage.migrate()
            return storage

        storage = run(opened())
        yield storage
        run(storage.close())

    @pytest.fixture
    def beside(self, tmp_path: Path, storage: SqliteStorage) -> Iterator[sqlite3.Connection]:
        connection = sqlite3.connect(tmp_path / "vault.db", isolation_level=None)
        yield connection
        connection.close()

    def test_a_row_from_before_becomes_a_leaf_as_it_stands(
        self, run: Run, storage: SqliteStorage, beside: sqlite3.Connection
    ) -> None:
        beside.execute(OLD_ROW.format(now="1799999999123456"))
        run(committed(storage, a_write()))
        rows = run(storage.access_log(LogQuery(limit=9, oldest_first=True)))
        pending = run(storage.unsequenced(9))
        assert [leaf.leaf_hash for leaf in pending] == [row_hash(row.record) for row in rows]
        assert {leaf.place.log for leaf in pending} == {LogName.ACCESS}

    @pytest.mark.parametrize(
        "statement",
        [
            "DELETE FROM leaves",
            "UPDATE leaves SET position = position + 1",
            "INSERT OR REPLACE INTO leaves SELECT leaf_index, log, 99 FROM leaves",
            "INSERT OR REPLACE INTO leaves SELECT 99, log, position FROM leaves WHERE log = 'purge'",
            "DELETE FROM checkpoints",
            "UPDATE checkpoints SET note = 'x'",
            "INSERT OR REPLACE INTO checkpoints SELECT size, 'x', root_hash, note, signed_at FROM checkpoints",
        ],
    )
    def test_leaves_and_checkpoints_only_grow(
        self, run: Run, storage: SqliteStorage, beside: sqlite3.Connection, statement: str
    ) -> None:
        run(committed(storage, a_write(purges=(a_purge_record(),))))
        run(grown(storage))
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            beside.execute(statement)
