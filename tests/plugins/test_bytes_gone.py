"""Bytes that were purged are searched for in the storages' own files, for values from 64 bytes to a megabyte."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import sqlite3
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import pytest

from tests.support.postgres import PostgresServer
from vsqlvault.errors import StorageUnavailable
from vsqlvault.interfaces.purge_storage import ScrubOutcome
from vsqlvault.interfaces.storage import Read, Storage
from vsqlvault.interfaces.writes import RemoveEntry
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.principal import Role
from vsqlvault.service.entries.requests import Preconditions, StoreRequest
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call, a_purge_record, a_retention_policy, a_vault, a_write, storing
from vsqlvault_plugins.storage.postgres import scrub as postgres_scrub
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.postgres.scrub import DEFAULT_PATIENCE, ScrubPatience
from vsqlvault_plugins.storage.postgres.storage import PostgresStorage, PostgresTuning
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

SIZES = (64, 500, 1_990, 2_100, 9_000, 100_000, 1_000_000)
EACH = 6
SECONDS = 30.0
ADMIN = a_call("vault-admin", Role.ADMIN)
OWNER = a_call("payments")
Run = Callable[[Coroutine[Any, Any, Any]], Any]
Count = Callable[[bytes], int]


@pytest.fixture
def run() -> Iterator[Run]:
    with asyncio.Runner() as runner:
        yield lambda coroutine: runner.run(asyncio.wait_for(coroutine, 120))


@pytest.fixture
def gone() -> bytes:
    """32 bytes that stand in what is purged."""
    return secrets.token_hex(16).encode()


@pytest.fixture
def kept() -> bytes:
    """32 bytes that stand in what is not."""
    return secrets.token_hex(16).encode()


def occurrences(directory: Path, marker: bytes) -> int:
    """Count the marker in all files of a directory."""
    count = 0
    for path in directory.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                count += path.read_bytes().count(marker)
    return count


def marked(marker: bytes, size: int) -> bytes:
    return (marker * (size // len(marker) + 1))[:size]


async def live_and_die(vault: Vault, gone: bytes, kept: bytes) -> None:
    """Store entries of all sizes, use them, and purge those with one marker in every way there is."""
    for purpose, method in (("card", "physical-delete"), ("cold", "crypto-shred"), ("due", "physical-delete")):
        await vault.rules.policies.save_retention_policy(ADMIN, a_retention_policy(purpose, purge_method=method))
    for purpose in ("card", "cold"):
        for size in SIZES:
            for number in range(EACH):
                key = EntryKey(purpose, f"{size}-{number}")
                await vault.entries.store(OWNER, key, wanted(marked(gone, size)))
                await vault.entries.store(
                    OWNER, EntryKey(purpose, f"kept-{key.external_id}"), wanted(marked(kept, size))
                )
                if number % 2:  # a version that a new one takes the place of is a purged one, too
                    await vault.entries.store(OWNER, key, wanted(marked(gone, size)[::-1] + gone))
                await vault.entries.retrieve(OWNER, key)
                await vault.entries.purge(OWNER, key, Preconditions())


async def expire(vault: Vault, gone: bytes) -> None:
    """Store entries of all sizes that have ended: only a sweep purges them."""
    now = (await vault.queue.read()).now
    ended = {"created_at": now.replace(year=now.year - 1), "expires_at": now}
    await vault.storage.commit([storing(f"due-{size}", marked(gone, size), purpose="due", **ended) for size in SIZES])


def wanted(value: bytes) -> StoreRequest:
    return StoreRequest(value, ValueEncoding.UTF_8, None, None, "{}", None, "owner-only")


async def all_kept(vault: Vault, kept: bytes) -> bool:
    for purpose in ("card", "cold"):
        for size in SIZES:
            found = await vault.entries.retrieve(OWNER, EntryKey(purpose, f"kept-{size}-0"))
            assert found.value == marked(kept, size)
    return True


class TestSqlite:
    def test_after_deletes_nothing_is_left_within_seconds(
        self, run: Run, tmp_path: Path, gone: bytes, kept: bytes
    ) -> None:
        async def purge() -> None:
            async with sqlite_vault(tmp_path) as vault:
                await live_and_die(vault, gone, kept)
                assert occurrences(tmp_path, gone) > 0, "as long as the log is not emptied"
                async with asyncio.timeout(20):
                    while occurrences(tmp_path, gone):  # noqa: ASYNC110 - there is nothing to be woken by
                        await asyncio.sleep(0.1)
                assert occurrences(tmp_path, kept) > 0

        run(purge())

    def test_after_a_sweep_nothing_is_left_at_once(self, run: Run, tmp_path: Path, gone: bytes, kept: bytes) -> None:
        async def purge() -> None:
            async with sqlite_vault(tmp_path) as vault:
                await live_and_die(vault, gone, kept)
                await expire(vault, gone)
                count = await vault.purge.sweeper.sweep(ADMIN)
                assert count.purged == len(SIZES)
                assert count.scrub is not None
                assert count.scrub.completed
                assert occurrences(tmp_path, gone) == 0
                assert await all_kept(vault, kept)

        run(purge())

    def test_under_readers_that_never_rest_the_log_is_emptied_at_the_first_try(self, run: Run, tmp_path: Path) -> None:
        async def purge() -> None:
            async with sqlite_vault(tmp_path, scrub_seconds=0.0) as vault:
                await vault.rules.policies.save_retention_policy(ADMIN, a_retention_policy("card"))
                await vault.entries.store(OWNER, EntryKey("card", "lives"), wanted(b"x" * 1000))
                readers = [asyncio.create_task(read_for_ever(vault)) for _ in range(16)]
                readers.append(asyncio.create_task(read_slowly_for_ever(vault.storage)))
                for number in range(3):
                    key = EntryKey("card", f"e{number}")
                    await vault.entries.store(OWNER, key, wanted(b"y" * 1000))
                    await vault.entries.purge(OWNER, key, Preconditions())
                    record = await vault.purge.scrubber.scrub(ADMIN, lock_seconds=0)
                    assert record is not None
                    assert record.completed
                for reader in readers:
                    reader.cancel()
                await asyncio.gather(*readers, return_exceptions=True)

        run(purge())

    def test_a_reader_of_old_pages_in_another_process_is_reported_and_then_waited_for(
        self, run: Run, tmp_path: Path, gone: bytes, kept: bytes
    ) -> None:
        async def purge() -> None:
            async with sqlite_vault(tmp_path, scrub_seconds=0.3) as vault:
                await live_and_die(vault, gone, kept)
                await expire(vault, gone)
                other = await SqliteStorage.open(tmp_path / "vault.db")
                await other._reader.run(lambda c: c.execute("BEGIN").execute("SELECT count(*) FROM entries").fetchone())
                count = await vault.purge.sweeper.sweep(ADMIN)
                assert count.scrub is not None
                assert (count.scrub.completed, count.scrub.through) == (False, 0)
                assert count.scrub.left == "the write-ahead log: another process reads older pages"
                assert occurrences(tmp_path, gone) > 0
                await other.close()
                record = await vault.purge.scrubber.scrub(ADMIN)
                assert record is not None
                assert record.completed
                assert occurrences(tmp_path, gone) == 0

        run(purge())


async def read_for_ever(vault: Vault) -> None:
    while True:
        await vault.entries.retrieve(OWNER, EntryKey("card", "lives"))


async def read_slowly_for_ever(storage: Storage) -> None:
    def read(connection: sqlite3.Connection) -> None:
        connection.execute("BEGIN").execute("SELECT count(*) FROM entries").fetchone()
        time.sleep(0.02)
        connection.execute("COMMIT")

    assert isinstance(storage, SqliteStorage)
    while True:
        await storage._reader.run(read)


def sqlite_vault(directory: Path, **options: float) -> Any:
    return a_vault(directory, open_storage=lambda place: SqliteStorage.open(place / "vault.db", **options))


def postgres_vault(url: str, patience: ScrubPatience = DEFAULT_PATIENCE) -> Any:
    tuning = PostgresTuning(scrub=patience)
    return a_vault(Path("unused"), open_storage=lambda _: PostgresStorage.open(url, tuning=tuning))


@pytest.fixture
def data(stoppable_postgres: PostgresServer, postgres_url: str) -> Count:
    """Count a marker in the data files, once all that is in memory has been written to them."""

    def count(marker: bytes) -> int:
        stoppable_postgres.sql("CHECKPOINT")
        return occurrences(stoppable_postgres.data_directory / "base", marker)

    return count


class TestPostgres:
    def test_after_deletes_bytes_are_there_until_the_scrub_and_then_nowhere(
        self, run: Run, postgres_url: str, data: Count, gone: bytes, kept: bytes
    ) -> None:
        async def purge() -> None:
            async with postgres_vault(postgres_url) as vault:
                await live_and_die(vault, gone, kept)
                assert data(gone) > EACH
                record = await vault.purge.scrubber.scrub(ADMIN)
                assert record is not None
                assert (record.completed, record.left) == (True, None)
                assert data(gone) == 0
                assert data(kept) > 0
                assert await all_kept(vault, kept)

        run(purge())

    def test_after_a_sweep_nothing_is_left(
        self, run: Run, postgres_url: str, data: Count, gone: bytes, kept: bytes
    ) -> None:
        async def purge() -> None:
            async with postgres_vault(postgres_url) as vault:
                await live_and_die(vault, gone, kept)
                await expire(vault, gone)
                count = await vault.purge.sweeper.sweep(ADMIN)
                assert (count.purged, count.scrub is not None and count.scrub.completed) == (len(SIZES), True)
                assert data(gone) == 0
                assert await all_kept(vault, kept)

        run(purge())

    def test_an_old_snapshot_keeps_them_and_the_scrub_says_so(
        self, run: Run, postgres_url: str, data: Count, gone: bytes, kept: bytes
    ) -> None:
        async def purge() -> None:
            async with postgres_vault(postgres_url, ScrubPatience(horizon_seconds=0.2)) as vault:
                await live_and_die(vault, gone, kept)
                await expire(vault, gone)
                other = await asyncpg.connect(postgres_url, server_settings={"application_name": "pg_dump"})
                snapshot = other.transaction(isolation="repeatable_read")
                await snapshot.start()
                await other.fetchval("SELECT count(*) FROM vault.entries")
                count = await vault.purge.sweeper.sweep(ADMIN)
                pid = other.get_server_pid()
                assert count.scrub is not None
                assert (count.scrub.completed, count.scrub.rewritten, count.scrub.through) == (False, 0, 0)
                assert count.scrub.left == f"purged rows are still kept for the snapshot of session {pid} of pg_dump"
                assert data(gone) > 0
                await snapshot.rollback()
                await other.close()
                record = await vault.purge.scrubber.scrub(ADMIN)
                assert record is not None
                assert record.completed
                assert data(gone) == 0

        run(purge())

    def test_a_snapshot_that_is_not_shown_is_noticed_afterwards(
        self, run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def blind(*_: Any) -> list[str]:
            return []

        monkeypatch.setattr(postgres_scrub, "_obstacles", blind)

        async def purge() -> ScrubOutcome:
            storage = await migrated(postgres_url)
            await purge_some(storage)
            other = await asyncpg.connect(postgres_url)
            snapshot = other.transaction(isolation="repeatable_read")
            await snapshot.start()
            await other.fetchval("SELECT count(*) FROM vault.clock")
            await purge_some(storage)
            outcome = await storage.scrub(SECONDS)
            await other.close()
            await storage.close()
            assert outcome is not None
            return outcome

        outcome = run(purge())
        assert (outcome.rewritten, outcome.through) == (0, 0)
        assert len(outcome.left) == 16
        assert outcome.left[0].endswith("purged rows are still kept for a snapshot that this role cannot see")

    def test_a_role_that_owns_nothing_says_that_it_may_not_or_may_where_it_was_granted(
        self, run: Run, postgres_url: str
    ) -> None:
        owner, runtime = f"owner_{secrets.token_hex(4)}", f"runtime_{secrets.token_hex(4)}"

        async def purge() -> tuple[ScrubOutcome | None, ScrubOutcome | None]:
            beside = await asyncpg.connect(postgres_url)
            database = await beside.fetchval("SELECT current_database()")
            await beside.execute(f"CREATE ROLE {owner}; CREATE ROLE {runtime} LOGIN PASSWORD 'secret'")
            await beside.execute(f"GRANT CREATE ON DATABASE {database} TO {owner}")
            try:
                storage = await PostgresStorage.open(postgres_url, roles=Roles(owner=owner, runtime=runtime))
                await storage.migrate()
                await storage.close()
                served = await PostgresStorage.open(replaced_user(postgres_url, runtime))
                await purge_some(served)
                granted = await served.scrub(SECONDS)
                await beside.execute(f"REVOKE MAINTAIN ON ALL TABLES IN SCHEMA vault FROM {runtime}")
                await purge_some(served)
                refused = await served.scrub(SECONDS)
                await served.close()
            finally:
                await beside.execute(f"DROP SCHEMA IF EXISTS vault CASCADE; DROP OWNED BY {owner}, {runtime}")
                await beside.execute(f"DROP ROLE {owner}; DROP ROLE {runtime}")
                await beside.close()
            return granted, refused

        granted, refused = run(purge())
        assert granted is not None
        assert granted.left == ()
        assert refused is not None
        assert refused.left == (
            f"the role {runtime} does not own the partitions of entries, so it may not rewrite them",
        )
        assert refused.through == granted.through

    def test_a_part_that_takes_too_long_is_left_and_requests_wait_no_longer_than_that(
        self, run: Run, postgres_url: str
    ) -> None:
        async def purge() -> tuple[ScrubOutcome, ScrubOutcome]:
            storage = await migrated(postgres_url)
            await storage.commit([storing(f"big-{n}", os.urandom(200_000)) for n in range(64)])
            await purge_some(storage)
            short = await storage.scrub(0.001)
            long = await storage.scrub(SECONDS)
            await storage.close()
            assert short is not None
            assert long is not None
            return short, long

        short, long = run(purge())
        assert (short.rewritten, short.through) == (0, 0)
        assert short.left[0] == "vault.entries_00: rewriting it takes longer than 0.001 seconds"
        assert (long.rewritten, long.left) == (16, ())

    def test_a_part_that_is_in_use_is_left_and_the_others_are_done(self, run: Run, postgres_url: str) -> None:
        async def purge() -> tuple[ScrubOutcome, ScrubOutcome]:
            storage = await migrated(postgres_url, tuning=PostgresTuning(scrub=ScrubPatience(tries=2)))
            await purge_some(storage)
            other = await asyncpg.connect(postgres_url)
            async with other.transaction():
                await other.execute("LOCK TABLE vault.entries_07 IN ACCESS SHARE MODE")
                first = await storage.scrub(SECONDS)
            second = await storage.scrub(SECONDS)
            await other.close()
            await storage.close()
            assert first is not None
            assert second is not None
            return first, second

        first, second = run(purge())
        assert (first.rewritten, first.through) == (15, 0)
        assert first.left == ("vault.entries_07: it was in use at each attempt",)
        assert (second.rewritten, second.left) == (1, ())

    def test_only_the_parts_from_which_something_was_purged_are_rewritten(self, run: Run, postgres_url: str) -> None:
        async def purge() -> list[ScrubOutcome]:
            storage = await migrated(postgres_url)
            await purge_some(storage)
            outcomes = [await storage.scrub(SECONDS)]
            await purge_some(storage, 1)
            outcomes += [await storage.scrub(SECONDS), await storage.scrub(SECONDS)]
            await storage.close()
            return [outcome for outcome in outcomes if outcome]

        all_of_them, one, none = run(purge())
        assert (all_of_them.rewritten, one.rewritten, none.rewritten) == (16, 1, 0)
        assert all_of_them.through < one.through == none.through

    def test_of_two_that_scrub_at_once_one_does(self, run: Run, postgres_url: str) -> None:
        async def purge() -> list[ScrubOutcome | None]:
            storage, other = await migrated(postgres_url), await migrated(postgres_url)
            await purge_some(storage)
            outcomes = await asyncio.gather(storage.scrub(SECONDS), other.scrub(SECONDS))
            await storage.close()
            await other.close()
            return list(outcomes)

        outcomes = run(purge())
        assert ScrubOutcome(0, 0, ("another process is scrubbing",)) in outcomes or None in outcomes
        assert sum(outcome.rewritten for outcome in outcomes if outcome) == 16

    def test_with_one_connection_requests_have_it_while_a_scrub_runs(
        self, run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def purge() -> ScrubOutcome | None:
            scrubbing, read = asyncio.Event(), asyncio.Event()

            async def obstacles(*_: Any) -> list[str]:
                scrubbing.set()
                await read.wait()
                return []

            monkeypatch.setattr(postgres_scrub, "_obstacles", obstacles)
            storage = await migrated(postgres_url, pool_size=1)
            await purge_some(storage, 1)
            scrub = asyncio.create_task(storage.scrub(SECONDS))
            await scrubbing.wait()
            await storage.read([Read()])
            read.set()
            outcome = await scrub
            await storage.close()
            return outcome

        outcome = run(purge())
        assert outcome is not None
        assert outcome.left == ()

    def test_where_the_server_has_no_connection_to_spare_one_of_the_pool_scrubs_and_waits_as_the_others_again(
        self, run: Run, postgres_url: str
    ) -> None:
        async def purge() -> tuple[ScrubOutcome | None, list[str]]:
            storage = await migrated(postgres_url, pool_size=1)
            await purge_some(storage)
            async with contextlib.AsyncExitStack() as stack:
                with contextlib.suppress(asyncpg.TooManyConnectionsError):
                    while True:
                        stack.push_async_callback((await asyncpg.connect(postgres_url)).close)
                outcome = await storage.scrub(SECONDS)
                async with storage._connections.borrow(5) as connection:
                    shown = [
                        await connection.fetchval(f"SHOW {name}") for name in ("lock_timeout", "statement_timeout")
                    ]
            await storage.close()
            return outcome, shown

        outcome, shown = run(purge())
        assert outcome is not None
        assert outcome.left == ()
        assert shown == ["2s", "30s"]

    def test_what_the_server_refuses_is_left_and_said(
        self, run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setitem(postgres_scrub.QUERIES, "rewrite_part", "SELECT 1 / 0 /* {name} */")

        async def purge() -> ScrubOutcome | None:
            storage = await migrated(postgres_url)
            await purge_some(storage)
            outcome = await storage.scrub(SECONDS)
            await storage.close()
            return outcome

        outcome = run(purge())
        assert outcome is not None
        assert (outcome.through, outcome.rewritten, len(outcome.left)) == (0, 0, 16)
        assert outcome.left[0] == "vault.entries_00: the server could not rewrite it (SQLSTATE 22012)"

    def test_one_whose_connection_is_cut_is_finished_by_the_next(
        self, run: Run, postgres_url: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        async def purge() -> ScrubOutcome | None:
            storage = await migrated(postgres_url)
            await purge_some(storage)
            with monkeypatch.context() as patch:
                cut = "SELECT pg_terminate_backend(pg_backend_pid()) /* {name} */"
                patch.setitem(postgres_scrub.QUERIES, "rewrite_part", cut)
                with pytest.raises(StorageUnavailable):
                    await storage.scrub(SECONDS)
            outcome = await storage.scrub(SECONDS)
            await storage.close()
            return outcome

        outcome = run(purge())
        assert outcome is not None
        assert (outcome.rewritten, outcome.left) == (16, ())


async def migrated(url: str, **options: Any) -> PostgresStorage:
    storage = await PostgresStorage.open(url, **options)
    await storage.migrate()
    return storage


async def purge_some(storage: Storage, number: int = 64) -> None:
    """Store entries, and take them away again with their rows of the purge log; sixty-four are in every part."""
    writes = [storing(f"p{n}", b"cipher") for n in range(number)]
    await storage.commit(writes)
    entries = [write.changes[0].entry for write in writes]
    await storage.commit([a_write(RemoveEntry(entry.key), purges=(a_purge_record(entry),)) for entry in entries])


def replaced_user(url: str, role: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=f"{role}:secret@{parts.netloc.rpartition('@')[2]}").geturl()
