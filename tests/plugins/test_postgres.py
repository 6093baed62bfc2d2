"""The PostgreSQL storage: what every storage promises, and what is PostgreSQL's own."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import subprocess
import sys
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.kept_databases import give_back, keep, pool_of, take
from tests.support.postgres import Databases, PostgresServer
from vsqlvault.cli import main
from vsqlvault.errors import (
    AuditUnavailable,
    SchemaTooNew,
    SettingsInvalid,
    StorageUnavailable,
    Unavailable,
    UnsafeStorage,
)
from vsqlvault.interfaces.storage import LogQuery, Read, Storage
from vsqlvault.interfaces.writes import (
    Committed,
    Conflict,
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    RemoveEntry,
    RetrievalsBelow,
    RevisionIs,
    SaveApiKey,
    SaveRetentionPolicy,
    SeenWrite,
    StoreEntry,
    Write,
)
from vsqlvault.model.credential import CredentialName
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.transparency import LogName
from vsqlvault.testing import (
    T0,
    StorageConformance,
    a_purge_record,
    a_retention_policy,
    a_write,
    an_access_record,
    an_api_key,
    an_entry,
    storing,
)
from vsqlvault.testing.storage.faults import FAILURES, FaultConformance
from vsqlvault_plugins.storage.postgres import rows
from vsqlvault_plugins.storage.postgres.entry_counts import Folding
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.postgres.schema import VERSION
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage, PostgresTuning
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

KEY = EntryKey("card", "pay-1")
LOGS = ("access_log", "purge_log")
PLACE_FILE = "postgresql-place"
Run = Callable[[Coroutine[Any, Any, Any]], Any]


async def opened(url: str, **options: Any) -> PostgresStorage:
    storage = await PostgresStorage.open(url, **options)
    await storage.migrate()
    return storage


@pytest.fixture(scope="module")
def migrated(postgres: Databases) -> Iterator[dict[int, str]]:
    """Databases of one and of four shards, with no rows, to be copied: that is quicker than to migrate each."""
    names = {shards: postgres.create_database() for shards in (1, 4)}

    async def make() -> None:
        for shards, name in names.items():
            await (await opened(postgres.url(name), shards=shards)).close()

    asyncio.run(make())
    for name in names.values():
        keep(postgres, name)
    yield names
    for name in names.values():
        for copy in postgres.sql(
            f"SELECT datname FROM pg_database WHERE starts_with(datname, '{pool_of(name)}')"
        ).split():
            postgres.drop_database(copy)
        postgres.drop_database(name)


class OnItsOwnDatabase:
    """The directory of a test tells its server; each directory in it has a database of its own there."""

    shards = 1
    pool_size = 3

    @pytest.fixture(autouse=True)
    def _databases(self, tmp_path: Path, postgres: Databases, migrated: dict[int, str]) -> Iterator[None]:
        prefix = f"kit_{secrets.token_hex(4)}"
        (tmp_path / PLACE_FILE).write_text(f"{postgres.url('postgres')} {prefix} {migrated[self.shards]}", "utf-8")
        yield
        made = postgres.sql(f"SELECT datname FROM pg_database WHERE datname LIKE '{prefix}%'")
        for name in made.split():
            give_back(postgres, name, migrated[self.shards])

    async def open_storage(self, directory: Path) -> Storage:
        base = next(each for each in (directory, *directory.parents) if (each / PLACE_FILE).exists())
        url, prefix, migrated = (base / PLACE_FILE).read_text("utf-8").split()
        name = f"{prefix}_{hashlib.sha256(str(directory).encode()).hexdigest()[:8]}"
        await take(url, name, migrated)
        return await opened(
            urlsplit(url)._replace(path=f"/{name}").geturl(), pool_size=self.pool_size, shards=self.shards
        )


class TestPostgresConforms(OnItsOwnDatabase, StorageConformance):
    shards = 4


class TestPostgresFails(OnItsOwnDatabase, FaultConformance):
    pool_size = 1  # each connection of each vault compiles every function again
    every = len(
        FAILURES
    )  # a new database for each call is slow: here one fault applies to it, on SQLite all of them do


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 60))


@pytest.fixture
def storage(run: Run, postgres_url: str) -> Iterator[PostgresStorage]:
    storage = run(opened(postgres_url))
    yield storage
    run(storage.close())


@pytest.fixture
def other(run: Run, storage: PostgresStorage, postgres_url: str) -> Iterator[PostgresStorage]:
    """Another process' storage on the same database, as far as PostgreSQL can tell."""
    other = run(opened(postgres_url, pool_size=2))
    yield other
    run(other.close())


def test_the_built_in_storages_commit_about_an_entry_that_was_seen_in_one_call(run, storage, tmp_path) -> None:
    async def retrieved(each: Any) -> Any:
        await each.commit([storing("lone", b"cipher")])
        seen = await look(each, EntryKey("card", "lone"))
        record = an_access_record(external_id="lone", stamp=seen.entry.stamp)
        write = Write((record,), (EntryIs(seen.entry.key, seen.entry.stamp), RevisionIs(seen.revision)))
        until = seen.now + timedelta(seconds=9)
        return (await each.commit_seen([SeenWrite(seen.entry, until, write, with_value=True)]))[0]

    async def on_sqlite() -> Any:
        file = await SqliteStorage.open(tmp_path / "vault.db")
        await file.migrate()
        found = await retrieved(file)
        await file.close()
        return found

    assert [found.value for found in (run(retrieved(storage)), run(on_sqlite()))] == [b"cipher", b"cipher"]


def test_several_values_are_replaced_in_one_call(run, storage) -> None:
    async def replaced() -> list[bytes | None]:
        keys = [EntryKey("card", f"many-{number}") for number in range(3)]
        writes = []
        for key in keys:
            await storage.commit([storing(key.external_id, b"cipher")])
            seen = await look(storage, key)
            following = replace(seen.entry, version=2)
            expects = (EntryIs(key, seen.entry.stamp), RevisionIs(seen.revision))
            record = an_access_record(external_id=key.external_id, stamp=following.stamp)
            write = Write((record,), expects, (StoreEntry(following, b"new"),))
            writes.append(SeenWrite(seen.entry, seen.now + timedelta(seconds=9), write))
        assert None not in await storage.commit_seen(writes)
        return [(await storage.read([Read(key, with_value=True)]))[0].value for key in keys]

    assert run(replaced()) == [b"new"] * 3


@pytest.fixture
def beside(run: Run, postgres_url: str) -> Iterator[asyncpg.Connection]:
    """A connection of somebody else's."""
    connection = run(asyncpg.connect(postgres_url))
    yield connection
    run(connection.close())


def test_a_retrieval_in_one_call_waits_for_a_replacement_and_then_commits_nothing(run, storage, beside) -> None:
    async def race() -> Any:
        await storage.commit([storing("raced", b"cipher")])
        seen = await look(storage, EntryKey("card", "raced"))
        record = an_access_record(external_id="raced", stamp=seen.entry.stamp)
        replacement = beside.transaction()
        await replacement.start()
        await beside.execute("SELECT FROM vault.entries WHERE external_id = 'raced' FOR UPDATE")
        await beside.execute("UPDATE vault.entries SET version = version + 1 WHERE external_id = 'raced'")
        write = Write((record,), (EntryIs(seen.entry.key, seen.entry.stamp), RevisionIs(seen.revision)))
        until = seen.now + timedelta(minutes=9)
        asked = asyncio.ensure_future(storage.commit_seen([SeenWrite(seen.entry, until, write, with_value=True)]))
        waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        while not asked.done() and not await beside.fetchval(waiting):  # noqa: ASYNC110 - nothing wakes it
            await asyncio.sleep(0.01)
        await replacement.commit()
        return await asked, await storage.access_log(LogQuery(limit=1, equals={"request_id": record.request_id}))

    assert run(race()) == ([None], [])


@pytest.mark.parametrize(
    ("rulebook", "expectations", "broken"),
    [
        ("kept", "ROW(1, 1, 'moon-is-full', 'card', 'e1', NULL, NULL, 0)", [1]),
        (
            "kept",
            "ROW(1, 1, 'revision-is', NULL, NULL, NULL, 1, NULL), ROW(1, 2, 'entry-is', 'card', 'e1', 'x', 1, 0)",
            [2],
        ),
        ("gone", "ROW(1, 1, 'entry-is', 'card', 'e1', 'x', 1, 0)", [1]),
    ],
)
@pytest.mark.usefixtures("storage")
def test_what_a_commit_expects_and_does_not_know_is_broken(
    run: Run, beside: asyncpg.Connection, rulebook: str, expectations: str, broken: list[int]
) -> None:
    if rulebook == "gone":
        run(beside.execute("DELETE FROM vault.rulebook"))
    else:
        run(beside.execute("UPDATE vault.rulebook SET revision = 1"))
    nothing = "'{}', '{}', '{}', '{}', '{}', '{}'"
    call = f"SELECT vault.commit_batch(1, ARRAY[{expectations}]::vault.expectation[], {nothing})"
    assert run(beside.fetchval(call)) == broken


@pytest.mark.parametrize(("revision", "external_id", "done"), [(1, "new", True), (2, "new", False), (1, "e1", False)])
def test_a_commit_as_usual_does_nothing_where_it_is_not(
    run: Run, storage: PostgresStorage, beside: asyncpg.Connection, revision: int, external_id: str, done: bool
) -> None:
    run(committed(storage, storing("e1")))
    run(beside.execute("UPDATE vault.rulebook SET revision = 1"))
    before = run(beside.fetchval("SELECT count(*) FROM vault.access_log"))
    entry = an_entry(external_id)
    arguments = ([], [rows.put_of(1, True, entry, b"x")], [], [], [], [rows.access_row(1, an_access_record())], [])
    call = "SELECT vault.commit_as_usual($1, $2, $3, $4, $5, $6, $7, $8, $9)"
    answer = run(beside.fetchval(call, 1, revision, *arguments))
    assert answer == ([0] if done else None)
    assert run(beside.fetchval("SELECT count(*) FROM vault.access_log")) == before + done


async def committed(storage: Storage, *writes: Any) -> None:
    assert list(await storage.commit(writes)) == [Committed()] * len(writes)


async def look(storage: Storage, key: EntryKey = KEY) -> Any:
    (snapshot,) = await storage.read([Read(key, with_value=True)])
    return snapshot


async def still_waits(task: asyncio.Future[Any]) -> bool:
    await asyncio.sleep(0.2)
    return not task.done()


class TestUnsafeServers:
    @pytest.mark.parametrize("setting", ["fsync", "full_page_writes"])
    def test_a_server_that_loses_what_it_acknowledged_is_refused(
        self, run: Run, stoppable_postgres: PostgresServer, postgres_url: str, setting: str
    ) -> None:
        stoppable_postgres.settings[setting] = "off"
        stoppable_postgres.restart()
        with pytest.raises(UnsafeStorage, match=setting):
            run(PostgresStorage.open(postgres_url))

    def test_asynchronous_commit_is_refused(self, run: Run, postgres: Databases, postgres_url: str) -> None:
        database = urlsplit(postgres_url).path[1:]
        postgres.sql(f"ALTER DATABASE {database} SET synchronous_commit = off")
        with pytest.raises(UnsafeStorage, match="synchronous_commit"):
            run(PostgresStorage.open(postgres_url))

    def test_a_server_that_turns_unsafe_gets_no_new_connection(
        self, run: Run, postgres: Databases, postgres_url: str, storage: PostgresStorage
    ) -> None:
        database = urlsplit(postgres_url).path[1:]
        postgres.sql(f"ALTER DATABASE {database} SET synchronous_commit = off")
        backends = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        postgres.sql(f"SELECT pg_terminate_backend(pid) FROM ({backends}) AS found", database)
        run(asyncio.sleep(0.1))
        with pytest.raises(StorageUnavailable):
            run(storage.read([Read()]))
        postgres.sql(f"ALTER DATABASE {database} RESET synchronous_commit")
        assert run(look(storage)).entry is None

    def test_a_database_that_cannot_hold_every_text_is_refused(self, run: Run, postgres: Databases) -> None:
        postgres.sql("CREATE DATABASE plain_ascii TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'")
        try:
            with pytest.raises(UnsafeStorage, match="UTF8"):
                run(PostgresStorage.open(postgres.url("plain_ascii")))
        finally:
            postgres.drop_database("plain_ascii")


def address(url: str, **parts: str) -> str:
    """Return the URL with other parts."""
    found = urlsplit(url)
    user, password = parts.get("user", found.username), parts.get("password", found.password)
    place = f"{found.hostname}:{parts.get('port', found.port)}"
    return f"postgresql://{user}:{password}@{place}/{parts.get('database', found.path[1:])}"


class TestExplanations:
    """What stands in the way is one sentence, with the command that helps; never the password."""

    @pytest.mark.parametrize(
        ("wrong", "words"),
        [
            ({"database": "nowhere"}, "there is no database nowhere: createdb -h"),
            ({"password": "guessed"}, "refuses the password of the role"),
            ({"user": "nobody-known"}, "nobody-known"),
            ({"port": "1"}, "no answer at 127.0.0.1:1"),
        ],
    )
    def test_at_start(self, run: Run, postgres_url: str, wrong: dict[str, str], words: str) -> None:
        with pytest.raises(StorageUnavailable) as refused:
            run(PostgresStorage.open(address(postgres_url, **wrong)))
        assert words in str(refused.value)
        assert str(urlsplit(postgres_url).password) not in str(refused.value)

    @pytest.mark.parametrize(
        "url", ["postgresql://host:port/database", "postgresql://a:b@[::1/x", "postgresql://%zz/x?sslmode=no"]
    )
    def test_of_a_url_that_is_none(self, run: Run, url: str) -> None:
        with pytest.raises(SettingsInvalid, match=r"^storage\.database_url: "):
            run(PostgresStorage.open(url))

    def test_of_a_role_that_may_not_make_the_schema(self, run: Run, postgres: Databases, postgres_url: str) -> None:
        postgres.sql("CREATE ROLE modest LOGIN PASSWORD 'modest'")
        try:
            storage = run(PostgresStorage.open(address(postgres_url, user="modest", password="modest")))
            with pytest.raises(StorageUnavailable, match="GRANT CREATE ON DATABASE"):
                run(storage.migrate())
            run(storage.close())
        finally:
            postgres.sql("DROP ROLE modest")

    def test_the_command_ends_with_it(self, tmp_path: Path, postgres_url: str) -> None:
        settings = tmp_path / "vault.toml"
        settings.write_text(f'[storage]\ndatabase_url = "{address(postgres_url, database="nowhere")}"\n', "utf-8")
        done = subprocess.run(
            [sys.executable, "-m", "vsqlvault", "--config", settings],
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
        assert done.returncode == 2
        assert "storage.database_url: there is no database nowhere" in done.stderr
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("command", ["report", "sweep", "verify", "keys list"])
    def test_an_empty_database_is_no_vault_and_does_not_become_one(
        self, postgres: Databases, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        name = postgres.create_database()
        monkeypatch.setenv("VSQL_VAULT_STORAGE__DATABASE_URL", postgres.url(name))
        try:
            assert main(command.split()) == 2
            said = capsys.readouterr().err
            assert "storage.database_url: expected the database of a vault, found an empty one" in said
            assert postgres.sql("SELECT count(*) FROM pg_namespace WHERE nspname = 'vault'", name) == "0"
        finally:
            postgres.drop_database(name)


class TestAppendOnlyLogs:
    """The database itself refuses, even a superuser."""

    @pytest.mark.parametrize("table", LOGS)
    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE {} SET request_id = 'x'",
            "DELETE FROM {}",
            "UPDATE {} SET request_id = 'x' WHERE false",
            "TRUNCATE {}",
            "TRUNCATE {} CASCADE",
        ],
    )
    def test_a_change_is_refused(self, run: Run, storage, beside, table: str, statement: str) -> None:
        run(committed(storage, a_write(purges=(a_purge_record(),))))
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            run(beside.execute(statement.format(f"vault.{table}")))
        assert run(beside.fetchval(f"SELECT count(*) FROM vault.{table}")) == 1

    @pytest.mark.parametrize(
        "table", ["access_log", "purge_log", "leaves", "checkpoints", "log_archives", "attestations", "access_reviews"]
    )
    @pytest.mark.parametrize("event", ["UPDATE", "DELETE"])
    def test_each_row_is_guarded(self, run: Run, storage, beside, table: str, event: str) -> None:
        sql = """SELECT count(*) FROM information_schema.triggers WHERE event_object_schema = 'vault'
            AND event_object_table = $1 AND event_manipulation = $2 AND action_orientation = 'ROW'"""
        assert run(beside.fetchval(sql, table, event)) == 1

    @pytest.mark.parametrize("statement", ["UPDATE public.above SET request_id = 'x'", "DELETE FROM public.above"])
    @pytest.mark.parametrize("table", ["access_log", "purge_log"])
    def test_a_table_above_the_log_changes_no_row_of_it(
        self, run: Run, storage, beside, table: str, statement: str
    ) -> None:
        run(committed(storage, a_write(purges=(a_purge_record(),))))
        run(beside.execute(f"CREATE TABLE public.above (LIKE vault.{table})"))
        run(beside.execute(f"ALTER TABLE vault.{table} INHERIT public.above"))
        with pytest.raises(asyncpg.RaiseError, match="append-only"):
            run(beside.execute(statement))

    def test_a_position_cannot_be_chosen(self, run: Run, storage, beside) -> None:
        with pytest.raises(asyncpg.PostgresError):
            run(beside.execute("INSERT INTO vault.access_log (position) VALUES (1)"))


class TestRoles:
    @pytest.fixture
    def roles(self, postgres: Databases, postgres_url: str) -> Iterator[str]:
        """An owner and a runtime role; the URL is the runtime role's."""
        database = urlsplit(postgres_url).path[1:]
        postgres.sql("CREATE ROLE keeper")
        postgres.sql("CREATE ROLE server LOGIN PASSWORD 'server'")
        postgres.sql(f"GRANT CREATE ON DATABASE {database} TO keeper")
        yield address(postgres_url, user="server", password="server")
        postgres.drop_database(database)
        postgres.sql("DROP ROLE keeper, server")

    def test_the_runtime_role_serves_and_cannot_touch_what_is_logged(
        self, run: Run, postgres_url: str, roles: str
    ) -> None:
        made = run(opened(postgres_url, roles=Roles(owner="keeper", runtime="server")))
        assert made.describe()["role_owns_logs"] is True
        run(made.close())
        storage = run(opened(roles, tuning=PostgresTuning(folding=Folding(leave=1))))
        assert storage.describe()["role_owns_logs"] is False
        run(committed(storage, storing(), a_write(SaveRetentionPolicy(a_retention_policy()))))
        run(committed(storage, a_write(RemoveEntry(KEY), purges=(a_purge_record(),))))
        run(committed(storage, a_write(SaveApiKey(an_api_key()))))
        run(storage._tally())
        for _ in range(2):
            run(storage.record_usages({CredentialName("api-key", an_api_key().key_id): T0}))
        assert run(storage.acquire_lease("sweep", "a", 60))
        assert len(run(storage.secret("cursor"))) == 32
        assert len(run(storage.access_log(LogQuery(limit=9)))) == 4
        run(storage.close())
        connection = run(asyncpg.connect(roles))
        for statement in (
            "ALTER TABLE vault.access_log DISABLE TRIGGER ALL",
            "DROP TRIGGER access_log_append_only ON vault.access_log",
            "DELETE FROM vault.purge_log",
            "DROP SCHEMA vault CASCADE",
            "UPDATE vault.access_policies SET version = 9",
            "DELETE FROM vault.retention_policies",
            "UPDATE vault.api_keys SET app = 'other'",
            "DELETE FROM vault.api_keys",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                run(connection.execute(statement))
        run(connection.close())

    def test_the_runtime_role_may_not_drop_archived_rows(self, run: Run, postgres_url: str, roles: str) -> None:
        run(run(opened(postgres_url, roles=Roles(owner="keeper", runtime="server"))).close())
        storage = run(opened(roles, tuning=PostgresTuning(folding=Folding(leave=1))))
        with pytest.raises(SettingsInvalid, match="expected the role that owns the schema"):
            run(storage.drop_archived(LogName.ACCESS, 0, 9))
        run(committed(storage, storing()))
        run(storage.close())


class TestMigrations:
    def test_of_two_at_once_one_waits_and_finds_nothing_to_do(self, run: Run, postgres_url: str) -> None:
        async def both() -> list[Any]:
            storages = [await PostgresStorage.open(postgres_url, pool_size=1) for _ in range(4)]
            done = await asyncio.gather(*(storage.migrate() for storage in storages))
            for storage in storages:
                await storage.close()
            return sorted(status.before for status in done)

        assert run(both()) == [0, VERSION, VERSION, VERSION]

    def test_a_newer_schema_is_refused(self, run: Run, storage, beside) -> None:
        run(beside.execute(f"UPDATE vault.schema_version SET version = {VERSION + 1}"))
        with pytest.raises(SchemaTooNew):
            run(storage.migrate())

    def test_it_waits_for_a_commit_and_does_not_deadlock_with_it(self, run: Run, storage, beside) -> None:
        async def race() -> None:
            await beside.execute("UPDATE vault.schema_version SET functions = NULL")
            commit = beside.transaction()
            await commit.start()
            await beside.execute("SELECT pg_advisory_xact_lock_shared(1987277164, 1)")
            await beside.execute("LOCK TABLE vault.entries IN ROW EXCLUSIVE MODE")
            migration = asyncio.create_task(storage.migrate())
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted"
            while not await beside.fetchval(waiting):  # noqa: ASYNC110 - nothing wakes it
                await asyncio.sleep(0.01)
            await beside.execute("LOCK TABLE vault.access_log IN ROW EXCLUSIVE MODE")
            await commit.commit()
            assert (await migration).steps == ("functions.sql",)

        run(race())

    def test_one_that_breaks_off_leaves_nothing(self, run: Run, postgres_url: str, beside) -> None:
        run(beside.execute("CREATE TABLE public.x (); CREATE SCHEMA vault"))
        storage = run(PostgresStorage.open(postgres_url))
        with pytest.raises(Unavailable):
            run(storage.migrate())
        run(storage.close())
        assert run(beside.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = 'vault'")) == 0


class TestLocks:
    def test_a_batch_waits_for_a_change_of_policies_and_is_then_decided_again(self, run: Run, storage, beside) -> None:
        async def race() -> None:
            await committed(storage, storing())
            seen = await look(storage)
            transaction = beside.transaction()
            await transaction.start()
            await beside.execute("SELECT pg_advisory_xact_lock(1987277164, 1)")
            await beside.execute("UPDATE vault.rulebook SET revision = revision + 1")
            reading = asyncio.ensure_future(storage.commit([a_write(expects=(RevisionIs(seen.revision),))]))
            assert await still_waits(reading)
            await transaction.commit()
            assert await reading == [Conflict(RevisionIs(seen.revision))]

        run(race())

    @pytest.mark.parametrize("end", ["commit", "rollback"])
    def test_a_retrieval_waits_for_the_purge_of_its_entry(self, run: Run, storage, beside, end: str) -> None:
        async def race() -> Any:
            await committed(storage, storing())
            guard = EntryIs(KEY, (await look(storage)).entry.stamp)
            transaction = beside.transaction()
            await transaction.start()
            await beside.execute("DELETE FROM vault.entries")
            reading = asyncio.ensure_future(storage.commit([a_write(expects=(guard,))]))
            assert await still_waits(reading)
            await getattr(transaction, end)()
            return (await reading)[0]

        assert isinstance(run(race()), Conflict if end == "commit" else Committed)

    def test_a_purge_waits_for_the_retrieval_that_is_being_committed(self, run: Run, storage, beside) -> None:
        async def race() -> None:
            await committed(storage, storing())
            entry = (await look(storage)).entry
            transaction = beside.transaction()
            await transaction.start()
            await beside.execute("SELECT FROM vault.entries FOR KEY SHARE")
            purge = a_write(RemoveEntry(KEY), expects=(EntryIs(KEY, entry.stamp),))
            purging = asyncio.ensure_future(storage.commit([purge]))
            assert await still_waits(purging)
            await transaction.commit()
            assert await purging == [Committed()]

        run(race())

    def test_of_two_processes_that_create_one_entry_one_does(self, run: Run, storage, other) -> None:
        async def race(number: int) -> None:
            key = EntryKey("card", f"new-{number}")
            write = storing(f"new-{number}", b"cipher")
            guarded = replace(write, expects=(EntryAbsent(key),))
            rest = [storing(f"{number}-{n}", b"cipher") for n in range(3)]
            both = await asyncio.gather(storage.commit([guarded, *rest]), other.commit([guarded]))
            assert sorted(type(outcomes[0]).__name__ for outcomes in both) == ["Committed", "Conflict"]
            assert both[0][1:] == [Committed()] * 3

        async def races() -> None:
            for number in range(100):
                await race(number)

        run(races())

    def test_batches_over_the_same_entries_neither_deadlock_nor_fail(self, run: Run, storage, other) -> None:
        names = [f"e{number}" for number in range(20)]

        async def shuffle(door: Storage, order: int) -> None:
            for turn in range(60):
                keys = [EntryKey("card", name) for name in (names if (order + turn) % 2 else reversed(names))]
                seen = await door.read([Read(key) for key in keys])
                writes = [
                    a_write(
                        StoreEntry(replace(snapshot.entry, version=snapshot.entry.version + 1), b"cipher"),
                        expects=(EntryIs(key, snapshot.entry.stamp),),
                    )
                    if (turn + place) % 3
                    else a_write(expects=(EntryIs(key, snapshot.entry.stamp),))
                    for place, (key, snapshot) in enumerate(zip(keys, seen, strict=True))
                ]
                await door.commit(writes)

        async def race() -> None:
            await committed(storage, *(storing(name) for name in names))
            await asyncio.gather(*(shuffle(door, order) for door in (storage, other) for order in range(2)))

        run(race())

    def test_a_counter_is_exact_over_two_processes(self, run: Run, storage, other) -> None:
        async def retrieve(door: Storage) -> bool:
            write = a_write(CountRetrieval(KEY), expects=(RetrievalsBelow(KEY, 10),))
            return await door.commit([write]) == [Committed()]

        async def race() -> int:
            await committed(storage, storing())
            return sum(await asyncio.gather(*(retrieve(door) for door in (storage, other) * 25)))

        assert run(race()) == 10
        assert run(look(storage)).entry.retrievals == 10


class TestOrderOfTheLogs:
    def test_who_follows_a_log_misses_no_row_that_is_committed_late(self, run: Run, storage, beside) -> None:
        async def follow() -> None:
            await committed(storage, a_write())
            transaction = beside.transaction()
            await transaction.start()
            await beside.execute("SELECT pg_advisory_xact_lock_shared(1987277164, 1)")
            await beside.execute(
                "INSERT INTO vault.access_log (at, request_id, operation, outcome, status, shard) "
                "VALUES (now(), 'late', 'retrieve', 'granted', 200, 0)"
            )
            await committed(storage, a_write())
            assert len(await storage.access_log(LogQuery(limit=9))) == 2
            following = asyncio.ensure_future(storage.access_log(LogQuery(limit=9, oldest_first=True)))
            assert await still_waits(following)
            await transaction.commit()
            assert [row.record.request_id == "late" for row in await following] == [False, True, False]

        run(follow())


class TestRowsOfOtherHands:
    def test_a_row_that_cannot_be_read_is_unavailable(self, run: Run, storage, beside) -> None:
        run(committed(storage, storing()))
        run(beside.execute("UPDATE vault.entries SET encoding = 'rot13'"))
        with pytest.raises(Unavailable):
            run(look(storage))

    def test_a_row_that_the_database_refuses_fails_alone(self, run: Run, storage) -> None:
        twice = a_purge_record()
        run(committed(storage, a_write(purges=(twice,))))
        with pytest.raises(AuditUnavailable):
            run(storage.commit([a_write(purges=(twice,))]))
        run(committed(storage, a_write()))


def test_values_are_kept_as_they_are_and_not_compressed(run: Run, storage, beside) -> None:
    value = b"a" * 100_000
    entry = an_entry(value=value)
    run(committed(storage, a_write(StoreEntry(entry, value))))
    assert run(look(storage)).value == value
    assert run(beside.fetchval("SELECT pg_column_size(encrypted_value) FROM vault.entries")) >= len(value)
