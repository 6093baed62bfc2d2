"""A SQLite file with the tables in it, made once and copied: to make the tables takes a third of a vault's start."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage


@cache
def migrated_file() -> Path:
    """Return a file that no storage has open."""
    directory = Path(tempfile.mkdtemp(prefix="vsqlvault-sqlite-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)

    async def make() -> None:
        storage = await SqliteStorage.open(directory / "vault.db")
        await storage.migrate()
        await storage.close()

    asyncio.run(make())
    return directory / "vault.db"


def lay_migrated(path: Path) -> None:
    """Copy the file to this path, unless there is one; in a coroutine call it in a thread."""
    if not path.exists():
        shutil.copyfile(migrated_file(), path)
        path.chmod(0o600)
