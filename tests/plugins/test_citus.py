"""The storage on a real Citus. ``VSQLVAULT_TEST_CITUS_URL``: a database of the coordinator that knows the workers.

Each test has databases of its own, of the same name on every server.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.storage import Read, Storage
from vsqlvault.interfaces.writes import (
    Committed,
    Conflict,
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    RemoveEntry,
    RevisionIs,
    StoreEntry,
    Write,
)
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing import (
    StorageCapabilities,
    StorageConformance,
    a_purge_record,
    a_write,
    an_access_record,
    an_entry,
)
from vsqlvault.testing.driving import driven
from vsqlvault_plugins.storage.postgres.backup import back_up
from vsqlvault_plugins.storage.postgres.batches import QUERIES, commit_batch
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.postgres.sharding import Shards
from vsqlvault_plugins.storage.postgres.spread import SpreadStorage
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage

URL = os.environ.get("VSQLVAULT_TEST_CITUS_URL", "")
SHARDS = 4
TEMPLATE_VARIABLE = "VSQLVAULT_TEST_CITUS_TEMPLATE"
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

    def url(self, database: str, server: int = 0, role: str | None = None) -> str:
        host, port = self._servers[server]
        name = role or urlsplit(URL).netloc.rpartition("@")[0]
        return f"postgresql://{name}@{host}:{port}/{database}"

    def server_at(self, port: int) -> int:
        return next(number for number, server in enumerate(self._servers) if server[1] == port)

    async def each(self, database: str, *commands: str) -> None:
        """Run commands on every server."""

        async def run(server: int) -> None:
            await fetched(self.url(database, server), *commands, "SELECT 1")

        await asyncio.gather(*(run(server) for server in range(len(self._servers))))

    async def make_template(self) -> None:
        """Migrate a database, and keep everything from connecting to it."""
        await self.create_with_citus(self.template)
        await (await self.opened(self.template)).close()
        closed = f"ALTER DATABASE {self.template} ALLOW_CONNECTIONS false"
        ended = f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{self.template}'"
        await self.each("postgres", closed, ended)

    async def create_with_citus(self, name: str) -> None:
        """Create a database that has the extension and knows the workers, and no schema."""
        await self.each("postgres", f"CREATE DATABASE {name}")
        await self.each(name, "CREATE EXTENSION citus")
        connection = await asyncpg.connect(self.url(name))
        await connection.fetch("SELECT citus_set_coordinator_host($1, $2)", *self._servers[0])
        for server in self._servers[1:]:
            await connection.fetch("SELECT citus_add_node($1, $2)", *server)
        await connection.close()

    async def create(self, name: str) -> None:
        await self.each("postgres", f"CREATE DATABASE {name} TEMPLATE {self.template}")

    async def has(self, name: str) -> bool:
        return bool(await fetched(self.url("postgres"), f"SELECT 1 FROM pg_database WHERE datname = '{name}'"))

    def kit_of(self, directory: Path) -> str:
        """Return the name of a test's database. Another process of the suite, with another template, has others."""
        return f"{self.template}_kit_{hashlib.sha256(str(directory).encode()).hexdigest()[:12]}"

    async def drop_kits(self) -> None:
        kits = f"SELECT datname FROM pg_database WHERE datname ~ '^{self.template}_kit_'"
        for row in await fetched(self.url("postgres"), kits):
            await self.drop(row[0])

    async def drop(self, name: str) -> None:
        """Drop a database on every server. It stays on a server where a process of the extension is connected for too long."""

        async def drop(server: int) -> None:
            with suppress(asyncpg.PostgresError):
                await fetched(self.url("postgres", server), f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", "SELECT 1")

        await asyncio.gather(*(drop(server) for server in range(len(self._servers))))

    async def opened(self, database: str, roles: Roles | None = None) -> PostgresStorage:
        storage = await PostgresStorage.open(self.url(database), pool_size=3, shards=SHARDS, roles=roles)
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
    capabilities = StorageCapabilities(scrubs=False, drops_archived_rows=False)

    @pytest.fixture(autouse=True)
    def _databases(self, cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
        monkeypatch.setenv(TEMPLATE_VARIABLE, cluster.template)  # for a process of its own, which is killed
        yield
        asyncio.run(cluster.drop_kits())

    async def open_storage(self, directory: Path) -> Storage:
        cluster = await Cluster.known()
        cluster.template = os.environ[TEMPLATE_VARIABLE]
        name = cluster.kit_of(directory)
        if not await cluster.has(name):
            await cluster.create(name)
        return await cluster.opened(name)

    @driven
    async def test_a_batch_of_reads_never_sees_half_a_write(self, storage: Storage) -> None:
        """Of entries of one shard. Citus has no snapshot of several servers."""
        shards = Shards(SHARDS)
        left = "a"
        right = next(name for name in "bcdefgh" if shards.of_entry("card", name) == shards.of_entry("card", left))

        def pair(number: int) -> Write:
            value = b"%d" % number
            return a_write(*(StoreEntry(an_entry(name, value), value) for name in (left, right)))

        async def write() -> None:
            for number in range(50):
                await storage.commit([pair(number)])

        await storage.commit([pair(0)])
        writing = asyncio.create_task(write())
        while not writing.done():
            found = await storage.read([Read(EntryKey("card", name), with_value=True) for name in (left, right)])
            assert found[0].value == found[1].value
        await writing

    @driven
    async def test_a_storage_without_a_scrub_lists_where_purged_bytes_remain(self, storage: Storage) -> None:
        """An outcome, not None: a scrub that was asked for has not been done."""
        gone = an_entry("gone", b"cipher")
        purge = a_write(RemoveEntry(gone.key), purges=(a_purge_record(gone),))
        assert list(await storage.commit([a_write(StoreEntry(gone, b"cipher")), purge])) == [Committed()] * 2
        outcome = await storage.scrub(1.0)
        assert outcome is not None
        assert outcome.left
        assert storage.describe()["purge_does_not_reach"]


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


@pytest.fixture(scope="module")
def runtime(cluster: Cluster, filled: str) -> Iterator[str]:
    """A role that serves, on every server."""
    role = f"citus_{secrets.token_hex(4)}"

    async def make() -> None:
        connection = await asyncpg.connect(cluster.url(filled))
        await connection.execute(f"CREATE ROLE {role} LOGIN")
        await connection.close()
        await (await cluster.opened(filled, Roles(runtime=role))).close()

    asyncio.run(make())
    yield role
    asyncio.run(fetched(cluster.url(filled), f"DROP OWNED BY {role}", f"DROP ROLE {role}", "SELECT 1"))


@pytest.fixture(scope="module")
def owned(cluster: Cluster) -> Iterator[tuple[str, str]]:
    """A database with rows in it and the role that owns its schema, which is no superuser."""
    name, owner = f"filled_{secrets.token_hex(4)}", f"citus_{secrets.token_hex(4)}"

    async def fill() -> None:
        await cluster.create_with_citus(name)
        grant = f"GRANT CREATE ON DATABASE {name} TO {owner}"
        await fetched(cluster.url(name), f"CREATE ROLE {owner} LOGIN", grant, "SELECT 1")
        storage = await cluster.opened(name, Roles(owner=owner))
        writes = [Write((an_access_record(),), purges=(a_purge_record(an_entry(f"e{n}")),)) for n in range(16)]
        assert list(await storage.commit(writes)) == [Committed()] * 16
        await storage.close()

    asyncio.run(fill())
    yield name, owner
    asyncio.run(cluster.drop(name))
    asyncio.run(fetched(URL, f"DROP ROLE {owner}", "SELECT 1"))


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

    def test_a_backup_is_refused(self, cluster: Cluster, filled: str, tmp_path: Path) -> None:
        with pytest.raises(SettingsInvalid, match="without Citus"):
            asyncio.run(back_up(cluster.url(filled), tmp_path))

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
        assert len(re.findall(r"vault\.(?:check|write)_part", "".join(each.message for each in issued))) == 2
        assert [each.message for each in issued if b"cipher".hex() in each.message] == []

    def test_a_second_creator_has_no_position_before_the_first_has_committed(
        self, cluster: Cluster, filled: str
    ) -> None:
        entry = an_entry(f"raced-{secrets.token_hex(4)}", b"cipher")
        row = an_access_record(external_id=entry.external_id)
        write = Write((row,), (EntryAbsent(entry.key), RevisionIs(1)), (StoreEntry(entry, b"cipher"),))
        newest = "SELECT last_value FROM vault.access_log_position_seq"

        async def race() -> None:
            first, second, beside = [await asyncpg.connect(cluster.url(filled)) for _ in range(3)]
            for connection in (first, second):
                await connection.execute("SET plan_cache_mode = force_custom_plan")
            transaction = first.transaction()
            await transaction.start()
            assert list(await commit_batch(first, [write], Shards(SHARDS))) == [Committed()]
            before = await beside.fetchval(newest)
            waits = f"SELECT 1 FROM pg_locks WHERE NOT granted AND pid = {second.get_server_pid()}"
            later = asyncio.create_task(commit_batch(second, [write], Shards(SHARDS)))
            for _ in range(100):
                if later.done() or await beside.fetchval(waits):
                    break
                await asyncio.sleep(0.05)
            assert await beside.fetchval(newest) == before
            assert not later.done()
            await transaction.commit()
            assert list(await later) == [Conflict(EntryAbsent(entry.key))]
            for connection in (first, second, beside):
                await connection.close()

        asyncio.run(race())

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


LOGS = ("access_log", "purge_log")
CHANGES = ("DELETE FROM {0}", "UPDATE {0} SET app = 'x'", "TRUNCATE {0}")


class TestLogsOnShards:
    """Of each server: the coordinator, and every shard of a log on every worker."""

    @pytest.mark.parametrize("table", LOGS)
    @pytest.mark.parametrize("change", CHANGES)
    def test_the_owner_changes_no_log(self, cluster: Cluster, filled: str, table: str, change: str) -> None:
        for server in range(3):
            with pytest.raises(asyncpg.RaiseError, match="append-only"):
                asyncio.run(fetched(cluster.url(filled, server), change.format(f"vault.{table}")))

    @pytest.mark.parametrize("table", LOGS)
    @pytest.mark.parametrize("change", CHANGES)
    def test_the_owner_changes_no_shard_of_a_log(self, cluster: Cluster, filled: str, table: str, change: str) -> None:
        changed, refused = asyncio.run(self.tried(cluster, filled, table, change))
        assert changed == []
        assert refused
        assert all("append-only" in each for each in refused)

    @pytest.mark.parametrize("table", LOGS)
    @pytest.mark.parametrize("change", CHANGES)
    def test_the_role_that_serves_may_change_no_log_and_no_shard_of_it(
        self, cluster: Cluster, filled: str, runtime: str, table: str, change: str
    ) -> None:
        for server in range(3):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                asyncio.run(fetched(cluster.url(filled, server, runtime), change.format(f"vault.{table}")))
        changed, refused = asyncio.run(self.tried(cluster, filled, table, change, runtime))
        assert changed == []
        assert len(refused) == SHARDS
        assert all("permission denied" in each for each in refused)

    def test_an_owner_without_other_rights_changes_no_log_and_no_shard_of_it(
        self, cluster: Cluster, owned: tuple[str, str]
    ) -> None:
        database, owner = owned
        for table in LOGS:
            for change in CHANGES:
                with pytest.raises(asyncpg.RaiseError, match="append-only"):
                    asyncio.run(fetched(cluster.url(database, role=owner), change.format(f"vault.{table}")))
                changed, refused = asyncio.run(self.tried(cluster, database, table, change, owner))
                assert changed == []
                assert refused
                assert all("append-only" in each for each in refused)

    @staticmethod
    async def tried(
        cluster: Cluster, database: str, table: str, change: str, role: str | None = None
    ) -> tuple[list[str], list[str]]:
        """Try a change of each shard, on its worker. Return the shards with rows that it changed, and the errors."""
        shards = await fetched(
            cluster.url(database),
            f"SELECT shard_name, nodeport FROM citus_shards WHERE table_name = 'vault.{table}'::regclass",
        )
        assert {port for _, port in shards} == {cluster._servers[1][1], cluster._servers[2][1]}
        changed, refused = [], []
        for shard, port in shards:
            connection = await asyncpg.connect(cluster.url(database, cluster.server_at(port), role))
            await connection.execute("SET citus.enable_manual_changes_to_shards = on")
            try:
                done = await connection.execute(change.format(shard))
                if done not in {"DELETE 0", "UPDATE 0"}:  # a shard without rows has none to keep
                    changed.append(f"{shard}: {done}")
            except asyncpg.PostgresError as error:
                refused.append(str(error))
            await connection.close()
        return changed, refused

    def test_the_role_that_serves_commits_and_reads(self, cluster: Cluster, filled: str, runtime: str) -> None:
        async def work() -> None:
            opened = await PostgresStorage.open(cluster.url(filled, role=runtime), pool_size=2, shards=SHARDS)
            storage = opened.handed_to(SpreadStorage)
            entries = [an_entry(f"served-{number}", b"cipher") for number in range(8)]
            writes = [
                Write(
                    (an_access_record(external_id=entry.external_id),),
                    (EntryAbsent(entry.key), RevisionIs(1)),
                    (StoreEntry(entry, b"cipher"),),
                    (a_purge_record(entry),),
                )
                for entry in entries
            ]
            assert list(await storage.commit(writes)) == [Committed()] * 8
            found = await storage.read([Read(entry.key, with_value=True) for entry in entries])
            assert [each.value for each in found] == [b"cipher"] * 8
            assert len(await storage.unsequenced(100)) >= 16
            await storage.close()

        asyncio.run(work())

    def test_a_migration_guards_shards_that_lost_their_trigger(self, cluster: Cluster, filled: str) -> None:
        dropped = "DROP TRIGGER access_log_not_truncated ON %s"
        asyncio.run(fetched(cluster.url(filled), f"SELECT run_command_on_placements('vault.access_log', '{dropped}')"))
        changed, _ = asyncio.run(self.tried(cluster, filled, "access_log", "BEGIN; TRUNCATE {0}; ROLLBACK"))
        assert len(changed) == SHARDS
        asyncio.run(self.migrated(cluster, filled))
        changed, _ = asyncio.run(self.tried(cluster, filled, "access_log", "BEGIN; TRUNCATE {0}; ROLLBACK"))
        assert changed == []

    @staticmethod
    async def migrated(cluster: Cluster, database: str) -> None:
        await (await cluster.opened(database)).close()


FUNCTIONS = files("vsqlvault_plugins.storage.postgres").joinpath("citus.sql").read_text("utf-8")
KEY = "purpose = 'card' AND external_id = 'e1' AND shard = 2"
CALLS = {
    "check_part": """2, true, '{"(1,1,entry-is,card,e1,entry-1,1,2)"}', '{1}'""",
    "write_part": "2, '{}', '{}', '{}', '{}', '{}', '{}', '{}'",
}
ARGUMENTS = {
    "expectations, ordinals": """'{"(1,1,entry-is,card,e1,entry-1,1,2)"}'::vault.expectation[], '{1}'::bigint[]""",
    "removals": """'{"(1,card,e1,2)"}'::vault.entry_key[]""",
    "overwrites": """'{"(1,card,e1,,,,2)"}'::vault.entry_overwrite[]""",
    "counts": """'{"(1,card,e1,2)"}'::vault.entry_key[]""",
    "access_rows": "'{}'::vault.access_row[]",
    "purge_rows": "'{}'::vault.purge_row[]",
}


def inner_statements() -> Iterator[tuple[str, str]]:
    """Give each statement about a spread table of the functions that run on a worker, with values in place of variables."""
    for function in CALLS:
        body = re.search(rf"FUNCTION vault\.{function}\(.*?\$\$(.*?)\$\$", FUNCTIONS, re.DOTALL)
        assert body
        for number, statement in enumerate(re.split(r";|LOOP", body[1])):
            found = re.search(
                r"(SELECT x\.ordinal.*JOIN|DELETE FROM|UPDATE|INSERT INTO) vault\..*", statement, re.DOTALL
            )
            if found is None:
                continue
            text = re.sub(r"\bpart\b", "2", found[0])
            for name, value in ARGUMENTS.items():
                text = text.replace(f"unnest({name})", f"unnest({value})")
            yield f"{function}-{number}", re.sub(r"\w+_positions\[\w\.ordinal\]", "1", text)


INNER = dict(inner_statements())
COPIED = [
    found.replace("unnest(puts)", "unnest('{}'::vault.entry_put[])").replace("broken[p.write] = 0", "true")
    for found in re.findall(r"INSERT INTO vault\.entries .*?;", FUNCTIONS, re.DOTALL)
]
"""The statements of a commit that store entries."""


class TestPlans:
    """EXPLAIN of each statement of a commit and of the read in front of it."""

    @pytest.mark.parametrize("lock", ["", "FOR UPDATE", "FOR KEY SHARE"])
    def test_an_entry_is_looked_up_on_one_shard(self, cluster: Cluster, filled: str, lock: str) -> None:
        plan = self.plan(cluster.url(filled), f"SELECT * FROM vault.entries WHERE {KEY} {lock}")
        assert "Task Count: 1\n" in plan
        assert "Index Scan" in plan

    def test_a_read_of_one_entry_asks_one_shard(self, cluster: Cluster, filled: str) -> None:
        query = QUERIES["spread_read"]
        for number, value in enumerate(
            ("'{card}'::text[]", "'{e1}'::text[]", "'{t}'::boolean[]", "'{2}'::int[]"), start=1
        ):
            query = re.sub(rf"\${number}(::\w+\[\])?", value, query)
        plan = self.plan(cluster.url(filled), query)
        assert plan.count("Task Count: ") == plan.count("Task Count: 1\n") == 2
        places = [cluster.server_at(int(port)) for port in re.findall(r"port=(\d+)", plan)]
        assert places == [cluster.server_at(self.port_of_shard(cluster, filled)), 0]
        assert "Seq Scan on entries" not in plan

    @pytest.mark.parametrize("function", CALLS)
    def test_a_call_of_a_commit_is_pushed_down_to_one_shard(self, cluster: Cluster, filled: str, function: str) -> None:
        plan = self.plan(cluster.url(filled), f"SELECT * FROM vault.{function}({CALLS[function]})")
        assert "Task Count: 1\n" in plan
        assert f"port={self.port_of_shard(cluster, filled)}" in plan
        assert f"Function Scan on {function}" in plan

    @pytest.mark.parametrize("name", INNER)
    def test_a_statement_of_such_a_call_stays_on_its_worker(self, cluster: Cluster, filled: str, name: str) -> None:
        port = self.port_of_shard(cluster, filled)
        plan = self.plan(cluster.url(filled, cluster.server_at(port)), INNER[name])
        if "INSERT INTO" in INNER[name]:  # from its arguments: nothing is read from a shard
            assert "Citus INSERT ... SELECT" in plan
            assert "Task Count" not in plan
        else:
            assert plan.count("Task Count: ") == plan.count("Task Count: 1\n") == 1
            assert re.findall(r"port=(\d+)", plan) == [str(port)]
            assert "Seq Scan" not in plan

    def test_these_are_all_statements_of_a_commit(self) -> None:
        verbs = [each.split()[0] for each in INNER.values()]
        assert Counter(verbs) == {"SELECT": 3, "DELETE": 1, "UPDATE": 2, "INSERT": 2}

    @pytest.mark.parametrize("number", range(2))
    def test_entries_are_copied_to_their_shards(self, cluster: Cluster, filled: str, number: int) -> None:
        assert len(COPIED) == 2
        plan = self.plan(cluster.url(filled), COPIED[number])
        assert "Citus INSERT ... SELECT" in plan
        assert "Task Count" not in plan

    @staticmethod
    def port_of_shard(cluster: Cluster, database: str) -> int:
        sql = """SELECT nodeport FROM citus_shards WHERE table_name = 'vault.access_log'::regclass
            AND shardid = get_shard_id_for_distribution_column('vault.access_log', 2)"""
        return int(asyncio.run(fetched(cluster.url(database), sql))[0][0])

    @staticmethod
    def plan(url: str, statement: str) -> str:
        async def explained() -> str:
            connection = await asyncpg.connect(url)
            async with connection.transaction():
                await connection.execute("SET LOCAL enable_seqscan = off")
                rows = await connection.fetch(f"EXPLAIN {statement}")
            await connection.close()
            return "".join(f"{row[0]}\n" for row in rows)

        return asyncio.run(explained())
