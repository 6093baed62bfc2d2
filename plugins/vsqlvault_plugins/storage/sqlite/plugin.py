"""Offers ``sqlite:`` URLs."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.config import Settings
from vsqlvault.errors import StorageUnavailable
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.storage import Storage, StorageFactory
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage


class SqliteFactory:
    """Opens ``sqlite:///relative/path`` and ``sqlite:////absolute/path``."""

    name = "sqlite"
    schemes: tuple[str, ...] = ("sqlite",)

    async def open(self, url: str) -> Storage:
        """See ``StorageFactory.open``."""
        prefix, _, path = url.partition("sqlite:///")
        if prefix or not path or path == ":memory:" or "?" in path:
            raise StorageUnavailable("expected sqlite:///path to a file, such as sqlite:///vault.db")
        return await SqliteStorage.open(Path(path))


@hookimpl
def vault_storages(settings: Settings) -> list[StorageFactory]:  # noqa: ARG001 - the hook's signature
    """Offer SQLite."""
    return [SqliteFactory()]
