"""What a storage promises, as tests that see nothing but the ``Storage`` protocol.

Example:
    class TestDrawers(StorageConformance):
        async def open_storage(self, directory):
            storage = await Drawers.open(directory / "drawers")
            await storage.migrate()
            return storage

A storage that keeps nothing past ``close`` sets ``durable = False``; one that cannot be opened twice on one place sets
``shared = False``. The tests of what it lacks are then skipped.
"""

from __future__ import annotations

from vsqlvault.testing.storage_census import CensusConformance
from vsqlvault.testing.storage_commits import CommitConformance
from vsqlvault.testing.storage_entries import EntryPagesConformance
from vsqlvault.testing.storage_logs import LogConformance
from vsqlvault.testing.storage_places import PlaceConformance
from vsqlvault.testing.storage_reads import ReadConformance
from vsqlvault.testing.storage_rulebook import RulebookConformance


class StorageConformance(
    ReadConformance,
    CommitConformance,
    RulebookConformance,
    EntryPagesConformance,
    LogConformance,
    CensusConformance,
    PlaceConformance,
):
    """Subclass it, and implement ``open_storage``."""
