"""The commit path without HTTP, beside the same work with a transaction per request."""

import asyncio
import secrets
import sqlite3
import time

import pytest

from vsqlvault.config import load_settings
from vsqlvault.interfaces.writes import EntryIs, RevisionIs, StoreEntry, Write
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry, EntryKey, ValueEncoding
from vsqlvault.model.times import utc_now
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault_plugins.storage.sqlite import rows
from vsqlvault_plugins.storage.sqlite.connection import Connection
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES

VALUE = b"x" * 1024
KEYS = 512
ROUNDS = 5


def an_entry(key):
    now = utc_now()
    return Entry(
        key.purpose, key.external_id, secrets.token_hex(16), 1, ValueEncoding.UTF_8, "0" * 64, len(VALUE), None, "key-v1",
        "{}", "payments", None, "owner-only", now, now, now.replace(year=now.year + 1),
    )  # fmt: skip


def a_row(operation, key):
    return AccessRecord(
        at=utc_now(), request_id=secrets.token_hex(16), operation=operation, outcome=Outcome.GRANTED, status=200,
        purpose=key.purpose, external_id=key.external_id, app="payments", method="api-key", credential_id="sha256:0",
        client_address="127.0.0.1", policy="owner-only", policy_version=1,
    )  # fmt: skip


def keys(count):
    return [EntryKey("card", f"payment-{number}") for number in range(count)]


class Queued:
    """PUT and GET as the service does them: through the commit queue, with guards."""

    def __init__(self, storage, max_batch):
        self.queue = CommitQueue(storage, StorageClock(), max_batch=max_batch, max_waiting=4096)

    async def put(self, key):
        """Store one entry."""
        write = Write((a_row(Operation.STORE, key),), (RevisionIs(1),), (StoreEntry(an_entry(key), VALUE),))
        await self.queue.commit(write)

    async def get(self, key):
        """Retrieve one entry."""
        snapshot = await self.queue.read(key, with_value=True)
        expects = (EntryIs(key, snapshot.entry.stamp), RevisionIs(snapshot.revision))
        await self.queue.commit(Write((a_row(Operation.RETRIEVE, key),), expects))


class StatementByStatement:
    """The same rows as most services would write them: a transaction per request, a hop per statement."""

    def __init__(self, connection):
        self.connection = connection
        self.lock = asyncio.Lock()

    async def put(self, key):
        """Store one entry."""
        async with self.lock:
            await self._run("BEGIN IMMEDIATE")
            await self._run(QUERIES["revision"])
            await self._run(QUERIES["put_entry"], rows.row_of_entry(an_entry(key), VALUE))
            await self._row(Operation.STORE, key)

    async def get(self, key):
        """Retrieve one entry."""
        async with self.lock:
            await self._run("BEGIN IMMEDIATE")
            await self._run(QUERIES["revision"])
            cursor = await self._run(QUERIES["entry_with_value"], key)
            await self.connection.run(lambda _: cursor.fetchone())
            await self._row(Operation.RETRIEVE, key)

    async def _run(self, sql, parameters=()):
        return await self.connection.run(sqlite3.Connection.execute, sql, parameters)

    async def _row(self, operation, key):
        await self._run(QUERIES["put_access_row"], rows.row_of_access(a_row(operation, key)))
        await self._run("COMMIT")


async def drive(work, callers, operations):
    """Return operations per second of ``callers`` callers that each wait for their answer before they ask again."""
    every = keys(KEYS)

    async def caller(number):
        for turn in range(operations // callers):
            await work(every[(number * 7 + turn * callers) % KEYS])

    started = time.perf_counter()
    await asyncio.gather(*(caller(number) for number in range(callers)))
    return operations / (time.perf_counter() - started)


async def prepared(folder):
    storage = await SqliteStorage.open(folder / "vault.db")
    await storage.migrate()
    filling = Queued(storage, 256)
    await asyncio.gather(*(filling.put(key) for key in keys(KEYS)))
    return storage


@pytest.mark.parametrize("kind", ["PUT", "GET"])
@pytest.mark.parametrize(
    ("way", "callers", "operations"),
    [
        ("commit path", 64, 6400),
        ("commit path", 1, 400),
        ("a transaction per request, one hop", 64, 1280),
        ("a transaction per request, statement by statement", 64, 640),
    ],
)
def test_commit_path(benchmark, tmp_path, found, kind, way, callers, operations):
    """Benchmark one way of doing one kind of request."""
    assert load_settings(None, {}).storage.max_batch == 256
    with asyncio.Runner() as runner:
        storage = runner.run(prepared(tmp_path))
        if way.endswith("statement by statement"):
            connection = runner.run(_connected(tmp_path))
            target = StatementByStatement(connection)
        else:
            target = Queued(storage, 256 if way == "commit path" else 1)
        work = target.put if kind == "PUT" else target.get
        rates = []
        benchmark.pedantic(
            lambda: rates.append(runner.run(drive(work, callers, operations))), rounds=ROUNDS, warmup_rounds=1
        )
        name = f"{kind} {way}, {callers} caller{'s' if callers > 1 else ''}, ops/s"
        found[name] = sorted(rates)[len(rates) // 2]
        if way.endswith("statement by statement"):
            runner.run(connection.close())
        runner.run(storage.close())


async def _connected(folder):
    connection = await Connection.open(folder / "vault.db")
    for name in ("pragma_busy_timeout", "pragma_synchronous", "pragma_secure_delete"):
        await connection.run(sqlite3.Connection.execute, QUERIES[name])
    return connection
