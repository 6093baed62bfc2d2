"""Conformance tests of storages, which use only the ``Storage`` protocol.

Example:
    class TestExample(StorageConformance):
        async def open_storage(self, directory):
            storage = await Example.open(directory / "example")
            await storage.migrate()
            return storage

What a storage cannot show it says in ``capabilities``, such as ``StorageCapabilities(shared=False)`` for one that cannot be
opened twice on one place; the tests of that are then skipped, with the reason. One whose clock can be set says so, and
implements ``open_storage_at``.
"""

from __future__ import annotations

from vsqlvault.testing.storage.api_keys import ApiKeyConformance
from vsqlvault.testing.storage.archives import ArchiveConformance
from vsqlvault.testing.storage.clock import ClockConformance, MarkConformance
from vsqlvault.testing.storage.commits import CommitConformance
from vsqlvault.testing.storage.cursors import CursorConformance
from vsqlvault.testing.storage.entries import EntryPagesConformance
from vsqlvault.testing.storage.entry_statistics import EntryStatisticsConformance
from vsqlvault.testing.storage.evidence import EvidenceConformance
from vsqlvault.testing.storage.key_refs import KeyRefConformance
from vsqlvault.testing.storage.kills import KillConformance
from vsqlvault.testing.storage.logs import LogConformance
from vsqlvault.testing.storage.places import PlaceConformance
from vsqlvault.testing.storage.policy_snapshot import PolicySnapshotConformance
from vsqlvault.testing.storage.reads import ReadConformance
from vsqlvault.testing.storage.scrub import ScrubConformance
from vsqlvault.testing.storage.seen import SeenConformance
from vsqlvault.testing.storage.tree import TreeConformance
from vsqlvault.testing.storage.watching import WatchingConformance


class StorageConformance(
    ReadConformance,
    CommitConformance,
    SeenConformance,
    PolicySnapshotConformance,
    ApiKeyConformance,
    EntryPagesConformance,
    LogConformance,
    TreeConformance,
    EntryStatisticsConformance,
    EvidenceConformance,
    KeyRefConformance,
    WatchingConformance,
    ArchiveConformance,
    PlaceConformance,
    MarkConformance,
    ScrubConformance,
    ClockConformance,
    CursorConformance,
    KillConformance,
):
    """Subclass it, and implement ``open_storage``."""
