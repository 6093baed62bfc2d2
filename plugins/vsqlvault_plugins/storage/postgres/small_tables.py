"""Leases, cursors, uses of credentials, the clock and secrets: what changes on its own, outside a batch."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from vsqlvault.interfaces.storage import ClockReading
from vsqlvault.model.credential import CredentialName
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection


async def settled_position(connection: Connection, log: str) -> int:
    """Return the position before which no row can be inserted any more, so that a reader with a cursor misses none.

    Positions are assigned before the commit. This therefore waits, for the time of a flush, until no batch is in
    progress.
    """
    async with connection.transaction():
        await connection.execute(QUERIES["lock_rules"])
        return int(await connection.fetchval(QUERIES["newest_position"].format(log=log)))


async def acquire_lease(connection: Connection, name: str, holder: str, seconds: float) -> bool:
    """Take or renew a lease, unless another holder's lease has not expired."""
    return bool(await connection.fetchval(QUERIES["acquire_lease"], name, holder, seconds))


async def release_lease(connection: Connection, name: str, holder: str) -> None:
    """Release a lease if ``holder`` has it."""
    await connection.execute(QUERIES["release_lease"], name, holder)


async def save_cursor(connection: Connection, name: str, position: int) -> None:
    """Move a cursor forward."""
    await connection.execute(QUERIES["save_cursor"], name, position)


async def record_usages(connection: Connection, uses: Mapping[CredentialName, datetime]) -> None:
    """Record when credentials were used."""
    await connection.execute(
        QUERIES["record_usages"], [name[0] for name in uses], [name[1] for name in uses], list(uses.values())
    )


async def clock_reading(connection: Connection) -> ClockReading:
    """Return the clock and the high-water mark."""
    row = await connection.fetchrow(QUERIES["clock"])
    return ClockReading(*row)


async def raise_mark(connection: Connection, at: datetime) -> None:
    """Advance the mark, unless it is later already."""
    await connection.execute(QUERIES["raise_mark"], at)


async def secret(connection: Connection, name: str, made: bytes) -> bytes:
    """Return the secret, or store and return ``made`` if there was none."""
    await connection.execute(QUERIES["make_secret"], name, made)
    return bytes(await connection.fetchval(QUERIES["secret"], name))
