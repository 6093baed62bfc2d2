"""Shards on PostgreSQL: which keys and statements carry them, where rows are, and the number that a database keeps."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Databases
from tests.upgrades.frozen import FROZEN
from vsqlvault.cli import main
from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.storage import Read
from vsqlvault.interfaces.writes import Committed, EntryAbsent, EntryIs, RemoveEntry, RevisionIs, StoreEntry, Write
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing import a_purge_record, an_access_record, an_entry
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.sharding import Shards
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage

FUNCTIONS = files("vsqlvault_plugins.storage.postgres").joinpath("functions.sql").read_text("utf-8")
COMMITS = ("commit_batch", "commit_as_usual")
COUNTS = ("count_entries_added", "count_entries_removed", "count_entries_changed")
READS = ("read", "read_one", "commit_seen_one", "commit_seen")
SHARDED = {"entries", "access_log", "purge_log", "entry_deltas"}
OLDEST = min((each for each in FROZEN if each.kind == "postgresql"), key=lambda each: each.version)


def body_of(function: str) -> str:
    found = re.search(rf"FUNCTION vault\.{function}\(.*?\$\$(.*?)\$\$", FUNCTIONS, re.DOTALL)
    assert found
    return found[1]


def statements(sql: str) -> list[str]:
    return [each.strip() for each in sql.split(";") if "vault." in each]


@pytest.fixture(scope="module")
def four(postgres: Databases) -> Iterator[str]:
    """The URL of a database of four shards."""
    name = postgres.create_database()
    asyncio.run(migrated(postgres.url(name), 4))
    yield postgres.url(name)
    postgres.drop_database(name)


async def migrated(url: str, shards: int) -> None:
    storage = await PostgresStorage.open(url, pool_size=1, shards=shards)
    try:
        await storage.migrate()
    finally:
        await storage.close()


async def fetched(url: str, sql: str) -> list[Any]:
    connection = await asyncpg.connect(url)
    try:
        return list(await connection.fetch(sql))
    finally:
        await connection.close()


class TestWhatCarriesTheShard:
    def test_the_tables_that_a_commit_writes_are_known(self) -> None:
        text = "".join(body_of(name) for name in (*COMMITS, *COUNTS))
        assert set(re.findall(r"(?:INTO|UPDATE|DELETE FROM) vault\.(\w+)", text)) == SHARDED

    def test_every_one_of_these_tables_has_it(self, four: str) -> None:
        sql = """SELECT c.relname FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
            WHERE c.relnamespace = 'vault'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
              AND a.attname = 'shard' AND a.attnotnull"""
        assert {row[0] for row in asyncio.run(fetched(four, sql))} == SHARDED

    def test_every_unique_key_of_them_has_it(self, four: str) -> None:
        sql = """SELECT c.relname, pg_get_indexdef(i.indexrelid) FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
            WHERE c.relnamespace = 'vault'::regnamespace AND i.indisunique"""
        keys = [row for row in asyncio.run(fetched(four, sql)) if re.sub(r"_\d\d$", "", row[0]) in SHARDED]
        assert {re.sub(r"_\d\d$", "", row[0]) for row in keys} == SHARDED - {"entry_deltas"}
        assert [row[1] for row in keys if not re.search(r"\(.*\bshard\)", row[1])] == []

    @pytest.mark.parametrize("function", COMMITS)
    def test_every_condition_on_an_entry_in_a_commit_has_it(self, function: str) -> None:
        for statement in statements(body_of(function)):
            conditions = re.findall(r"\be\.external_id = (\w+)\.external_id", statement)
            assert [name for name in conditions if f"e.shard = {name}.shard" not in statement] == [], statement
            assert len(conditions) == statement.count("e.shard = "), statement

    @pytest.mark.parametrize("function", [*COMMITS, *COUNTS])
    def test_every_row_that_a_commit_adds_has_it(self, function: str) -> None:
        for statement in statements(body_of(function)):
            for columns in re.findall(r"INSERT INTO vault\.\w+(?: AS e)? \((.*?)\)", statement, re.DOTALL):
                assert re.search(r"\bshard$", columns.strip()), statement
            for key in re.findall(r"ON CONFLICT \((.*?)\)", statement):
                assert "shard" in key, statement
            if "INSERT INTO vault.entry_deltas" in statement:
                assert re.search(r"\), shard\s+FROM", statement), statement

    @pytest.mark.parametrize("name", READS)
    def test_every_read_in_front_of_a_commit_has_it(self, name: str) -> None:
        assert QUERIES[name].count("e.external_id = ") == QUERIES[name].count("e.shard = ") == 1

    def test_a_condition_is_one_index_lookup(self, four: str) -> None:
        sql = "EXPLAIN SELECT FROM vault.entries WHERE purpose = 'card' AND external_id = 'e1' AND shard = 2"
        (scan,) = [row[0] for row in asyncio.run(fetched(four, sql)) if "Cond" in row[0]]
        assert all(f"({column} = " in scan for column in ("purpose", "external_id", "shard"))


class TestWhereRowsAre:
    def test_the_shard_of_a_name_never_changes(self) -> None:
        shards = Shards(4)
        assert [shards.of_entry("card", f"e{number}") for number in range(8)] == [0, 2, 0, 2, 1, 3, 1, 3]
        assert shards.of_access(an_access_record(request_id="r1", purpose="card", external_id=None)) == 1

    def test_names_that_read_alike_together_are_apart(self) -> None:
        assert Shards(64).of_entry("card", "1") != Shards(64).of_entry("car", "d1")

    def test_one_shard_is_the_first(self) -> None:
        assert Shards(1).of_entry("card", "e1") == Shards(1).of_access(an_access_record()) == 0

    def test_a_batch_over_all_shards_puts_each_row_in_its_own(self, four: str) -> None:
        names = [f"spread-{number}" for number in range(40)]
        lists = [an_access_record(request_id=f"list-{number}", external_id=None) for number in range(40)]

        async def commit() -> None:
            storage = await PostgresStorage.open(four, pool_size=1, shards=4)
            first = [creating(name) for name in names]
            assert list(await storage.commit([*first, *(Write((each,)) for each in lists)])) == [Committed()] * 80
            found = await storage.read([Read(EntryKey("card", name), with_value=True) for name in names])
            assert [each.value for each in found] == [name.encode() for name in names]
            assert all(each.entry for each in found)
            gone = [removing(each.entry) for each in found if each.entry]
            assert list(await storage.commit(gone)) == [Committed()] * 40
            await storage.close()

        asyncio.run(commit())
        shards = Shards(4)
        rows = asyncio.run(fetched(four, "SELECT purpose, external_id, request_id, shard FROM vault.access_log"))
        assert {row["shard"] for row in rows} == set(range(4))
        of_entries = [row for row in rows if row["external_id"] in names]
        assert len(of_entries) == 80
        assert all(row["shard"] == shards.of_entry("card", row["external_id"]) for row in of_entries)
        of_lists = {row["request_id"]: row["shard"] for row in rows if row["external_id"] is None}
        assert of_lists == {each.request_id: shards.of_access(each) for each in lists}
        purged = asyncio.run(fetched(four, "SELECT external_id, shard FROM vault.purge_log"))
        assert {tuple(row) for row in purged} == {(name, shards.of_entry("card", name)) for name in names}
        deltas = asyncio.run(
            fetched(four, "SELECT shard, sum(entry_count) FROM vault.entry_deltas GROUP BY 1 ORDER BY 1")
        )
        assert [tuple(row) for row in deltas] == [(shard, 0) for shard in range(4)]

    def test_an_entry_is_created_once_in_its_shard(self, four: str) -> None:
        async def commit() -> list[Any]:
            storage = await PostgresStorage.open(four, pool_size=1, shards=4)
            outcomes = [*await storage.commit([creating("once")]), *await storage.commit([creating("once")])]
            await storage.close()
            return outcomes

        first, second = asyncio.run(commit())
        assert first == Committed()
        assert second.broken == EntryAbsent(EntryKey("card", "once"))


def creating(name: str) -> Write:
    entry = an_entry(name, name.encode())
    record = an_access_record(external_id=name, stamp=entry.stamp)
    return Write((record,), (EntryAbsent(entry.key), RevisionIs(1)), (StoreEntry(entry, name.encode()),))


def removing(entry: Any) -> Write:
    name = entry.external_id
    purged = a_purge_record(entry)
    expects = (EntryIs(entry.key, entry.stamp), RevisionIs(1))
    return Write((an_access_record(external_id=name),), expects, (RemoveEntry(entry.key),), (purged,))


class TestTheNumberOfShards:
    def test_a_new_database_keeps_the_number_of_its_creation(self, four: str) -> None:
        assert [tuple(row) for row in asyncio.run(fetched(four, "SELECT shards FROM vault.sharding"))] == [(4,)]
        asyncio.run(migrated(four, 4))

    @pytest.mark.parametrize("step", ["migrate", "schema_status"])
    def test_another_number_is_refused(self, four: str, step: str) -> None:
        async def ask() -> None:
            storage = await PostgresStorage.open(four, pool_size=1, shards=8)
            try:
                await getattr(storage, step)()
            finally:
                await storage.close()

        with pytest.raises(SettingsInvalid, match=r"^storage.shards: expected 4, as .* created with, found 8; "):
            asyncio.run(ask())

    def test_a_command_says_so_and_exits_with_2(
        self, four: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Any
    ) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("VSQL_VAULT_STORAGE__DATABASE_URL", four)
        assert main(["migrate"]) == 2
        assert "storage.shards: expected 4, as the database was created with, found 1" in capsys.readouterr().err
        monkeypatch.setenv("VSQL_VAULT_STORAGE__SHARDS", "4")
        assert main(["migrate"]) == 0
        monkeypatch.setenv("VSQL_VAULT_STORAGE__SHARDS", "65")
        assert main(["migrate"]) == 2
        assert "storage.shards" in capsys.readouterr().err

    def test_a_database_from_before_has_one_shard(self, postgres: Databases) -> None:
        name = postgres.create_database()
        url = postgres.url(name)
        asyncio.run(OLDEST.load_postgres(url))
        with pytest.raises(SettingsInvalid, match="expected 1"):
            asyncio.run(migrated(url, 2))
        asyncio.run(migrated(url, 1))
        tables = ("entries", "access_log", "purge_log")
        sql = " UNION ".join(f"SELECT shard FROM vault.{table}" for table in tables)
        assert [row[0] for row in asyncio.run(fetched(url, sql))] == [0]
        postgres.drop_database(name)
