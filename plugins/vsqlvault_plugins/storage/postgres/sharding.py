"""The shard of each row: a number below ``storage.shards``, which a database has from its creation on.

The shard of an entry, and of every row about it, follows from its purpose and external_id. A row without an entry has the
shard of its request_id.
"""

from __future__ import annotations

from zlib import crc32

from vsqlvault.model.audit import AccessRecord

MOST = 64
"""The highest number of shards. The schema has the same limit."""


class Shards:
    """Computes shards. A change of the computation needs a migration that moves every row."""

    __slots__ = ("count",)

    def __init__(self, count: int = 1) -> None:
        self.count = count

    def of_entry(self, purpose: str, external_id: str) -> int:
        """Return the shard of an entry and of the rows about it."""
        if self.count == 1:
            return 0
        return crc32(external_id.encode(), crc32(purpose.encode() + b"\0")) % self.count

    def of_access(self, record: AccessRecord) -> int:
        """Return the shard of a row of the access log."""
        if self.count == 1:
            return 0
        if record.purpose is None or record.external_id is None:
            return crc32(record.request_id.encode()) % self.count
        return self.of_entry(record.purpose, record.external_id)


ONE_SHARD = Shards()
