"""Creates the role and the database that a URL names, on a server that has neither, such as a new VibeSQL Micro."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from vsqlvault.errors import SettingsInvalid, StorageUnavailable
from vsqlvault_plugins.storage.postgres.dsn import Dsn, parse_dsn
from vsqlvault_plugins.storage.postgres.failures import translated

MAINTENANCE_DATABASE = "postgres"
_EXISTS = (asyncpg.DuplicateObjectError, asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError)


async def create_database(url: str, admin: str) -> bool:
    """Create what is missing of role and database. Return False if both exist. A new role has no password.

    Raises:
        SettingsInvalid: the URL names no role, several hosts, or a password for a role that does not exist.
        StorageUnavailable: the server does not answer, or refuses.
    """
    dsn, parts = parse_dsn(url), urlsplit(url)
    role, database = unquote(parts.username or ""), unquote(parts.path.lstrip("/"))
    if not role or not database:
        raise SettingsInvalid(
            "storage.database_url: expected a role and a database, to create them: postgresql://ROLE@HOST/DATABASE"
        )
    if len(dsn.addresses) > 1:
        raise SettingsInvalid("storage.database_url: expected one host, to create a database there, found several")
    try:
        connection = await _connect(dsn, admin)
        try:
            made = await _create_role(connection, role, has_password=parts.password is not None)
            return await _create(connection, _MISSING_DATABASE, database, _database_statement(database, role)) or made
        finally:
            await connection.close()
    except asyncpg.InvalidAuthorizationSpecificationError as error:
        raise StorageUnavailable(
            f"the server does not let the role {admin} in: check its pg_hba.conf, or PGPASSWORD"
        ) from error
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, TimeoutError) as error:
        raise translated(error, committing=False) from error


_MISSING_ROLE = "SELECT NOT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)"
_MISSING_DATABASE = "SELECT NOT EXISTS (SELECT FROM pg_database WHERE datname = $1)"


async def _connect(dsn: Dsn, admin: str) -> Any:
    """Connect as another role than the URL's. Its password comes from PGPASSWORD or a password file."""
    without_user = urlunsplit(urlsplit(dsn.url)._replace(netloc=""))
    address = {"host": dsn.addresses[0].host, "port": dsn.addresses[0].port} if dsn.addresses else {}
    return await asyncpg.connect(
        without_user, user=admin, database=MAINTENANCE_DATABASE, timeout=dsn.connect_seconds, **address
    )


async def _create_role(connection: Any, role: str, *, has_password: bool) -> bool:
    if not await connection.fetchval(_MISSING_ROLE, role):
        return False
    if has_password:
        raise SettingsInvalid(
            "storage.database_url: expected a URL without a password, to create its role; create the role with its password"
            " first"
        )
    return await _create(connection, _MISSING_ROLE, role, f"CREATE ROLE {_quoted(role)} LOGIN")


async def _create(connection: Any, is_missing: str, name: str, statement: str) -> bool:
    if not await connection.fetchval(is_missing, name):
        return False
    try:
        await connection.execute(statement)
    except _EXISTS:  # another process was faster
        return False
    return True


def _database_statement(database: str, role: str) -> str:
    return f"CREATE DATABASE {_quoted(database)} OWNER {_quoted(role)} ENCODING 'UTF8' TEMPLATE template0"


def _quoted(name: str) -> str:
    doubled = name.replace('"', '""')
    return f'"{doubled}"'
