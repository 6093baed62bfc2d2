"""A vault of many entries with long logs behind it, as writes that a storage commits."""

from __future__ import annotations

import random
from collections.abc import Iterator
from datetime import datetime, timedelta

from vsqlvault.interfaces.writes import StoreEntry, Write
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.testing import a_purge_record, an_access_record, an_entry

VALUE = b"c" * 400
PURPOSES = ("card", "ach")
DAY = timedelta(days=1)
LOG_DAYS = 95
"""How far back the logs go: somewhat further than the report's period of ninety days."""
ROWS_FOR_A_PURGE = 10


def writes(count: int, now: datetime) -> Iterator[Write]:
    """Give writes that each store an entry and leave a row, and, each tenth, a row of a purge."""
    purged = purges(count // ROWS_FOR_A_PURGE, now)
    for number, (entry, row) in enumerate(zip(entries(count, now), accesses(count, now), strict=True), 1):
        purge = (next(purged),) if number % ROWS_FOR_A_PURGE == 0 else ()
        yield Write((row,), changes=(StoreEntry(entry, VALUE),), purges=purge)


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
