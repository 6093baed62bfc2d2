"""Backs up the schema of the vault with pg_dump, and counts its rows in the same snapshot."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

import asyncpg

from vsqlvault.errors import SettingsInvalid, StorageUnavailable
from vsqlvault.interfaces.backup import BackupContents
from vsqlvault_plugins.storage.postgres.batches import QUERIES
from vsqlvault_plugins.storage.postgres.failures import translated


async def back_up(url: str, directory: Path) -> BackupContents:
    """Run ``pg_dump --format=custom`` for the schema ``vault``.

    Raises:
        SettingsInvalid: pg_dump is not in the search path, or the database has Citus. StorageUnavailable: the server or
        pg_dump refuses.
    """
    try:
        connection = await asyncpg.connect(url)
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise translated(error, committing=False) from error
    try:
        if await connection.fetchval(QUERIES["has_citus"]):
            raise SettingsInvalid(
                "storage.database_url: expected a database without Citus: pg_dump has no snapshot of all its servers"
            )
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = await connection.fetchval(QUERIES["export_snapshot"])
            counts = await connection.fetchrow(QUERIES["backup_counts"])
            version = await connection.fetchval(QUERIES["schema_version"])
            checkpoint = await connection.fetchval(QUERIES["newest_note"])
            server = await connection.fetchval(QUERIES["server_version"])
            await _dump(url, snapshot, directory / "copy.dump")
    except (OSError, asyncpg.PostgresError, TimeoutError) as error:
        raise translated(error, committing=False) from error
    finally:
        await connection.close()
    return BackupContents(
        directory / "copy.dump", f"PostgreSQL {server}", version, counts[0], counts[1], counts[2], checkpoint,
        "pg_restore --exit-on-error --dbname URL FILE, into an empty database",
    )  # fmt: skip


async def _dump(url: str, snapshot: str, out: Path) -> None:
    parts = urlsplit(url)
    address = parts._replace(netloc=parts.netloc.rpartition("@")[2])
    if parts.username:
        address = address._replace(netloc=f"{parts.username}@{address.netloc}")
    environment = dict(os.environ)
    if parts.password:  # not in the arguments, which every user of the machine can read
        environment["PGPASSWORD"] = unquote(parts.password)
    try:
        process = await asyncio.create_subprocess_exec(
            "pg_dump", "--format=custom", "--schema=vault", f"--snapshot={snapshot}", f"--file={out}",
            "--no-password", f"--dbname={urlunsplit(address)}",
            env=environment, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
    except FileNotFoundError:
        raise SettingsInvalid("pg_dump: expected PostgreSQL's client programs in the search path, found none") from None
    _, errors = await process.communicate()
    if process.returncode:
        lines = errors.decode("utf-8", "replace").strip().splitlines()
        raise StorageUnavailable(f"pg_dump ended with code {process.returncode}: {lines[0] if lines else 'no message'}")
