"""The SQLite storage: what every storage promises, and what is SQLite's own."""

from __future__ import annotations

from pathlib import Path

from vsqlvault.interfaces.storage import Storage
from vsqlvault.testing import StorageConformance
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage


class TestSqliteConforms(StorageConformance):
    async def open_storage(self, directory: Path) -> Storage:
        storage = await SqliteStorage.open(directory / "vault.db")
        await storage.migrate()
        return storage
