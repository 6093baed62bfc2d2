"""The storage in memory keeps the promises of every storage, and so do the methods that are derived for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

from vsqlvault.interfaces.storage import Storage
from vsqlvault.testing import FaultConformance, StorageCapabilities, StorageConformance
from vsqlvault.testing.memory_storage import MemoryStorage

CAPABILITIES = StorageCapabilities(durable=False, survives_kill=False, settable_clock=True)


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
