"""Provides the storage for ``sqlite:`` URLs."""

from __future__ import annotations

import asyncio
from pathlib import Path

from vsqlvault.config import Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.backup import BackupContents
from vsqlvault.interfaces.storage import Storage, StorageFactory
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault_plugins.storage.sqlite.backup import back_up
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

NO_FILE = "storage.database_url: expected sqlite:///path to a file, such as sqlite:///vault.db"


class SqliteFactory(StorageFactory):
    """Opens ``sqlite:///relative/path`` and ``sqlite:////absolute/path``."""

    name = "sqlite"
    schemes: tuple[str, ...] = ("sqlite",)

    async def open(self, url: str) -> Storage:
        """See ``StorageFactory.open``."""
        path = _path(url)
        if path is None:
            raise SettingsInvalid(NO_FILE)
        if not path.parent.is_dir():
            rooted = Path("/", path)
            hint = f": an absolute path has four slashes, sqlite:///{rooted}" if rooted.parent.is_dir() else ""
            raise SettingsInvalid(
                f"storage.database_url: expected a file in a directory that exists, found no directory {path.parent}{hint}"
            )
        return await SqliteStorage.open(path)

    async def would_create(self, url: str) -> bool:
        """See ``StorageFactory.would_create``. A file in a directory that does not exist is not created."""
        path = _path(url)
        return path is not None and path.parent.is_dir() and not path.exists()

    async def backup(self, url: str, directory: Path) -> BackupContents:
        """See ``StorageFactory.backup``."""
        path = _path(url)
        if path is None:
            raise SettingsInvalid(NO_FILE)
        return await asyncio.to_thread(back_up, path, directory)


def _path(url: str) -> Path | None:
    prefix, _, path = url.partition("sqlite:///")
    return None if prefix or not path or path == ":memory:" or "?" in path else Path(path)


@hookimpl
def vault_process_needs(settings: Settings) -> list[ProcessNeeds]:
    """Declare the directory of the file, because SQLite writes its logs there."""
    path = _path(settings.storage.database_url)
    return [] if path is None else [ProcessNeeds(writable=(str(path.resolve().parent),))]


@hookimpl
def vault_storages(settings: Settings) -> list[StorageFactory]:
    """Return the SQLite storage. Raises SettingsInvalid for a URL of SQLite that names no file."""
    url = settings.storage.database_url
    if url.partition(":")[0] in SqliteFactory.schemes and _path(url) is None:
        raise SettingsInvalid(NO_FILE)
    return [SqliteFactory()]
