"""The storage on a real Citus. ``VSQLVAULT_TEST_CITUS_URL``: a database of the coordinator that knows the workers.

Each test has databases of its own, of the same name on every server.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.storage import Read, Storage
from vsqlvault.interfaces.writes import Committed, CountRetrieval, EntryAbsent, EntryIs, RevisionIs, StoreEntry, Write
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing import StorageConformance, a_purge_record, a_write, an_access_record, an_entry
from vsqlvault_plugins.storage.postgres.backup import back_up
from vsqlvault_plugins.storage.postgres.batches import commit_batch
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.postgres.sharding import Shards
from vsqlvault_plugins.storage.postgres.spread import SpreadStorage
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage

URL = os.environ.get("VSQLVAULT_TEST_CITUS_URL", "")
SHARDS = 4
pytestmark = pytest.mark.skipif(not URL, reason="VSQLVAULT_TEST_CITUS_URL is not set")


class Cluster:
    """The servers of a cluster."""

    def __init__(self, servers: list[tuple[str, int]]) -> None:
        self._servers = servers
        self.template = f"citus_{secrets.token_hex(4)}"

    @classmethod
    async def known(cls) -> Cluster:
        """Return the cluster of the URL, the coordinator first."""
        connection = await asyncpg.connect(URL)
        servers = await connection.fetch("SELECT nodename, nodeport FROM pg_dist_node ORDER BY groupid")
        await connection.close()
        return cls([tuple(each) for each in servers])

    def url(self, database: str, server: int = 0) -> str:
        host, port = self._servers[server]
        name = urlsplit(URL).netloc.rpartition("@")[0]
        return f"postgresql://{name}@{host}:{port}/{database}"

    async def each(self, database: str, *commands: str) -> None:
        """Run commands on every server."""

        async def run(server: int) -> None:
            connection = await asyncpg.connect(self.url(database, server))
            for command in commands:
                await connection.execute(command)
            await connection.close()

        await asyncio.gather(*(run(server) for server in range(len(self._servers))))

    async def make_template(self) -> None:
        """Migrate a database, and keep everything from connecting to it."""
        await self.each("postgres", f"CREATE DATABASE {self.template}")
        await self.each(self.template, "CREATE EXTENSION citus")
        connection = await asyncpg.connect(self.url(self.template))
        await connection.fetch("SELECT citus_set_coordinator_host($1, $2)", *self._servers[0])
        for server in self._servers[1:]:
            await connection.fetch("SELECT citus_add_node($1, $2)", *server)
        await connection.close()
        await (await self.opened(self.template)).close()
        closed = f"ALTER DATABASE {self.template} ALLOW_CONNECTIONS false"
        ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.template}'"
        await self.each("postgres", closed, ended)

    async def create(self, name: str) -> None:
        await self.each("postgres", f"CREATE DATABASE {name} TEMPLATE {self.template}")

    async def drop(self, name: str) -> None:
        with suppress(asyncpg.PostgresError):
            await self.each("postgres", f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")

    async def opened(self, database: str) -> PostgresStorage:
        storage = await PostgresStorage.open(self.url(database), pool_size=3, shards=SHARDS)
        assert storage.has_citus
        spread = storage.handed_to(SpreadStorage)
        await spread.migrate()
        return spread


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    found = asyncio.run(Cluster.known())
    asyncio.run(found.make_template())
    yield found
    asyncio.run(found.drop(found.template))


class TestCitusConforms(StorageConformance):
    @pytest.fixture(autouse=True)
    def _databases(self, cluster: Cluster, tmp_path: Path) -> Iterator[None]:
        self.cluster, self.made = cluster, set[str]()
        yield
        for name in self.made:
            asyncio.run(cluster.drop(name))

    async def open_storage(self, directory: Path) -> Storage:
        name = f"kit_{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"
        if name not in self.made:
            self.made.add(name)
            await self.cluster.create(name)
        return await self.cluster.opened(name)


@pytest.fixture(scope="module")
def filled(cluster: Cluster) -> Iterator[str]:
    """The name of a database with entries and rows in every shard."""
    name = f"filled_{secrets.token_hex(4)}"

    async def fill() -> None:
        await cluster.create(name)
        storage = await cluster.opened(name)
        for number in range(32):
            entry = an_entry(f"e{number}", b"cipher")
            row = an_access_record(external_id=entry.external_id, stamp=entry.stamp)
            expects = (EntryAbsent(entry.key), RevisionIs(1))
            write = Write((row,), expects, (StoreEntry(entry, b"cipher"),), (a_purge_record(an_entry(f"e{number}")),))
            assert list(await storage.commit([write])) == [Committed()]
        await storage.close()

    asyncio.run(fill())
    yield name
    asyncio.run(cluster.drop(name))


async def fetched(url: str, *commands: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        for command in commands[:-1]:
            await connection.execute(command)
        return list(await connection.fetch(commands[-1]))
    finally:
        await connection.close()


class TestSpread:
    def test_the_tables_of_a_commit_are_on_both_workers(self, cluster: Cluster, filled: str) -> None:
        sql = """SELECT table_name::text, count(DISTINCT nodeport) FROM citus_shards
            WHERE citus_table_type = 'distributed' AND table_name::text !~ '_\\d\\d$' GROUP BY 1"""
        found = {row[0]: row[1] for row in asyncio.run(fetched(cluster.url(filled), sql))}
        assert found == dict.fromkeys(
            (f"vault.{name}" for name in ("entries", "access_log", "purge_log", "entry_deltas")), 2
        )

    def test_a_separate_owner_is_refused(self, cluster: Cluster, filled: str) -> None:
        async def migrate() -> None:
            storage = await PostgresStorage.open(cluster.url(filled), roles=Roles(owner="postgres"), shards=SHARDS)
            try:
                await storage.migrate()
            finally:
                await storage.close()

        with pytest.raises(SettingsInvalid, match=r"plugins\.postgresql\.owner_role: expected none"):
            asyncio.run(migrate())

    def test_a_backup_is_refused(self, cluster: Cluster, filled: str, tmp_path: Path) -> None:
        with pytest.raises(SettingsInvalid, match="without Citus"):
            asyncio.run(back_up(cluster.url(filled), tmp_path))

    @pytest.mark.parametrize("table", ["access_log", "purge_log"])
    @pytest.mark.parametrize("change", ["DELETE FROM {0}", "UPDATE {0} SET app = 'x'"])
    def test_no_shard_of_a_log_loses_or_changes_a_row(
        self, cluster: Cluster, filled: str, table: str, change: str
    ) -> None:
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            asyncio.run(fetched(cluster.url(filled), change.format(f"vault.{table}")))
        command = change.format("%s").replace("'", "''")
        sql = f"SELECT success, result FROM run_command_on_shards('vault.{table}', '{command}')"
        found = asyncio.run(fetched(cluster.url(filled), sql))
        assert len(found) == SHARDS
        with_rows = [row for row in found if row[1] not in {"DELETE 0", "UPDATE 0"}]
        assert with_rows
        assert all(not success and "append-only" in result for success, result in with_rows)

    @pytest.mark.parametrize("table", ["access_log", "purge_log"])
    def test_a_log_is_not_truncated(self, cluster: Cluster, filled: str, table: str) -> None:
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            asyncio.run(fetched(cluster.url(filled), f"TRUNCATE vault.{table}"))

    @pytest.mark.parametrize("lock", ["", "FOR UPDATE", "FOR KEY SHARE"])
    def test_an_entry_is_looked_up_on_one_shard(self, cluster: Cluster, filled: str, lock: str) -> None:
        sql = f"EXPLAIN SELECT * FROM vault.entries WHERE purpose = 'card' AND external_id = 'e1' AND shard = 2 {lock}"
        plan = "\n".join(row[0] for row in asyncio.run(fetched(cluster.url(filled), sql)))
        assert "Task Count: 1" in plan
        assert "Index Scan" in plan

    @pytest.mark.parametrize("kind", ["new", "counted", "row only"])
    def test_a_commit_about_one_entry_is_on_one_worker_and_in_two_phases(
        self, cluster: Cluster, filled: str, kind: str
    ) -> None:
        said: list[Any] = []

        async def commit() -> None:
            storage = await cluster.opened(filled)
            (found,) = await storage.read([Read(EntryKey("card", "e1"))])
            assert found.entry
            seen = (EntryIs(found.entry.key, found.entry.stamp), RevisionIs(1))
            write = Write((an_access_record(external_id="e1"),), seen)
            if kind == "counted":
                write = replace(write, changes=(CountRetrieval(found.entry.key),))
            elif kind == "new":
                entry = an_entry(f"new-{secrets.token_hex(4)}", b"cipher")
                row = an_access_record(external_id=entry.external_id)
                write = Write((row,), (EntryAbsent(entry.key), RevisionIs(1)), (StoreEntry(entry, b"cipher"),))
            connection = await asyncpg.connect(cluster.url(filled))
            connection.add_log_listener(lambda _, message: said.append(message))
            await connection.execute("SET plan_cache_mode = force_custom_plan; SET citus.log_remote_commands = on")
            assert list(await commit_batch(connection, [write], Shards(SHARDS))) == [Committed()]
            await connection.close()
            await storage.close()

        asyncio.run(commit())
        issued = [each for each in said if "issuing" in each.message]
        assert any("PREPARE TRANSACTION" in each.message for each in issued)
        assert any("COMMIT PREPARED" in each.message for each in issued)
        assert len({each.detail.partition("connectionId")[0] for each in issued}) == 1

    def test_entries_of_all_shards_are_read_at_once(self, cluster: Cluster, filled: str) -> None:
        async def read() -> list[Any]:
            storage = await cluster.opened(filled)
            keys = [EntryKey("card", f"e{number}") for number in range(33)]
            found = await storage.read([Read(key, with_value=True) for key in keys])
            await storage.close()
            return list(found)

        found = asyncio.run(read())
        assert [each.value for each in found] == [b"cipher"] * 32 + [None]

    def test_a_migration_again_changes_nothing(self, cluster: Cluster, filled: str) -> None:
        async def migrate() -> int:
            await fetched(cluster.url(filled), "UPDATE vault.schema_version SET functions = 'older'", "SELECT 1")
            storage = await cluster.opened(filled)
            assert list(await storage.commit([a_write()])) == [Committed()]
            await storage.close()
            return int((await fetched(cluster.url(filled), "SELECT count(*) FROM vault.entries"))[0][0])

        assert asyncio.run(migrate()) >= 32
