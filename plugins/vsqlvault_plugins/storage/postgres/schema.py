"""Migrates a database's schema, and grants privileges to its roles."""

from __future__ import annotations

from vsqlvault.errors import SchemaTooNew
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql_files import load_migrations

MIGRATIONS = load_migrations("vsqlvault_plugins.storage.postgres")
VERSION = MIGRATIONS[-1].version
MAINTAIN_SINCE = 17
"""The first PostgreSQL version in which a role may rewrite tables that it does not own."""


async def status(connection: Connection) -> MigrationStatus:
    """Return what ``migrate`` would do."""
    before = await schema_version(connection)
    return MigrationStatus(
        before, max(before, VERSION), tuple(each.name for each in MIGRATIONS[before:]), is_shared=True
    )


async def migrate(connection: Connection, owner_role: str | None, runtime_role: str | None) -> MigrationStatus:
    """Run missing migrations in one transaction. A second process waits for it and finds nothing to do."""
    before = await schema_version(connection)
    _refuse_newer(before)
    if before == VERSION and runtime_role is None:
        return MigrationStatus(before, before)
    async with connection.transaction():
        await connection.execute(QUERIES["lock_migration"])
        before = await schema_version(connection)
        _refuse_newer(before)
        if owner_role is not None and before < VERSION:
            await connection.execute(QUERIES["become"].format(role=quoted(owner_role)))
        for migration in MIGRATIONS[before:]:
            await connection.execute(migration.script)
            if await schema_version(connection) != migration.version:
                raise ValueError(f"{migration.name} does not set the version it is named after")
        if runtime_role is not None and await connection.fetchval(QUERIES["owner"]):
            await connection.execute(QUERIES["grant"].format(role=quoted(runtime_role)))
            if connection.get_server_version().major >= MAINTAIN_SINCE:
                await connection.execute(QUERIES["grant_maintain"].format(role=quoted(runtime_role)))
    return MigrationStatus(before, VERSION)


async def schema_version(connection: Connection) -> int:
    """Return the schema's version, or 0 if there is no schema."""
    if not await connection.fetchval(QUERIES["schema_exists"]):
        return 0
    return int(await connection.fetchval(QUERIES["schema_version"]))


def quoted(role: str) -> str:
    """Return the name of a role, quoted for SQL."""
    doubled = role.replace('"', '""')
    return f'"{doubled}"'


def _refuse_newer(version: int) -> None:
    if version > VERSION:
        raise SchemaTooNew(f"its schema has version {version}, this program supports up to {VERSION}")
