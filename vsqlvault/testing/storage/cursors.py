"""Cursors: the stored positions of observers."""

from __future__ import annotations

import asyncio

from vsqlvault.interfaces.storage import Storage
from vsqlvault.testing.driving import StorageKit, driven

LARGE = 2**53


class CursorConformance(StorageKit):
    """Positions that only move forward."""

    @driven
    async def test_a_new_storage_has_no_cursor(self, storage: Storage) -> None:
        assert dict(await storage.cursors()) == {}

    @driven
    async def test_a_cursor_keeps_the_greatest_position(self, storage: Storage) -> None:
        for position in (0, 7, 3, LARGE, 9):
            await storage.save_cursor("observer:one", position)
        await storage.save_cursor("observer:two", 5)
        assert dict(await storage.cursors()) == {"observer:one": LARGE, "observer:two": 5}

    @driven
    async def test_cursors_saved_at_once_keep_the_greatest(self, storage: Storage) -> None:
        await asyncio.gather(*(storage.save_cursor("observer:one", position) for position in range(20)))
        assert dict(await storage.cursors()) == {"observer:one": 19}

    @driven
    async def test_a_cursor_is_there_after_opening_again(self, storage: Storage) -> None:
        self.needs("durable", "shared")
        await storage.save_cursor("observer:one", 4)
        async with self.another() as other:
            assert dict(await other.cursors()) == {"observer:one": 4}
