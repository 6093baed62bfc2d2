"""What the storage does in a database with Citus, where one server is enough to show it."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Awaitable, Callable, Iterator
from importlib.resources import files
from typing import Any

import asyncpg
import pytest

from tests.support.postgres import Databases
from vsqlvault.errors import SettingsInvalid, StorageUnavailable
from vsqlvault.interfaces.storage import LogQuery, Read
from vsqlvault.interfaces.writes import StoreEntry
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.transparency import LogName
from vsqlvault.testing import a_purge_record, a_write, an_entry
from vsqlvault_plugins.storage.postgres.failures import is_worth_repeating
from vsqlvault_plugins.storage.postgres.schema import SCHEMA, SPREAD_SCHEMA, guard_shards, statements_of
from vsqlvault_plugins.storage.postgres.spread import SpreadStorage
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage, PostgresTuning

PLAIN = SCHEMA.functions.text
SPREAD = files("vsqlvault_plugins.storage.postgres").joinpath("citus.sql").read_text("utf-8")
PLACEMENTS = """
CREATE TABLE placements (name text, answers boolean, may_be_guarded boolean, guards bigint);
CREATE FUNCTION run_command_on_placements(log text, command text) RETURNS TABLE (success boolean, result text)
LANGUAGE sql AS $$
    UPDATE placements SET guards = 1 WHERE answers AND may_be_guarded AND command LIKE 'CREATE%';
    SELECT answers AND (may_be_guarded OR command NOT LIKE 'CREATE%'),
           CASE WHEN NOT answers THEN 'no connection' WHEN command LIKE 'CREATE%' THEN 'must be owner' ELSE guards::text END
    FROM placements
$$
"""
"""In place of the function of Citus that runs a command on each shard."""
WORKERS = """
CREATE TABLE prepared (gid text);
CREATE TABLE answering (success boolean);
INSERT INTO answering VALUES (true);
CREATE FUNCTION run_command_on_workers(command text) RETURNS TABLE (success boolean, result text) LANGUAGE sql AS $$
    SELECT success, (SELECT coalesce(json_agg(gid), '[]')::text FROM prepared) FROM answering
$$
"""
"""In place of the function of Citus that asks the other servers."""


def body_of(script: str, function: str) -> str:
    body = re.search(rf"FUNCTION vault\.{function}\(.*?\$\$(.*?)\$\$", script, re.DOTALL)
    assert body
    return body[1]


def changes_of(script: str, function: str) -> list[str]:
    """Return the statements of a function that change rows, without what differs where one call is of one shard."""
    found = (" ".join(each.split()) for each in body_of(script, function).split(";"))
    changes = [
        each[each.index(verb[0]) :]
        for each in found
        if (verb := re.search(r"(INSERT INTO|UPDATE vault|DELETE FROM).*", each))
    ]
    return [_LOCAL.sub("", each) for each in changes]


_LOCAL = re.compile(
    r" (?:AND|WHERE) broken\[\w\.write\] = 0| AND e\.shard = part| OVERRIDING SYSTEM VALUE| \w+_positions\[\w\.ordinal\],"
    r"| WITH ORDINALITY(?= AS)|(?<= AS [ap]) \(.*?\)| position,"
)


class TestScripts:
    def test_both_commits_change_the_same_rows(self) -> None:
        plain, of_parts = changes_of(PLAIN, "commit_batch"), changes_of(SPREAD, "write_part")
        *of_all, last = changes_of(SPREAD, "commit_batch")
        assert len(plain) == 7
        assert [*of_parts[:3], *of_all, *of_parts[3:]] == plain
        assert last == "DELETE FROM vault.two_phase WHERE only_row = 0"

    def test_no_call_of_a_part_has_a_value_of_an_entry(self) -> None:
        """Such a call is a text with literals, which a server logs after an error."""
        for function in ("check_part", "write_part"):
            declared = re.search(rf"FUNCTION vault\.{function}\((.*?)\n\)", SPREAD, re.DOTALL)
            assert declared
            assert "entry_put" not in declared[1]
        assert [each for each in re.findall(r"EXECUTE format\(.*?\);", SPREAD, re.DOTALL) if "puts" in each] == []

    def test_a_new_entry_is_locked_before_it_is_looked_up_and_has_a_position(self) -> None:
        body = body_of(SPREAD, "commit_batch")
        order = ["pg_advisory_xact_lock(k.number)", "vault.check_part(", "nextval('vault.access_log_position_seq')"]
        assert sorted(order, key=body.index) == order

    @pytest.mark.parametrize("row", ["access_row", "purge_row"])
    def test_the_columns_of_a_row_are_those_of_its_type(self, row: str) -> None:
        declared = re.search(rf"CREATE TYPE vault\.{row} AS \((.*?)\);", SCHEMA.create.text, re.DOTALL)
        used = re.search(rf"unnest\({row}s\) WITH ORDINALITY AS \w \((.*?)\)", body_of(SPREAD, "write_part"), re.DOTALL)
        assert declared
        assert used
        names = [each.split()[0] for each in declared[1].split(",")]
        assert [each.strip() for each in used[1].split(",")] == [*names, "ordinal"]

    def test_each_subquery_of_a_spread_commit_has_a_column(self) -> None:
        assert re.findall(r"\(\s*SELECT\s+FROM", SPREAD) == []

    def test_each_lock_of_an_entry_names_one_shard(self) -> None:
        locks = re.findall(r"WHERE (e\.shard = part AND[^;]*?)FOR (?:UPDATE|KEY SHARE) OF e", SPREAD)
        assert len(locks) == len(re.findall(r"FOR (?:UPDATE|KEY SHARE) OF e", SPREAD)) == 2

    def test_each_statement_about_entries_names_one_shard(self) -> None:
        for function in ("check_part", "write_part"):
            found = [each for each in body_of(SPREAD, function).split(";") if "vault.entries AS e" in each]
            assert found
            assert [each for each in found if "e.shard = part" not in each and "INSERT INTO" not in each] == []

    def test_a_script_is_run_statement_by_statement(self) -> None:
        found = statements_of("CREATE TABLE a (b int);\nDO $$\nBEGIN\n    PERFORM 1;\nEND\n$$;\nSELECT 1;\n")
        assert [each.strip() for each in found] == [
            "CREATE TABLE a (b int);", "DO $$\nBEGIN\n    PERFORM 1;\nEND\n$$;", "SELECT 1;"
        ]  # fmt: skip
        for script in (SCHEMA.create.text, PLAIN, SPREAD):
            assert "".join(statements_of(script)).strip() == script.strip()

    def test_a_database_that_gets_the_extension_is_spread_by_the_next_migration(self) -> None:
        assert [script.name for script in SPREAD_SCHEMA.pending(SCHEMA.current)] == ["functions.sql, citus.sql"]


@pytest.fixture(scope="module")
def url(postgres: Databases) -> Iterator[str]:
    """The URL of a database that has what the storage asks of Citus."""
    name = postgres.create_database()

    async def make() -> None:
        storage = await PostgresStorage.open(postgres.url(name), pool_size=1)
        await storage.migrate()
        await storage.close()
        connection = await asyncpg.connect(postgres.url(name))
        await connection.execute(WORKERS)
        await connection.execute(PLACEMENTS)
        await connection.close()

    asyncio.run(make())
    yield postgres.url(name)
    postgres.drop_database(name)


def driven(url: str, work: Callable[[SpreadStorage, asyncpg.Connection[Any]], Awaitable[None]]) -> None:
    """Run work on a storage, and on a connection beside it."""

    async def run() -> None:
        opened = await PostgresStorage.open(url, pool_size=2, tuning=PostgresTuning(settle_seconds=0.1))
        storage, beside = opened.handed_to(SpreadStorage), await asyncpg.connect(url)
        try:
            await work(storage, beside)  # type: ignore[arg-type]
        finally:
            await beside.execute("DELETE FROM prepared; UPDATE answering SET success = true")
            await beside.close()
            await storage.close()

    asyncio.run(run())


class TestPreparedTransactions:
    def test_rows_wait_for_one_that_a_server_has_not_finished(self, url: str) -> None:
        async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
            await storage.commit([a_write()])
            await beside.execute("INSERT INTO prepared VALUES ('citus_0_1')")
            assert list(await storage.unsequenced(100)) == []
            await beside.execute("DELETE FROM prepared")
            assert len(await storage.unsequenced(100)) > 0

        driven(url, work)

    def test_one_that_begins_later_is_not_waited_for(self, url: str) -> None:
        async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
            await storage.commit([a_write()])
            await beside.execute("INSERT INTO prepared VALUES ('citus_0_1')")
            reading = asyncio.create_task(storage.unsequenced(100))
            await asyncio.sleep(0.02)
            await beside.execute("UPDATE prepared SET gid = 'citus_0_2'")
            assert len(await reading) > 0

        driven(url, work)

    def test_a_cursor_does_not_pass_one(self, url: str) -> None:
        async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
            await storage.commit([a_write()])
            await beside.execute("INSERT INTO prepared VALUES ('citus_0_1')")
            with pytest.raises(StorageUnavailable, match="has not finished a commit"):
                await storage.access_log(LogQuery(limit=10, oldest_first=True))
            await beside.execute("DELETE FROM prepared")
            assert len(await storage.access_log(LogQuery(limit=10, oldest_first=True))) > 0

        driven(url, work)

    def test_a_server_that_does_not_answer_may_have_one(self, url: str) -> None:
        async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
            await beside.execute("UPDATE answering SET success = false")
            with pytest.raises(StorageUnavailable, match="does not answer"):
                await storage.unsequenced(100)

        driven(url, work)


def test_rows_of_the_logs_stay(url: str) -> None:
    async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
        del beside
        assert storage.describe()["drops_archived_rows"] is False
        with pytest.raises(SettingsInvalid, match="that can drop archived rows, found PostgreSQL with Citus"):
            await storage.drop_archived(LogName.ACCESS, 0, 10)

    driven(url, work)


def test_a_scrub_says_that_it_rewrites_nothing(url: str) -> None:
    async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
        del beside
        assert await storage.scrub(1.0) is None
        await storage.commit([a_write(purges=(a_purge_record(),))])
        outcome = await storage.scrub(1.0)
        assert outcome is not None
        assert outcome.rewritten == 0
        assert "VACUUM FULL" in outcome.left[0]

    driven(url, work)


class TestGuardsOfShards:
    """Each row: whether a shard answers, whether its trigger can be made, and how many it has."""

    @staticmethod
    async def guarded(beside: asyncpg.Connection[Any], *shards: tuple[bool, bool, int]) -> list[int]:
        await beside.execute("TRUNCATE placements")
        await beside.executemany("INSERT INTO placements VALUES ('', $1, $2, $3)", shards)
        await guard_shards(beside)
        return [row[0] for row in await beside.fetch("SELECT guards FROM placements")]

    def test_a_shard_without_one_gets_one(self, url: str) -> None:
        async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
            del storage
            assert await self.guarded(beside, (True, True, 1), (True, True, 0)) == [1, 1]

        driven(url, work)

    def test_a_shard_that_answers_and_gets_none_is_an_error(self, url: str) -> None:
        async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
            del storage
            with pytest.raises(StorageUnavailable, match="has no trigger that refuses TRUNCATE: must be owner"):
                await self.guarded(beside, (True, False, 0), (False, True, 0))

        driven(url, work)

    def test_a_shard_that_does_not_answer_is_a_warning(self, url: str, caplog: pytest.LogCaptureFixture) -> None:
        async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
            del storage
            await self.guarded(beside, (True, True, 0), (False, True, 0))

        with caplog.at_level(logging.WARNING):
            driven(url, work)
        warned = [each for each in caplog.records if "do not answer" in each.getMessage()]
        assert [each.shards for each in warned] == [1, 1, 1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("key", "is_repeated"), [("entries_04_pkey_102047", True), ("purge_log_pkey_102016", False)])
@pytest.mark.parametrize("kind", [asyncpg.UniqueViolationError, asyncpg.InternalServerError])
def test_a_second_creator_is_known_by_the_message_of_a_worker(
    kind: type[asyncpg.PostgresError], key: str, is_repeated: bool
) -> None:
    error = kind(f'duplicate key value violates unique constraint "{key}"')
    assert is_worth_repeating(error) is is_repeated


def test_a_batch_of_reads_may_contain_a_key_several_times(url: str) -> None:
    async def work(storage: SpreadStorage, beside: asyncpg.Connection[Any]) -> None:
        del beside
        for name in ("several-a", "several-b"):
            value = name.encode()
            await storage.commit([a_write(StoreEntry(an_entry(name, value), value))])
        asked = [("several-a", True), ("several-b", True), ("none", True), ("several-a", False), ("several-b", True)]
        found = await storage.read([Read(EntryKey("card", name), with_value=wanted) for name, wanted in asked])
        assert [each.value for each in found] == [b"several-a", b"several-b", None, None, b"several-b"]
        assert [each.entry and each.entry.external_id for each in found] == [
            "several-a", "several-b", None, "several-a", "several-b"
        ]  # fmt: skip

    driven(url, work)
