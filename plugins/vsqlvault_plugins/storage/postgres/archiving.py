"""Records of archives, and the drop of archived rows."""

from __future__ import annotations

from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.model.transparency import LogName
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql_files import load_queries

QUERIES = load_queries("vsqlvault_plugins.storage.postgres", "archiving.sql")
NOT_PERMITTED = "42501"
EXPECTED_OWNER = (
    "storage.database_url: expected the role that owns the schema, as for migrate, found one that may drop no rows"
)
TABLES = ("access_log", "purge_log", "leaves")


async def drop_archived(connection: Connection, log: LogName, first: int, limit: int) -> int | None:
    """Drop archived rows of at most ``limit`` leaves, by a function of the schema's owner. Triggers reject every other row."""
    last: int | None = await connection.fetchval(QUERIES["drop_archived"], log.value, first, limit)
    return last


async def reclaim(connection: Connection) -> bool:
    """Make the space of dropped rows usable for new ones. A role that does not own the tables leaves it to autovacuum."""
    if await connection.fetchval(QUERIES["maintains_logs"]):
        for table in TABLES:
            await connection.execute(QUERIES["give_back"].format(table=table))
    return False


async def newest_archive_is(connection: Connection, expected: NewestArchiveIs) -> bool:
    """Return whether the newest archive has this number."""
    return bool(await connection.fetchval(QUERIES["newest_archive"]) == expected.number)


async def save_archive(connection: Connection, wanted: SaveArchive) -> None:
    """Add the record of an archive."""
    made = wanted.archive
    through = (made.access_through, made.purge_through)
    await connection.execute(
        QUERIES["put_archive"], made.number, made.first, made.end, *through, made.at, made.document
    )
