"""Leases, cursors, uses of credentials, the clock and secrets: what changes on its own, outside a batch."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta

from vsqlvault.interfaces.storage import ClockReading
from vsqlvault.model.credential import CredentialName
from vsqlvault.model.times import from_micros, to_micros
from vsqlvault_plugins.storage.sqlite.transactions import QUERIES, transaction


def acquire_lease(
    connection: sqlite3.Connection, name: str, holder: str, seconds: float, clock: Callable[[], datetime]
) -> bool:
    """Take or renew a lease, unless another holder's lease has not expired. A new one removes those that have expired."""
    with transaction(connection, "begin_write"):
        now = clock()
        if connection.execute(QUERIES["knows_lease"], {"name": name}).fetchone() is None:
            connection.execute(QUERIES["drop_expired_leases"], {"name": name, "now": to_micros(now)})
        cursor = connection.execute(
            QUERIES["acquire_lease"],
            {
                "name": name,
                "holder": holder,
                "now": to_micros(now),
                "expires_at": to_micros(now + timedelta(seconds=seconds)),
            },
        )
        return cursor.rowcount == 1


def release_lease(connection: sqlite3.Connection, name: str, holder: str) -> None:
    """Release a lease if ``holder`` has it."""
    with transaction(connection, "begin_write"):
        connection.execute(QUERIES["release_lease"], {"name": name, "holder": holder})


def save_cursor(connection: sqlite3.Connection, name: str, position: int) -> None:
    """Move a cursor forward."""
    with transaction(connection, "begin_write"):
        connection.execute(QUERIES["save_cursor"], {"name": name, "position": position})


def record_usages(connection: sqlite3.Connection, uses: Mapping[CredentialName, datetime]) -> None:
    """Record when credentials were used."""
    with transaction(connection, "begin_write"):
        connection.executemany(
            QUERIES["record_usage"],
            [{"method": name[0], "credential_id": name[1], "at": to_micros(at)} for name, at in uses.items()],
        )


def clock_reading(connection: sqlite3.Connection, clock: Callable[[], datetime]) -> ClockReading:
    """Return the clock and the high-water mark."""
    (mark,) = connection.execute(QUERIES["mark"]).fetchone()
    return ClockReading(clock(), None if mark is None else from_micros(mark))


def raise_mark(connection: sqlite3.Connection, at: datetime) -> None:
    """Advance the mark, unless it is later already."""
    with transaction(connection, "begin_write"):
        connection.execute(QUERIES["raise_mark"], {"at": to_micros(at)})


def secret(connection: sqlite3.Connection, name: str, made: bytes) -> bytes:
    """Return the secret, or store and return ``made`` if there was none."""
    with transaction(connection, "begin_write"):
        connection.execute(QUERIES["make_secret"], (name, made))
        (value,) = connection.execute(QUERIES["secret"], (name,)).fetchone()
    return bytes(value)
