"""Removes purged bytes from the data files by rewriting the affected partitions of ``entries``, one by one.

A row that is deleted or overwritten leaves its bytes behind, and so does plain VACUUM (docs/decisions/0017-scrub.md).
VACUUM FULL rewrites a partition from its live rows, while requests for that partition wait. It keeps rows that an old
snapshot may need, so the horizon is checked before, and the result afterwards.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import asyncpg

from vsqlvault.interfaces.purge_storage import ScrubOutcome
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.postgres.failures import answered
from vsqlvault_plugins.storage.postgres.schema import MAINTAIN_SINCE
from vsqlvault_plugins.storage.postgres.small_tables import settled_position

PARTS = 16
LOCK_WAIT_SECONDS = 0.2
"""Requests that arrive while the scrub waits for the lock queue up behind it."""
PAUSE_SECONDS = 0.1
REST_SECONDS = 1.0
RESTORE_TRIES = 20
"""After each partition the scrub pauses for as long as its lock was held, but no longer than this."""


@dataclass(frozen=True, slots=True)
class ScrubPatience:
    """How long a scrub waits for old snapshots to end, and how often it tries to lock a partition."""

    horizon_seconds: float = 3.0
    tries: int = 5


DEFAULT_PATIENCE = ScrubPatience()


@dataclass(frozen=True, slots=True)
class _Part:
    number: int
    name: str
    through: int
    is_due: bool
    is_permitted: bool


def longest_seconds(lock_seconds: float, patience: ScrubPatience = DEFAULT_PATIENCE) -> float:
    """Return the maximum duration of a scrub that stops each partition after ``lock_seconds``."""
    each = lock_seconds + patience.tries * (LOCK_WAIT_SECONDS + PAUSE_SECONDS) + REST_SECONDS
    return PARTS * each + patience.horizon_seconds + 30


async def scrub(
    connection: Connection, lock_seconds: float, patience: ScrubPatience = DEFAULT_PATIENCE
) -> ScrubOutcome | None:
    """Rewrite the partitions from which entries were purged since their last rewrite.

    Return None if there is none and this is recorded. A scrub may have been killed before its record was written.
    """
    if not await connection.fetchval(QUERIES["try_lock_scrub"]):
        through = await connection.fetchval(QUERIES["scrubbed_through"])
        return ScrubOutcome(through, 0, ("another process is scrubbing",))
    try:
        return await _scrub(connection, lock_seconds, patience)
    finally:
        with suppress(Exception):
            await connection.execute(QUERIES["unlock_scrub"])


async def _scrub(connection: Connection, lock_seconds: float, patience: ScrubPatience) -> ScrubOutcome | None:
    newest = await settled_position(connection, "purge_log")
    horizon = await connection.fetchval(QUERIES["horizon_now"])
    parts = await _parts(connection, newest)
    due = [part for part in parts if part.is_due]
    idle = [part.number for part in parts if not part.is_due]
    await connection.execute(QUERIES["scrubbed_part"], idle, newest)
    if not due:
        if not await connection.fetchval(QUERIES["is_off_record"], newest):
            return None
        return ScrubOutcome(await connection.fetchval(QUERIES["scrubbed_through"]), 0)
    left = await _obstacles(connection, due, horizon, patience.horizon_seconds)
    rewritten = 0
    now = asyncio.get_running_loop().time
    for part in due if not left else ():
        began = now()
        if trouble := await _rewrite(connection, part, horizon, lock_seconds, patience.tries):
            left.append(f"{part.name}: {trouble}")
        else:
            rewritten += 1
            await connection.execute(QUERIES["scrubbed_part"], [part.number], newest)
        await asyncio.sleep(min(now() - began, REST_SECONDS))
    return ScrubOutcome(await connection.fetchval(QUERIES["scrubbed_through"]), rewritten, tuple(left))


async def _parts(connection: Connection, newest: int) -> list[_Part]:
    maintains = QUERIES["maintains"] if connection.get_server_version().major >= MAINTAIN_SINCE else "false"
    found = await connection.fetch(QUERIES["scrub_parts"].format(maintains=maintains), newest)
    return [_Part(*row) for row in found]


async def _obstacles(connection: Connection, due: list[_Part], horizon: str, seconds: float) -> list[str]:
    """Return what prevents rewriting any partition, after waiting a few seconds for it to end."""
    if not all(part.is_permitted for part in due):
        role = await connection.fetchval(QUERIES["role"])
        return [f"the role {role} does not own the partitions of entries, so it may not rewrite them"]
    deadline = asyncio.get_running_loop().time() + seconds
    while True:
        holders = [str(row[0]) for row in await connection.fetch(QUERIES["horizon_holders"], horizon)]
        if not holders and await connection.fetchval(QUERIES["open_transactions"], horizon):
            holders = ["an open transaction"]
        if not holders:
            return []
        if asyncio.get_running_loop().time() > deadline:
            return [f"purged rows are still kept for {holder}" for holder in holders]
        await asyncio.sleep(PAUSE_SECONDS)


async def _rewrite(connection: Connection, part: _Part, horizon: str, lock_seconds: float, tries: int) -> str | None:
    """Rewrite one partition. Return what prevented it, or None if the rewrite was verified."""
    usual = tuple(await connection.fetchrow(QUERIES["usual_waiting"]))
    for _ in range(tries):
        try:
            await connection.execute(QUERIES["limit_waiting"], _millis(LOCK_WAIT_SECONDS), _millis(lock_seconds))
            await connection.execute(QUERIES["rewrite_part"].format(name=part.name))
        except asyncpg.LockNotAvailableError:
            await asyncio.sleep(PAUSE_SECONDS)
        except asyncpg.QueryCanceledError:
            return f"rewriting it takes longer than {lock_seconds:g} seconds"
        except asyncpg.PostgresError as error:
            if not answered(error):
                raise
            return f"the server could not rewrite it (SQLSTATE {error.sqlstate})"
        else:
            if await connection.fetchval(QUERIES["is_rewritten"], part.name, horizon):
                return None
            return "purged rows are still kept for a snapshot that this role cannot see"
        finally:
            await _restore(connection, usual)
    return "it was in use at each attempt"


async def _restore(connection: Connection, usual: tuple[str, ...]) -> None:
    """Set the usual limits again. The limit of the rewrite applies to this statement too, so it may need several tries."""
    for _ in range(RESTORE_TRIES):
        with suppress(asyncpg.QueryCanceledError):
            await connection.execute(QUERIES["limit_waiting"], *usual)
            return
    await connection.execute(QUERIES["limit_waiting"], *usual)


def _millis(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
