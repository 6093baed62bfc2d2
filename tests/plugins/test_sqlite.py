"""The SQLite storage: what every storage promises, and what is SQLite's own."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.sqlite_files import lay_migrated
from vsqlvault.errors import (
    AuditUnavailable,
    SchemaTooNew,
    SettingsInvalid,
    StorageFull,
    StorageUnavailable,
    Unavailable,
    UnsafeStorage,
    VaultError,
)
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, Read, Storage
from vsqlvault.interfaces.writes import (
    Committed,
    EntryIs,
    OverwriteEntry,
    RemoveEntry,
    RevisionIs,
    SaveAccessPolicy,
    SaveRetentionPolicy,
    SaveSweep,
    SeenWrite,
    StoreEntry,
    Write,
)
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.times import to_micros
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.testing import (
    T0,
    StorageConformance,
    a_purge_record,
    a_retention_policy,
    a_sweep,
    a_write,
    an_access_policy,
    an_access_record,
    an_entry,
    storing,
)
from vsqlvault_plugins.storage.sql.reading import fetch_value
from vsqlvault_plugins.storage.sqlite import connection as sqlite_connection
from vsqlvault_plugins.storage.sqlite.pager import Pager
from vsqlvault_plugins.storage.sqlite.plugin import SqliteFactory
from vsqlvault_plugins.storage.sqlite.schema import VERSION
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage
from vsqlvault_plugins.storage.sqlite.transactions import LARGE, checkpoint_log, truncate_log

LOGS = ("access_log", "purge_log")
KEY = EntryKey("card", "pay-1")
BOUND_SECONDS = 20


class TestSqliteConforms(StorageConformance):
    async def open_storage(self, directory: Path) -> Storage:
        await asyncio.to_thread(lay_migrated, directory / "vault.db")
        storage = await SqliteStorage.open(directory / "vault.db")
        await storage.migrate()
        return storage


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "vault.db"


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def run(runner: asyncio.Runner) -> Callable[[Coroutine[Any, Any, Any]], Any]:
    return lambda coroutine: runner.run(asyncio.wait_for(coroutine, 60))


@pytest.fixture
def storage(run, path: Path) -> Iterator[SqliteStorage]:
    lay_migrated(path)
    storage = run(SqliteStorage.open(path))
    run(storage.migrate())
    yield storage
    run(storage.close())


@pytest.fixture
def quick_storage(run, path: Path) -> Iterator[SqliteStorage]:
    """A storage that truncates its write-ahead log soon after a purge."""
    storage = run(SqliteStorage.open(path, truncate_after_seconds=0.05))
    run(storage.migrate())
    yield storage
    run(storage.close())


@pytest.fixture
def filled(run, storage: SqliteStorage) -> SqliteStorage:
    """A storage with one row in each log."""
    run(storage.commit([a_write(purges=(a_purge_record(),))]))
    return storage


@contextlib.contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def connections(storage: SqliteStorage) -> dict[str, Any]:
    return {"writer": storage._writer, "reader": storage._reader, "pager": storage._pager}


async def executed(connection: Any, sql: str) -> Any:
    """Run a statement on one of the storage's connections, and return the first column of its first row."""
    if isinstance(connection, Pager):
        return await connection.answer(fetch_value(sql), consistently=False)
    return await connection.run(lambda c: (c.execute(sql).fetchone() or (None,))[0])


def pragma(run, connection: Any, name: str) -> Any:
    return run(executed(connection, f"PRAGMA {name}"))


class TestPragmas:
    @pytest.mark.parametrize("name", ["writer", "reader", "pager"])
    @pytest.mark.parametrize(
        ("setting", "value"),
        [
            ("journal_mode", "wal"),
            ("synchronous", 2),
            ("secure_delete", 1),
            ("trusted_schema", 0),
            ("busy_timeout", 5000),
            ("temp_store", 2),
        ],
    )
    def test_every_connection_is_set_for_durability_and_purging(self, run, storage, name, setting, value) -> None:
        assert pragma(run, connections(storage)[name], setting) == value

    @pytest.mark.parametrize(("setting", "value"), [("synchronous", 2), ("secure_delete", 1)])
    def test_no_work_of_the_storage_lowers_a_setting(self, run, storage, setting, value) -> None:
        many = a_write(*(change for n in range(LARGE) for change in storing(f"lowered-{n}").changes))
        run(storage.commit([many]))
        run(storage._writer.run(checkpoint_log))
        run(storage._writer.run_behind(truncate_log))
        run(storage.scrub(1.0))
        assert [pragma(run, connection, setting) for connection in connections(storage).values()] == [value] * 3

    @pytest.mark.parametrize("name", ["reader", "pager"])
    def test_a_connection_that_only_reads_cannot_write(self, run, storage, name) -> None:
        connection = connections(storage)[name]
        with pytest.raises(StorageUnavailable):
            run(executed(connection, "DELETE FROM entries"))

    @pytest.mark.parametrize("setting", ["synchronous", "secure_delete"])
    def test_a_build_that_refuses_a_setting_is_refused(self, run, path, monkeypatch, setting) -> None:
        loose = dict(sqlite_connection.QUERIES) | {f"pragma_{setting}": f"PRAGMA {setting} = OFF"}
        monkeypatch.setattr(sqlite_connection, "QUERIES", loose)
        with pytest.raises(UnsafeStorage, match=setting):
            run(SqliteStorage.open(path))


class TestAppendOnlyLogs:
    """The database itself refuses every caller."""

    @pytest.mark.parametrize("table", LOGS)
    @pytest.mark.parametrize("clause", ["", "OR IGNORE ", "OR REPLACE ", "OR FAIL ", "OR ROLLBACK "])
    def test_an_update_is_refused(self, filled, path, table, clause) -> None:
        self._refused(path, table, f"UPDATE {clause}{table} SET request_id = 'other'")

    @pytest.mark.parametrize("table", LOGS)
    @pytest.mark.parametrize("where", ["", " WHERE position = 1", " WHERE 1"])
    def test_a_delete_is_refused(self, filled, path, table, where) -> None:
        self._refused(path, table, f"DELETE FROM {table}{where}")

    @pytest.mark.parametrize("table", LOGS)
    @pytest.mark.parametrize("verb", ["INSERT OR REPLACE INTO", "REPLACE INTO", "INSERT OR IGNORE INTO", "INSERT INTO"])
    def test_a_row_cannot_be_put_in_the_place_of_another(self, filled, path, table, verb) -> None:
        self._refused(path, table, f"{verb} {table} SELECT * FROM {table}")

    @pytest.mark.parametrize("table", LOGS)
    def test_an_upsert_is_refused(self, filled, path, table) -> None:
        sql = f"INSERT INTO {table} SELECT * FROM {table} WHERE 1 ON CONFLICT DO UPDATE SET request_id = 'other'"
        self._refused(path, table, sql)

    @pytest.mark.parametrize("column", ["purge_id", "entry_id"])
    def test_a_purge_row_cannot_be_replaced_by_what_is_unique_in_it(self, filled, path, column) -> None:
        """A new position, but the old ``purge_id``, or the old entry and version, with a proof of its own."""
        keep = {"purge_id": "purge_id, 'e'", "entry_id": "'p', entry_id"}[column]
        sql = f"""
            INSERT OR REPLACE INTO purge_log (
                purge_id, entry_id, purpose, external_id, entry_version, method, reason, proof_hash, value_size,
                owner_app, purged_at, expired_at, app, request_id
            ) SELECT {keep}, purpose, external_id, entry_version, method, reason, proof_hash, value_size, owner_app,
                purged_at, expired_at, app, request_id
            FROM purge_log
        """
        self._refused(path, "purge_log", sql)

    def test_a_purge_row_without_a_whole_proof_is_refused(self, filled, path) -> None:
        with opened(path) as connection, pytest.raises(sqlite3.IntegrityError):
            connection.execute(
                "INSERT INTO purge_log (purge_id, entry_id, purpose, external_id, entry_version, method, reason,"
                " proof_hash, value_size, owner_app, purged_at, expired_at, app, request_id)"
                " VALUES ('p', 'e', 'card', 'x', 1, 'm', 'r', 'short', 1, 'o', 1, 1, 'a', 'r')"
            )

    def _refused(self, path: Path, table: str, sql: str) -> None:
        with opened(path) as connection:
            before = connection.execute(f"SELECT * FROM {table}").fetchall()
            assert len(before) == 1
            with pytest.raises(sqlite3.IntegrityError, match="append-only"):
                connection.execute(sql)
            assert connection.execute(f"SELECT * FROM {table}").fetchall() == before


class TestFile:
    @pytest.mark.parametrize("suffix", ["", "-wal", "-shm"])
    def test_only_the_owner_may_read_the_files(self, filled, path, suffix) -> None:
        file = path.with_name(path.name + suffix)
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_a_wide_umask_does_not_widen_the_file(self, run, path) -> None:
        old = os.umask(0)
        try:
            run(run_and_close(path))
        finally:
            os.umask(old)
        assert stat.S_IMODE(path.stat().st_mode) == 0o600

    @pytest.mark.parametrize(
        "content", [b"this is no database, and longer than a header" * 40, b"SQLite format 4\0" * 64]
    )
    def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(self, run, path, content) -> None:
        path.write_bytes(content)
        with pytest.raises(SettingsInvalid, match="not an SQLite database"):
            run(SqliteStorage.open(path))
        assert path.read_bytes() == content

    def test_the_file_of_another_program_is_refused_and_left_as_it_is(self, run, path) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute("CREATE TABLE customers (name TEXT)")
        content = path.read_bytes()
        with pytest.raises(SettingsInvalid, match=r"another program \(tables: 1\)"):
            run(SqliteStorage.open(path))
        assert path.read_bytes() == content

    @pytest.mark.parametrize(
        "columns", ["'1.2', 'initial'", "7, 'a', 'b'", "NULL"], ids=["a text", "three columns", "no version"]
    )
    def test_a_schema_version_of_another_program_is_not_that_of_a_vault(self, run, path, columns: str) -> None:
        with contextlib.closing(sqlite3.connect(path)) as connection, connection:
            connection.execute(f"CREATE TABLE schema_version AS SELECT {columns}")
        with pytest.raises(SettingsInvalid, match="another program"):
            run(SqliteStorage.open(path))

    def test_three_slashes_that_were_meant_to_be_four_are_explained(self, run, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        (tmp_path / "there").mkdir()
        with pytest.raises(SettingsInvalid, match=f"an absolute path has four slashes, sqlite:///{tmp_path}/there/x"):
            run(SqliteFactory().open(f"sqlite://{tmp_path}/there/x"))
        with pytest.raises(SettingsInvalid, match=r"found no directory nowhere$"):
            run(SqliteFactory().open("sqlite:///nowhere/x"))

    def test_what_a_migration_would_do_is_known_and_nothing_is_changed(self, run, path) -> None:
        storage = run(SqliteStorage.open(path))
        status = run(storage.schema_status())
        assert (status.before, status.after, status.steps) == (0, VERSION, ("schema.sql", "functions.sql"))
        assert run(storage.schema_status()).before == 0
        run(storage.close())

    def test_a_directory_that_is_missing_is_named(self, run, tmp_path) -> None:
        with pytest.raises(StorageUnavailable, match=r"missing.vault\.db: No such file or directory"):
            run(SqliteStorage.open(tmp_path / "missing" / "vault.db"))

    def test_a_directory_is_not_a_file(self, run, tmp_path) -> None:
        with pytest.raises(StorageUnavailable, match="Is a directory"):
            run(SqliteStorage.open(tmp_path))

    def test_an_empty_file_becomes_a_vault(self, run, path) -> None:
        path.touch()
        run(run_and_close(path))
        with opened(path) as connection:
            assert connection.execute("SELECT version FROM schema_version").fetchone() == (VERSION,)

    @pytest.mark.parametrize(
        "url", ["sqlite://vault.db", "sqlite:vault.db", "sqlite:///", "sqlite:///:memory:", "sqlite:///a?b"]
    )
    def test_a_url_without_a_file_is_refused(self, run, url, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        with pytest.raises(SettingsInvalid, match="sqlite:///path"):
            run(SqliteFactory().open(url))
        assert not list(tmp_path.iterdir())

    def test_three_slashes_are_relative_and_four_absolute(self, run, tmp_path, monkeypatch) -> None:
        monkeypatch.chdir(tmp_path)
        for url, made in (("sqlite:///a.db", "a.db"), (f"sqlite:////{str(tmp_path).lstrip('/')}/b.db", "b.db")):
            storage = run(SqliteFactory().open(url))
            run(storage.close())
            assert (tmp_path / made).exists()


async def run_and_close(path: Path) -> None:
    storage = await SqliteStorage.open(path)
    await storage.migrate()
    await storage.close()


class TestSchema:
    def test_a_newer_schema_is_refused_and_left_as_it_is(self, run, path) -> None:
        run(run_and_close(path))
        with opened(path) as connection:
            connection.execute("UPDATE schema_version SET version = ?", (VERSION + 1,))
        storage = run(SqliteStorage.open(path))
        with pytest.raises(SchemaTooNew, match=str(VERSION + 1)):
            run(storage.migrate())
        run(storage.close())
        with opened(path) as connection:
            assert connection.execute("SELECT version FROM schema_version").fetchone() == (VERSION + 1,)

    def test_a_new_file_goes_from_nothing_to_this_version(self, run, path) -> None:
        storage = run(SqliteStorage.open(path))
        status = run(storage.migrate())
        run(storage.close())
        assert (status.before, status.after) == (0, VERSION)

    def test_a_migration_that_fails_leaves_nothing(self, run, path) -> None:
        storage = run(SqliteStorage.open(path))
        with opened(path) as connection:
            connection.execute("CREATE TABLE leases (mine TEXT)")  # a later table of the first migration
        with pytest.raises(VaultError):
            run(storage.migrate())
        run(storage.close())
        with opened(path) as connection:
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
        assert tables == [("leases",)]

    def test_eight_processes_can_open_and_migrate_one_new_file_at_once(self, path) -> None:
        script = (
            "import asyncio, sys, pathlib, time\n"
            "from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage\n"
            "async def main():\n"
            "    storage = await SqliteStorage.open(pathlib.Path(sys.argv[1]))\n"
            "    status = await storage.migrate()\n"
            "    print(status.before, status.after)\n"
            "    await storage.close()\n"
            "time.sleep(max(0, float(sys.argv[2]) - time.time()))\n"
            "asyncio.run(main())\n"
        )
        start = str(time.time() + 3)
        started = [start_python(script, str(path), start) for _ in range(8)]
        answers = [process.communicate(timeout=60) for process in started]
        assert [process.returncode for process in started] == [0] * 8, answers
        told = sorted(out.split() for out, _ in answers)
        assert [["0", str(VERSION)]] <= told
        assert {after for _, after in told} == {str(VERSION)}


def start_python(script: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


class TestMisfortune:
    @pytest.mark.parametrize("name", ["commit", "migrate", "acquire_lease", "secret"])
    def test_a_file_that_another_process_locks_is_unavailable_in_bounded_time(self, run, storage, path, name) -> None:
        run(storage._writer.run(lambda c: c.execute("PRAGMA busy_timeout = 200").fetchall()))
        calls = {
            "commit": lambda: storage.commit([storing()]),
            "migrate": storage.migrate,
            "acquire_lease": lambda: storage.acquire_lease("sweep", "a", 1),
            "secret": lambda: storage.secret("cursor"),
        }
        with opened(path) as other:
            if name == "migrate":
                other.execute("UPDATE schema_version SET version = 0")
            other.execute("BEGIN EXCLUSIVE")
            with pytest.raises(StorageUnavailable) as refused:
                run(calls[name]())
            other.execute("ROLLBACK")
        assert "locked" not in str(refused.value)

    def test_the_wait_for_a_lock_ends_by_itself(self, run, storage, path) -> None:
        began = time.monotonic()
        with opened(path) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StorageUnavailable):
                run(storage.commit([storing()]))
        assert time.monotonic() - began < BOUND_SECONDS
        assert list(run(storage.commit([storing()]))) == [Committed()]

    def test_a_short_lock_is_waited_for(self, run, storage, path) -> None:
        async def scenario() -> Any:
            other = await asyncio.to_thread(sqlite3.connect, path, isolation_level=None, check_same_thread=False)
            other.execute("BEGIN IMMEDIATE")
            commit = asyncio.create_task(storage.commit([storing()]))
            await asyncio.sleep(0.2)
            assert not commit.done()
            other.execute("ROLLBACK")
            other.close()
            return await commit

        assert list(run(scenario())) == [Committed()]

    def test_a_reader_is_not_held_up_by_a_writer(self, run, storage, path) -> None:
        run(storage.commit([storing()]))
        with opened(path) as other:
            other.execute("BEGIN IMMEDIATE")
            (snapshot,) = run(storage.read([Read(KEY)]))
        assert snapshot.entry is not None

    def test_a_file_that_cannot_be_written_is_unavailable_and_still_read(self, run, storage) -> None:
        run(storage.commit([storing(value=b"before")]))
        run(storage._writer.run(lambda c: c.execute("PRAGMA query_only = ON").fetchall()))
        with pytest.raises(StorageUnavailable):
            run(storage.commit([storing(value=b"after")]))
        assert run(storage.read([Read(KEY, with_value=True)]))[0].value == b"before"

    def test_a_file_that_this_user_may_not_write_is_refused_with_the_reason(self, run, path) -> None:
        run(run_and_close(path))
        path.chmod(0o400)
        if os.access(path, os.W_OK):
            pytest.skip("this user writes whatever the mode says")
        with pytest.raises(StorageUnavailable, match="Permission denied"):
            run(SqliteStorage.open(path))

    def test_a_full_disk_has_its_own_error_and_nothing_of_the_batch_is_stored(self, run, storage) -> None:
        pages = run(storage._writer.run(lambda c: c.execute("PRAGMA page_count").fetchone()[0]))
        run(storage._writer.run(lambda c: c.execute(f"PRAGMA max_page_count = {pages + 4}").fetchone()))
        outcomes = run(storage.commit([storing("small"), storing("large", bytes(200_000))]))
        assert [type(outcome) for outcome in outcomes] == [StorageFull, StorageFull]
        found = run(storage.read([Read(EntryKey("card", "small")), Read(EntryKey("card", "large"))]))
        assert [snapshot.entry for snapshot in found] == [None, None]
        assert not run(storage.access_log(LogQuery(limit=5)))

    def test_on_a_full_disk_a_retrieval_in_one_call_is_left_to_a_read_and_a_commit(self, run, storage) -> None:
        entry = an_entry(KEY.external_id, b"x")
        run(storage.commit([a_write(StoreEntry(entry, b"x"))]))
        seen = run(storage.read([Read(KEY)]))[0]
        row = an_access_record(stamp=entry.stamp, detail="d" * 4096)
        write = Write((row,), (EntryIs(entry.key, entry.stamp), RevisionIs(seen.revision)))
        retrieval = SeenWrite(entry, seen.now + timedelta(days=1), write, with_value=True)
        assert run(storage.commit_seen([retrieval])) != [None]
        run(storage._writer.run(lambda c: c.execute("PRAGMA max_page_count = 1").fetchone()))
        assert [run(storage.commit_seen([retrieval])) for _ in range(20)][-1] == [None]
        assert storage._reserve.is_full

    def test_the_storage_goes_on_when_there_is_room_again(self, run, storage) -> None:
        run(storage._writer.run(lambda c: c.execute("PRAGMA max_page_count = 1").fetchone()))
        (outcome,) = run(storage.commit([storing("large", bytes(2_000_000))]))
        assert isinstance(outcome, StorageFull)
        run(storage._writer.run(lambda c: c.execute("PRAGMA max_page_count = 1000000").fetchone()))
        assert storage._reserve.refill()
        assert list(run(storage.commit([storing("large", bytes(200_000))]))) == [Committed()]

    @pytest.mark.parametrize(
        "write",
        [
            replace(storing(), access=(an_access_record(status=2**70),)),
            storing(key_ref="\ud800"),
        ],
        ids=["a number beyond 64 bits", "a lone surrogate"],
    )
    def test_nothing_but_errors_of_the_vault_gets_out(self, run, storage, write) -> None:
        with pytest.raises(VaultError):
            run(storage.commit([write]))

    @pytest.mark.parametrize(
        "equals", [{"status": 2**70}, {"app": "\ud800"}], ids=["a number beyond 64 bits", "a lone surrogate"]
    )
    def test_a_filter_that_no_row_can_match_finds_nothing_or_is_refused(self, run, filled, equals) -> None:
        with contextlib.suppress(VaultError):
            assert not run(filled.access_log(LogQuery(limit=5, equals=equals)))

    def test_a_row_that_the_database_refuses_is_an_audit_row_that_could_not_be_written(self, run, storage) -> None:
        with pytest.raises(AuditUnavailable):
            run(storage.commit([replace(storing(), access=(an_access_record(count=0),))]))

    def test_no_word_of_the_driver_is_in_the_error(self, run, storage) -> None:
        with pytest.raises(VaultError) as refused:
            run(storage.commit([replace(storing(), access=(an_access_record(count=0),))]))
        assert "CHECK" not in str(refused.value)
        assert "access_log" not in str(refused.value)


class TestBytesThatWerePurged:
    MARKER = b"PURGED-MARKER-\x00\xff-" + bytes(range(64, 96))

    @pytest.mark.parametrize("size", [100, 5_000, 300_000])
    @pytest.mark.parametrize("how", ["removed", "overwritten", "replaced"])
    def test_the_files_hold_no_byte_of_a_value_after_its_purge_and_a_checkpoint(
        self, run, storage, path, how, size
    ) -> None:
        value = (self.MARKER * (size // len(self.MARKER) + 1))[:size]
        changes = {
            "removed": RemoveEntry(KEY),
            "overwritten": OverwriteEntry(KEY, bytes(size), T0, "crypto-shred"),
            "replaced": StoreEntry(an_entry(value=b"new"), b"new"),
        }
        run(storage.commit([storing(f"neighbour-{n}", bytes(700)) for n in range(20)] + [storing(value=value)]))
        assert self.MARKER in everything(path)
        run(storage.commit([a_write(changes[how])]))
        run(storage._writer.run(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()))
        assert self.MARKER not in everything(path)
        assert self.MARKER[-24:] not in everything(path)

    def purge(self, run, storage: SqliteStorage, value: bytes) -> None:
        run(storage.commit([storing(value=value)]))
        run(storage.commit([a_write(RemoveEntry(KEY), purges=(a_purge_record(),))]))

    async def gone(self, path: Path) -> None:
        """Return when no file contains the marker. The caller sets the time limit."""
        while self.MARKER in everything(path):  # noqa: ASYNC110 - nobody says when
            await asyncio.sleep(0.02)

    def test_soon_after_a_purge_its_bytes_are_gone_without_anybody_asking(self, run, quick_storage, path) -> None:
        self.purge(run, quick_storage, self.MARKER * 10)
        assert self.MARKER in everything(path)
        run(asyncio.wait_for(self.gone(path), BOUND_SECONDS))

    def test_the_second_purge_is_followed_up_like_the_first(self, run, quick_storage, path) -> None:
        for _ in range(3):
            self.purge(run, quick_storage, self.MARKER * 10)
            run(asyncio.wait_for(self.gone(path), BOUND_SECONDS))

    def test_a_reader_of_another_process_delays_it_and_does_not_prevent_it(self, run, quick_storage, path) -> None:
        run(quick_storage.commit([storing(value=self.MARKER * 10)]))
        with opened(path) as other:
            other.execute("BEGIN")
            other.execute("SELECT count(*) FROM entries").fetchone()
            run(quick_storage.commit([a_write(RemoveEntry(KEY), purges=(a_purge_record(),))]))
            run(asyncio.sleep(0.3))
            assert self.MARKER in everything(path)
            assert list(run(quick_storage.commit([storing("meanwhile")]))) == [Committed()]
            other.execute("COMMIT")
        run(asyncio.wait_for(self.gone(path), BOUND_SECONDS))

    def test_a_writer_of_another_process_delays_it_and_does_not_prevent_it(self, run, quick_storage, path) -> None:
        self.purge(run, quick_storage, self.MARKER * 10)
        with opened(path) as other:
            other.execute("BEGIN IMMEDIATE")
            run(asyncio.sleep(0.3))
            other.execute("COMMIT")
        run(asyncio.wait_for(self.gone(path), BOUND_SECONDS))

    def test_closing_leaves_nothing_of_a_purge(self, run, path) -> None:
        storage = run(SqliteStorage.open(path))
        run(storage.migrate())
        self.purge(run, storage, self.MARKER * 10)
        run(storage.close())
        assert self.MARKER not in everything(path)

    def test_a_purged_key_ref_is_not_found_either(self, run, storage, path) -> None:
        run(storage.commit([storing(f"n{n}") for n in range(50)] + [storing(key_ref="KEYREF-MARKER")]))
        run(storage.commit([a_write(RemoveEntry(KEY))]))
        run(storage._writer.run(lambda c: c.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()))
        assert b"KEYREF-MARKER" not in everything(path)


def everything(path: Path) -> bytes:
    return b"".join(file.read_bytes() for file in sorted(path.parent.glob(path.name + "*")))


WRITER = """
import asyncio, pathlib, sys
from vsqlvault.interfaces.writes import (Committed)
from vsqlvault.testing import storing
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

async def main():
    storage = await SqliteStorage.open(pathlib.Path(sys.argv[1]))
    await storage.migrate()
    batch = 0
    while True:
        writes = [storing(f"b{batch}-{n}", b"%d" % batch * 200) for n in range(10)]
        assert list(await storage.commit(writes)) == [Committed()] * 10
        print(batch, flush=True)
        batch += 1

asyncio.run(main())
"""


class TestKill:
    @pytest.mark.parametrize("acknowledged", [1, 20, 150])
    def test_every_acknowledged_write_is_there_after_a_kill_and_batches_are_whole(
        self, run, path, acknowledged
    ) -> None:
        process = start_python(WRITER, str(path))
        assert process.stdout is not None
        last = -1
        while last < acknowledged:
            last = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        rest, _ = process.communicate(timeout=30)
        last = int((rest.split() or [str(last)])[-1])
        assert process.returncode == -signal.SIGKILL

        storage = run(SqliteStorage.open(path))
        keys = [EntryKey("card", f"b{batch}-{n}") for batch in range(last + 3) for n in range(10)]
        found = run(storage.read([Read(key, with_value=True) for key in keys]))
        rows = len(run(storage.access_log(LogQuery(limit=100_000))))
        run(storage.close())
        whole = [sum(snapshot.entry is not None for snapshot in found[n : n + 10]) for n in range(0, len(found), 10)]
        assert whole[: last + 1] == [10] * (last + 1)
        assert set(whole) <= {0, 10}
        assert rows == sum(whole)


PURGER = """
import asyncio, os, pathlib, sys
from vsqlvault.interfaces.writes import (RemoveEntry)
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing import a_purge_record, a_write, storing
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

async def main():
    storage = await SqliteStorage.open(pathlib.Path(sys.argv[1]))
    await storage.migrate()
    await storage.commit([storing(value=bytes.fromhex(sys.argv[2]) * 10)])
    await storage.commit([a_write(RemoveEntry(EntryKey("card", "pay-1")), purges=(a_purge_record(),))])
    os._exit(0)

asyncio.run(main())
"""


class TestKillAfterAPurge:
    def test_its_bytes_are_gone_soon_after_the_vault_is_opened_again(self, run, path) -> None:
        marker = TestBytesThatWerePurged.MARKER
        process = start_python(PURGER, str(path), marker.hex())
        assert process.communicate(timeout=60) == ("", "")
        assert marker in everything(path)
        storage = run(SqliteStorage.open(path, truncate_after_seconds=0.05))
        run(storage.migrate())
        for _ in range(100):
            run(asyncio.sleep(0.02))
        found = marker in everything(path)
        run(storage.close())
        assert not found


class TestClock:
    def test_reads_tell_the_clock_that_was_given(self, run, path) -> None:
        storage = run(SqliteStorage.open(path, lambda: T0))
        run(storage.migrate())
        (snapshot,) = run(storage.read([Read()]))
        run(storage.close())
        assert snapshot.now == T0

    def test_times_lie_in_the_file_as_microseconds(self, run, storage, path) -> None:
        run(storage.commit([storing()]))
        with opened(path) as connection:
            assert connection.execute("SELECT created_at FROM entries").fetchone() == (to_micros(T0),)


class TestRowsPutThereByHand:
    """A row that no program of the vault wrote is answered with unavailable and logged, and affects no other request."""

    COLUMNS = {
        "access_log": ("operation", "'teleport'"),
        "purge_log": ("reason", "'whim'"),
        "entries": ("encoding", "'rot13'"),
        "access_policies": ("rules", "'[]'"),
        "retention_policies": ("created_at", "'yesterday'"),
        "sweeps": ("finished_at", "9223372036854775807"),
    }
    LOOKS: dict[str, Callable[[Storage], Coroutine[Any, Any, Any]]] = {
        "access_log": lambda storage: storage.access_log(LogQuery(limit=5)),
        "purge_log": lambda storage: storage.purge_log(LogQuery(limit=5)),
        "entries": lambda storage: storage.entries(EntryQuery(purpose="card", now=T0, limit=5)),
        "access_policies": lambda storage: storage.policy_snapshot(),
        "retention_policies": lambda storage: storage.policy_snapshot(),
        "sweeps": lambda storage: storage.last_sweep(),
    }

    @pytest.fixture
    def spoilt(self, run, storage, path) -> Callable[[str], None]:
        changes = (
            SaveAccessPolicy(an_access_policy()),
            SaveRetentionPolicy(a_retention_policy()),
            SaveSweep(a_sweep()),
        )
        run(storage.commit([storing(), a_write(*changes, purges=(a_purge_record(),))]))

        def spoil(table: str) -> None:
            column, value = self.COLUMNS[table]
            with opened(path) as connection:
                for name in LOGS:
                    connection.execute(f"DROP TRIGGER {name}_no_update")
                connection.execute(f"UPDATE {table} SET {column} = {value}")

        return spoil

    @pytest.mark.parametrize("table", COLUMNS)
    def test_a_row_that_no_program_wrote_is_unavailable(self, run, storage, spoilt, caplog, table) -> None:
        run(self.LOOKS[table](storage))
        spoilt(table)
        with pytest.raises(Unavailable) as refused:
            run(self.LOOKS[table](storage))
        assert "a stored row cannot be decoded" in caplog.messages
        assert self.COLUMNS[table][1].strip("'") not in f"{refused.value} {refused.value.detail} {caplog.text}"

    def test_reads_that_share_its_batch_are_answered(self, run, storage, spoilt) -> None:
        spoilt("entries")
        run(storage.commit([storing("sound")]))

        async def both() -> list[Any]:
            queue = CommitQueue(storage, StorageClock(), max_batch=10, max_waiting=10)
            keys = [EntryKey("card", name) for name in ("pay-1", "sound")]
            return await asyncio.gather(*(queue.read(key) for key in keys), return_exceptions=True)

        bad, sound = run(both())
        assert isinstance(bad, Unavailable)
        assert sound.entry.external_id == "sound"
