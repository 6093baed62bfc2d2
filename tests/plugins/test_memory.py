"""The storage in memory keeps the promises of every storage, and so do the methods that are derived for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from vsqlvault.interfaces.storage import Storage
from vsqlvault.testing import FaultConformance, StorageCapabilities, StorageConformance, memory_storage
from vsqlvault.testing.memory_storage import MemoryStorage
from vsqlvault.testing.same_answers import answers, differences

CAPABILITIES = StorageCapabilities(durable=False, survives_kill=False, drops_archived_rows=False, settable_clock=True)


class TestMemoryConforms(StorageConformance):
    capabilities = CAPABILITIES

    async def open_storage(self, directory: Path) -> Storage:
        return MemoryStorage(str(directory))

    async def open_storage_at(self, directory: Path, clock: Callable[[], datetime]) -> Storage:
        return MemoryStorage(str(directory), clock)


class TestMemoryFaults(FaultConformance):
    every = 30

    async def open_storage(self, directory: Path) -> Storage:
        return MemoryStorage(str(directory))


def test_a_vault_answers_on_memory_as_on_sqlite(tmp_path: Path) -> None:
    on_memory = answers(tmp_path, "memory:answers", [memory_storage])
    assert {answer.status for _, answer in on_memory} >= {200, 201, 400, 401, 403, 404, 409, 410, 422, 423}
    assert differences(on_memory, answers(tmp_path, f"sqlite:///{tmp_path / 'vault.db'}", [memory_storage])) == []
