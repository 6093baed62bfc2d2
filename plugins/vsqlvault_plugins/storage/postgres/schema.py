"""Migrates a database's schema, and grants privileges to its roles."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from importlib.resources import files

from vsqlvault.errors import SettingsInvalid, StorageUnavailable
from vsqlvault.interfaces.storage import MigrationStatus
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.postgres.roles import Roles
from vsqlvault_plugins.storage.schemas import Schema, SchemaState, Script, load_schema

SCHEMA = load_schema("vsqlvault_plugins.storage.postgres")
VERSION = SCHEMA.version
_CITUS_FILE = files("vsqlvault_plugins.storage.postgres").joinpath("citus.sql")
SPREAD_SCHEMA = replace(
    SCHEMA, functions=Script("functions.sql, citus.sql", SCHEMA.functions.text + _CITUS_FILE.read_text("utf-8"))
)
"""The schema in a database with Citus. So a database that got the extension later is spread by the next migration."""
SHARDS_SINCE = 24
"""The first schema version with shards. An older database has one."""
MAINTAIN_SINCE = 17
"""The first PostgreSQL version in which a role may rewrite tables that it does not own."""
SPREAD_LOGS = ("access_log", "purge_log", "log_archives")
_log = logging.getLogger(__name__)


async def status(connection: Connection, shards: int) -> MigrationStatus:
    """Return what ``migrate`` would do. Raises SchemaTooOld, or SettingsInvalid for another number of shards."""
    found = await schema_state(connection)
    await _check_shards(connection, found, shards)
    return (await _schema(connection)).status(found, is_shared=True)


async def migrate(connection: Connection, roles: Roles, shards: int) -> MigrationStatus:
    """Run the pending scripts in one transaction. A second process waits for it and finds nothing to do.

    Commits wait meanwhile: they lock entries before the log, and scripts may lock the log before entries.

    Raises:
        SchemaTooNew, SchemaTooOld. SettingsInvalid: the database has another number of shards.
    """
    found = await schema_state(connection)
    await _check_shards(connection, found, shards)
    schema = await _schema(connection)
    if not schema.pending(found) and roles.runtime is None:
        if schema is SPREAD_SCHEMA:
            await guard_shards(connection)
        return schema.status(found, is_shared=True)
    async with connection.transaction():
        await connection.execute(QUERIES["lock_migration"])
        found = await schema_state(connection)
        await _check_shards(connection, found, shards)
        if scripts := schema.pending(found):
            await connection.execute(QUERIES["lock_rules"])
            if roles.owner is not None:
                await connection.execute(QUERIES["become"].format(role=quoted(roles.owner)))
            await _run(connection, scripts, shards, is_spread=schema is SPREAD_SCHEMA)
            await connection.execute(QUERIES["forget_state"])
            await connection.execute(QUERIES["put_state"], schema.current.version, schema.current.functions)
        if roles.runtime is not None and await connection.fetchval(QUERIES["owner"]):
            grants = ("grant", "grant_spread") if schema is SPREAD_SCHEMA else ("grant",)
            for statement in statements_of("".join(f"{QUERIES[name]};\n" for name in grants)):
                await connection.execute(statement.format(role=quoted(roles.runtime)))
            if connection.get_server_version().major >= MAINTAIN_SINCE:
                await connection.execute(QUERIES["grant_maintain"].format(role=quoted(roles.runtime)))
    if schema is SPREAD_SCHEMA:
        await guard_shards(connection)
    return schema.status(found, is_shared=True)


async def _schema(connection: Connection) -> Schema:
    return SPREAD_SCHEMA if await connection.fetchval(QUERIES["has_citus"]) else SCHEMA


async def _run(connection: Connection, scripts: Sequence[Script], shards: int, *, is_spread: bool) -> None:
    if is_spread:
        await connection.execute(QUERIES["allow_spreading"])
    for script in scripts:
        for statement in statements_of(script.text) if is_spread else (script.text,):
            await connection.execute(statement)
        if script.version not in {None, (await schema_state(connection)).version}:
            raise ValueError(f"{script.name} does not set the version it is named after")
        if script is SCHEMA.create:
            await connection.execute(QUERIES["set_shards"], shards)


async def guard_shards(connection: Connection) -> None:
    """Make the triggers against TRUNCATE on shards that have none: those of a new database, and those that were moved.

    The shards of a server that does not answer are left to the next run, with a warning.

    Raises:
        StorageUnavailable: a shard that answered has no trigger.
    """
    if not await connection.fetchval(QUERIES["owner"]):
        return
    for log in SPREAD_LOGS:
        found = await _guarded(connection, log)
        if any(is_guarded is False for is_guarded in found):
            made = await connection.fetch(QUERIES["guard_shards"].format(log=log))
            found = await _guarded(connection, log)
            if any(is_guarded is False for is_guarded in found):
                refused = next((result for success, result in made if not success), "")
                raise StorageUnavailable(f"a shard of {log} has no trigger that refuses TRUNCATE: {refused}")
        if silent := found.count(None):
            _log.warning(
                "shards of a log do not answer: it is not known whether they refuse TRUNCATE",
                extra={"table": log, "shards": silent},
            )


async def _guarded(connection: Connection, log: str) -> list[bool | None]:
    """Return whether each shard of a log has its trigger. None: it did not answer."""
    found = await connection.fetch(QUERIES["guarded_shards"].format(log=log))
    return [result == "1" if success else None for success, result in found]


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


def statements_of(script: str) -> list[str]:
    """Return the statements of a script. Citus passes some on as they were sent, and takes one at a time."""
    found, begin, is_quoted = [], 0, False
    for mark in re.finditer(r"\$\$|;$", script, re.MULTILINE):
        if mark[0] == "$$":
            is_quoted = not is_quoted
        elif not is_quoted:
            found.append(script[begin : mark.end()])
            begin = mark.end()
    return found


def quoted(role: str) -> str:
    """Return the name of a role, quoted for SQL."""
    doubled = role.replace('"', '""')
    return f'"{doubled}"'
