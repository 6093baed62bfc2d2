"""The methods that every storage implements. Everything else of a storage is derived from them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from vsqlvault.errors import OutcomeUnknown, StorageFull, StorageUnavailable
from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, MigrationStatus, Read, Snapshot
from vsqlvault.interfaces.writes import Committed, Conflict, SeenWrite, Write, WriteOutcome
from vsqlvault.model.entry import Entry
from vsqlvault.model.times import from_micros
from vsqlvault.model.transparency import LogName
from vsqlvault.storage_defaults.basic import (
    BasicExpectation,
    BasicWrite,
    Item,
    ItemIs,
    ItemKey,
    ItemRange,
    PutItem,
    StoredRow,
)
from vsqlvault.storage_defaults.lowering import basic_write

PAGE = 500
MAX_ATTEMPTS = 100
MARK = ItemKey("mark", b"")
"""The item with the high-water mark, which ``read`` returns with every snapshot (``snapshot_of``)."""


class RequiredStorage(ABC):
    """The twelve required methods, and two attributes with a default.

    All methods may run concurrently. Each raises StorageUnavailable if the storage cannot be reached, StorageFull if it has
    no space, and ``apply`` raises OutcomeUnknown if its result cannot be determined. Driver exceptions must not propagate.
    """

    flights: int = 1
    """The maximum number of concurrent batches of each kind: reads, commits, and commits without a read.

    Above 1, as many again may run for apps that go ahead, so more batches than connections must be possible.
    """

    incarnation: str = "only"
    """See ``Storage.incarnation``. A storage with fail-over overrides it."""

    @abstractmethod
    async def read(self, reads: Sequence[Read]) -> Sequence[Snapshot]:
        """Return a snapshot for each read, in order, all of one consistent state that includes every earlier commit.

        Snapshots are made by ``snapshot_of``, with the clock, the value of the item ``MARK`` and the policy revision of that
        state. The value of an entry is returned only if it is requested and the entry is not purged.
        """

    @abstractmethod
    async def apply(self, writes: Sequence[BasicWrite]) -> Sequence[BasicExpectation | StorageFull | None]:
        """Commit the writes of a batch, one after the other, and return for each None, or the expectation that is not met.

        A write with an unmet expectation is omitted; the others are not affected. When this returns, the rest is durable. If
        it raises, nothing was committed (but see OutcomeUnknown). A storage whose disk is full may omit the writes that
        store an entry, and return a StorageFull for each. The rows of each log get increasing positions in the order in
        which they become visible: no row appears later with a position below one that was returned by ``log``.
        """

    @abstractmethod
    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """Return a page of entries without their values, by external_id, byte by byte.

        A page shorter than ``limit`` is the last one. ``filters.selects_entry`` defines which entries are on it.
        """

    @abstractmethod
    async def expired(self, query: ExpiredQuery) -> Sequence[tuple[Entry, bytes]]:
        """Return a page of expired entries with their values, in the order of ``query.place_of``. An empty page is the end."""

    @abstractmethod
    async def log(self, name: LogName, query: LogQuery) -> Sequence[StoredRow[Any]]:
        """Return a page of a log, by position. A page shorter than ``limit`` is the last one.

        ``filters.selects_row`` defines which rows are on it. Its columns have been checked.
        """

    @abstractmethod
    async def items(self, table: str, names: Collection[bytes]) -> Mapping[bytes, bytes]:
        """Return the values of those of the items that exist, by their names. Includes everything committed before."""

    @abstractmethod
    async def item_range(self, wanted: ItemRange) -> Sequence[Item]:
        """Return the items of a range. A page shorter than ``limit`` is the last one. Includes everything committed before."""

    @abstractmethod
    async def now(self) -> datetime:
        """Return the storage's clock, aware and in UTC, to the microsecond: the same clock for every process."""

    @abstractmethod
    async def schema_status(self) -> MigrationStatus:
        """Return what ``migrate`` would do, and change nothing. See ``Storage.schema_status``."""

    @abstractmethod
    async def migrate(self) -> MigrationStatus:
        """Update the schema to this program's version. See ``Storage.migrate``."""

    @abstractmethod
    def describe(self) -> Mapping[str, Any]:
        """Return information for operators. See ``Storage.describe``."""

    @abstractmethod
    async def close(self) -> None:
        """Finish what is in progress and release all resources. Every later call raises StorageUnavailable."""

    async def commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome | StorageFull]:
        """See ``Storage.commit``."""
        basic = [basic_write(write) for write in writes]
        results = await self.apply(basic)
        return [_outcome(*each) for each in zip(writes, basic, results, strict=True)]

    async def commit_seen(self, writes: Sequence[SeenWrite]) -> Sequence[Snapshot | None]:
        """See ``Storage.commit_seen``. The core reads and commits instead."""
        return [None] * len(writes)

    @staticmethod
    def snapshot_of(
        clock: datetime, mark: bytes | None, revision: int, entry: Entry | None, value: bytes | None
    ) -> Snapshot:
        """Return a snapshot whose time is never before the mark. ``mark`` is the value of the item ``MARK``."""
        marked_at = mark_of(mark)
        return Snapshot(max(clock, marked_at) if marked_at else clock, revision, entry, value, marked_at)

    async def item(self, key: ItemKey) -> bytes | None:
        """Return the value of an item."""
        return (await self.items(key.table, [key.name])).get(key.name)

    async def all_items(self, wanted: ItemRange) -> AsyncIterator[Item]:
        """Yield the items of a range, and all that follow ``limit``, page by page."""
        while True:
            page = await self.item_range(wanted)
            for item in page:
                yield item
            if len(page) < wanted.limit:
                return
            last = page[-1].name
            wanted = replace(wanted, until=last) if wanted.descending else replace(wanted, first=last + b"\0")

    async def swap(self, expects: Sequence[ItemIs], changes: Sequence[PutItem]) -> bool:
        """Commit the changes and return True. Return False if an expectation is not met.

        Raises:
            StorageUnavailable: also if the result is unknown. StorageFull.
        """
        try:
            (result,) = await self.apply([BasicWrite(expects, changes)])
        except OutcomeUnknown as error:
            raise StorageUnavailable("a change of an item may or may not have been committed") from error
        if isinstance(result, StorageFull):
            raise result
        return result is None

    async def raise_item(self, key: ItemKey, number: int) -> None:
        """Set an item to ``number``, as decimal digits, unless it has a greater one."""
        for _ in range(MAX_ATTEMPTS):
            old = await self.item(key)
            if (old is not None and int(old) >= number) or await self.swap(
                [ItemIs(key, old)], [PutItem(key, b"%d" % number)]
            ):
                return
        raise StorageUnavailable("an item was changed by others too often")


def mark_of(value: bytes | None) -> datetime | None:
    """Return the time in the item ``MARK``."""
    return None if value is None else from_micros(int(value))


def _outcome(
    write: Write, basic: BasicWrite, result: BasicExpectation | StorageFull | None
) -> WriteOutcome | StorageFull:
    if result is None:
        return Committed()
    return result if isinstance(result, StorageFull) else Conflict(write.expects[list(basic.expects).index(result)])
