"""Migrates a database's schema, and grants privileges to its roles."""

from __future__ import annotations

from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.schemas import SchemaState, load_schema

SCHEMA = load_schema("vsqlvault_plugins.storage.postgres")
VERSION = SCHEMA.version
MAINTAIN_SINCE = 17
"""The first PostgreSQL version in which a role may rewrite tables that it does not own."""


async def status(connection: Connection) -> MigrationStatus:
    """Return what ``migrate`` would do. Raises SchemaTooOld."""
    return SCHEMA.status(await schema_state(connection), is_shared=True)


async def migrate(connection: Connection, owner_role: str | None, runtime_role: str | None) -> MigrationStatus:
    """Run the pending scripts in one transaction. A second process waits for it and finds nothing to do.

    Commits wait meanwhile: they lock entries before the log, and scripts may lock the log before entries.

    Raises:
        SchemaTooNew, SchemaTooOld.
    """
    found = await schema_state(connection)
    if not SCHEMA.pending(found) and runtime_role is None:
        return SCHEMA.status(found, is_shared=True)
    async with connection.transaction():
        await connection.execute(QUERIES["lock_migration"])
        found = await schema_state(connection)
        if scripts := SCHEMA.pending(found):
            await connection.execute(QUERIES["lock_rules"])
            if owner_role is not None:
                await connection.execute(QUERIES["become"].format(role=quoted(owner_role)))
            for script in scripts:
                await connection.execute(script.text)
                if script.version not in {None, (await schema_state(connection)).version}:
                    raise ValueError(f"{script.name} does not set the version it is named after")
            await connection.execute(QUERIES["forget_state"])
            await connection.execute(QUERIES["put_state"], SCHEMA.current.version, SCHEMA.current.functions)
        if runtime_role is not None and await connection.fetchval(QUERIES["owner"]):
            await connection.execute(QUERIES["grant"].format(role=quoted(runtime_role)))
            if connection.get_server_version().major >= MAINTAIN_SINCE:
                await connection.execute(QUERIES["grant_maintain"].format(role=quoted(runtime_role)))
    return SCHEMA.status(found, is_shared=True)


async def schema_state(connection: Connection) -> SchemaState:
    """Return the state of the schema."""
    if not await connection.fetchval(QUERIES["schema_exists"]):
        return SchemaState()
    row = await connection.fetchrow(QUERIES["schema_state"])
    return SchemaState(*row) if row else SchemaState()


def quoted(role: str) -> str:
    """Return the name of a role, quoted for SQL."""
    doubled = role.replace('"', '""')
    return f'"{doubled}"'
