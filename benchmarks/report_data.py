"""A vault of many entries with long logs behind it, laid down in bulk: rows as the storages write them."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import islice
from typing import Any

import asyncpg

from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.testing import a_purge_record, an_access_record, an_entry
from vsqlvault_plugins.storage.postgres import rows as postgres_rows
from vsqlvault_plugins.storage.sqlite import rows as sqlite_rows
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES

VALUE = b"c" * 400
PURPOSES = ("card", "ach")
DAY = timedelta(days=1)
LOG_DAYS = 95
"""How far back the logs go: somewhat further than the report's period of ninety days."""
PART = 10_000
COLUMNS = """
SELECT array_agg(attname::text ORDER BY attnum) FROM pg_attribute
WHERE attrelid = ('vault.' || $1)::regclass AND attnum > 0 AND NOT attisdropped
"""


def entries(count: int, now: datetime) -> Iterator[Entry]:
    """Give entries of 400 days: a third is past its end and not swept, a quarter lives longer than its policy allows."""
    chance = random.Random(1)
    for number in range(count):
        created = now - timedelta(seconds=chance.randrange(400 * 86_400))
        yield an_entry(
            f"e{number}", VALUE, purpose=chance.choice(PURPOSES), created_at=created, updated_at=created,
            expires_at=created + DAY * chance.choice([90, 200, 360, 900]), key_ref=f"akv:kv:k{chance.randrange(40)}",
            algorithm_hint=chance.choice([None, "AES-256-GCM", "AES-256-GCM-SIV"]),
            owner_app=f"app-{chance.randrange(8)}",
        )  # fmt: skip


def accesses(count: int, now: datetime) -> Iterator[AccessRecord]:
    """Give rows of the access log in the order of their times, give or take a second; one in twenty is of a denial."""
    chance = random.Random(2)
    for number in range(count):
        denied = chance.random() < 0.05
        age = LOG_DAYS * DAY * (1 - number / count) + timedelta(milliseconds=chance.randrange(1_000))
        yield an_access_record(
            at=now - age,
            operation=chance.choice([Operation.RETRIEVE, Operation.STORE, Operation.INSPECT]),
            outcome=Outcome.DENIED if denied else Outcome.GRANTED,
            reason=chance.choice(["app-not-allowed", "purpose-not-held"]) if denied else None,
            purpose=chance.choice(PURPOSES), external_id=f"e{chance.randrange(count)}",
            app=f"app-{chance.randrange(8)}", client_address="192.0.2.7",
        )  # fmt: skip


def purges(count: int, now: datetime) -> Iterator[PurgeRecord]:
    """Give rows of the purge log in the order of their times, each up to 25 hours after the entry's expiry."""
    chance = random.Random(3)
    for number in range(count):
        purged = now - LOG_DAYS * DAY * (1 - number / count)
        yield a_purge_record(
            an_entry(f"p{number}", VALUE, purpose=chance.choice(PURPOSES), key_ref=f"akv:kv:k{chance.randrange(50)}"),
            purged_at=purged, expired_at=purged - timedelta(microseconds=chance.randrange(90_000_000_000)),
            reason=chance.choice([PurgeReason.EXPIRED, PurgeReason.REQUESTED]),
        )  # fmt: skip


def parts(records: Iterator[Any]) -> Iterator[list[Any]]:
    """Give lists of so many at a time."""
    while part := list(islice(records, PART)):
        yield part


def fill_sqlite(file: str, count: int, purge_count: int, now: datetime) -> None:
    """Fill the file of an empty vault."""
    connection = sqlite3.connect(file, isolation_level=None)
    connection.execute(QUERIES["begin_write"])
    for entry in entries(count, now):
        connection.execute(QUERIES["put_entry"], sqlite_rows.row_of_entry(entry, VALUE))
    for row in accesses(count, now):
        connection.execute(QUERIES["put_access_row"], sqlite_rows.row_of_access(row))
    for purge in purges(purge_count, now):
        connection.execute(QUERIES["put_purge_row"], sqlite_rows.row_of_purge(purge))
    connection.execute(QUERIES["commit"])
    connection.close()


async def fill_postgresql(url: str, count: int, purge_count: int, now: datetime) -> None:
    """Fill the database of an empty vault, and let vacuum see it as it would by itself within a minute."""
    connection = await asyncpg.connect(url)

    async def copy(table: str, part: list[tuple[Any, ...]], type_name: str, skip: int) -> None:
        names = await connection.fetchval(COLUMNS, type_name)
        rows = [row[skip:] for row in part]
        await connection.copy_records_to_table(table, schema_name="vault", columns=names[skip:], records=rows)

    for part in parts(entries(count, now)):
        await copy("entries", [postgres_rows.put_of(1, True, entry, VALUE) for entry in part], "entry_put", 2)
    for part in parts(accesses(count, now)):
        await copy("access_log", [postgres_rows.access_row(1, row) for row in part], "access_row", 1)
    for part in parts(purges(purge_count, now)):
        await copy("purge_log", [postgres_rows.purge_row(1, row) for row in part], "purge_row", 1)
    await connection.execute("VACUUM (ANALYZE)")
    await connection.close()
