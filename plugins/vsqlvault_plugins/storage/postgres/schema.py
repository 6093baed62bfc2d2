"""Migrates a database's schema, and grants privileges to its roles."""

from __future__ import annotations

from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.schemas import SchemaState, load_schema

SCHEMA = load_schema("vsqlvault_plugins.storage.postgres")
VERSION = SCHEMA.version
SHARDS_SINCE = 24
"""The first schema version with shards. An older database has one."""
MAINTAIN_SINCE = 17
"""The first PostgreSQL version in which a role may rewrite tables that it does not own."""


async def status(connection: Connection, shards: int) -> MigrationStatus:
    """Return what ``migrate`` would do. Raises SchemaTooOld, or SettingsInvalid for another number of shards."""
    found = await schema_state(connection)
    await _check_shards(connection, found, shards)
    return SCHEMA.status(found, is_shared=True)


async def migrate(connection: Connection, roles: Roles, shards: int) -> MigrationStatus:
    """Run the pending scripts in one transaction. A second process waits for it and finds nothing to do.

    Commits wait meanwhile: they lock entries before the log, and scripts may lock the log before entries.

    Raises:
        SchemaTooNew, SchemaTooOld. SettingsInvalid: the database has another number of shards.
    """
    found = await schema_state(connection)
    await _check_shards(connection, found, shards)
    if not SCHEMA.pending(found) and roles.runtime is None:
        return SCHEMA.status(found, is_shared=True)
    async with connection.transaction():
        await connection.execute(QUERIES["lock_migration"])
        found = await schema_state(connection)
        await _check_shards(connection, found, shards)
        if scripts := SCHEMA.pending(found):
            await connection.execute(QUERIES["lock_rules"])
            if roles.owner is not None:
                await connection.execute(QUERIES["become"].format(role=quoted(roles.owner)))
            for script in scripts:
                await connection.execute(script.text)
                if script.version not in {None, (await schema_state(connection)).version}:
                    raise ValueError(f"{script.name} does not set the version it is named after")
            if not found.version:
                await connection.execute(QUERIES["set_shards"], shards)
            await connection.execute(QUERIES["forget_state"])
            await connection.execute(QUERIES["put_state"], SCHEMA.current.version, SCHEMA.current.functions)
        if roles.runtime is not None and await connection.fetchval(QUERIES["owner"]):
            await connection.execute(QUERIES["grant"].format(role=quoted(roles.runtime)))
            if connection.get_server_version().major >= MAINTAIN_SINCE:
                await connection.execute(QUERIES["grant_maintain"].format(role=quoted(roles.runtime)))
    return SCHEMA.status(found, is_shared=True)


async def schema_state(connection: Connection) -> SchemaState:
    """Return the state of the schema."""
    if not await connection.fetchval(QUERIES["schema_exists"]):
        return SchemaState()
    row = await connection.fetchrow(QUERIES["schema_state"])
    return SchemaState(*row) if row else SchemaState()


async def _check_shards(connection: Connection, found: SchemaState, shards: int) -> None:
    """Raise SettingsInvalid if a database has another number of shards: then entries would be looked up where they are not."""
    if not found.version or found.version > VERSION:
        return
    kept = 1 if found.version < SHARDS_SINCE else await connection.fetchval(QUERIES["shards"])
    if kept != shards:
        raise SettingsInvalid(
            f"storage.shards: expected {kept}, as the database was created with, found {shards}; the number cannot be changed"
        )


def quoted(role: str) -> str:
    """Return the name of a role, quoted for SQL."""
    doubled = role.replace('"', '""')
    return f'"{doubled}"'
