"""Delivers committed rows to observers and purge methods in the background, at least once."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, Literal

from vsqlvault.errors import PluginFailed
from vsqlvault.interfaces.log_sink import ExportedRow, LogSink
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.storage import Storage, VersionQuery
from vsqlvault.interfaces.tree_storage import LeafRow
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.purge import PurgeReason, PurgeRecord
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.plugin_calls import call_plugin
from vsqlvault.service.tasks import Lease, LeasedTask

log = logging.getLogger(__name__)
BATCH = 256
DELIVERY_SECONDS = 30.0
RETRY_SECONDS = 5.0
LEASE_SECONDS = 60.0
MAX_VERSIONS = 1000
EXPORT = "export:"
"""The prefix of the names of exports among the deliveries."""


@dataclass(frozen=True, slots=True)
class NamedSink:
    """A destination that is opened before the first delivery, and the name of its table in the settings."""

    name: str
    open: Callable[[], LogSink]
    from_start: bool
    format: Literal["rows", "ocsf"] = "rows"


class Feed(ABC):
    """One stream of records to one plugin's object, with a stored position."""

    def __init__(self, storage: Storage, name: str, *, from_start: bool = False) -> None:
        self._storage = storage
        self.name = name
        """The name of the stored position."""
        self.from_start = from_start
        self.batch = BATCH
        """How many records are delivered at once."""

        self.waiting = 0
        """How far the delivery is behind, in leaves, as this process saw it last."""

        self.is_failing = False
        """Whether the last delivery failed."""

    @abstractmethod
    async def end(self) -> int:
        """Return the position after the newest record."""

    @abstractmethod
    async def time_after(self, position: int) -> datetime | None:
        """Return the time of the first record after the position; None if there is none, or its time is unknown."""

    @abstractmethod
    async def deliver_from(self, position: int) -> int:
        """Deliver one batch, and return the position after it. Raises PluginFailed, Unavailable."""

    async def deliver(self) -> None:
        """Deliver everything, batch by batch, and store the position after each.

        Raises:
            PluginFailed: the plugin failed, and gets the batch again. Unavailable.
        """
        self.is_failing = True  # until it is done
        position = (await self._storage.cursors()).get(self.name, 0)
        while (end := await self.end()) > position:
            self.waiting = end - position
            position = await self.deliver_from(position)
            await self._storage.save_cursor(self.name, position)
        self.waiting = 0
        self.is_failing = False


class _Rows(Feed):
    """Rows of both logs, in the order of their leaves."""

    async def end(self) -> int:
        return await self._storage.tree_size()

    async def time_after(self, position: int) -> datetime | None:
        for leaf in await self._storage.leaf_rows(position, 1):
            if leaf.record is not None:
                return leaf.record.at if isinstance(leaf.record, AccessRecord) else leaf.record.purged_at
        return None

    async def deliver_from(self, position: int) -> int:
        leaves = await self._storage.leaf_rows(position, self.batch)
        if not leaves:
            return min(position + self.batch, await self.end())
        await self._deliver(leaves)
        return leaves[-1].index + 1

    @abstractmethod
    async def _deliver(self, leaves: Sequence[LeafRow]) -> None: ...


class RowsToObserver(_Rows):
    """Rows of both logs, to an observer."""

    def __init__(self, storage: Storage, observer: Observer) -> None:
        super().__init__(storage, f"observer:{observer.name}", from_start=observer.from_start)
        self._observer = observer

    async def _deliver(self, leaves: Sequence[LeafRow]) -> None:
        access = tuple(leaf.record for leaf in leaves if isinstance(leaf.record, AccessRecord))
        purges = tuple(leaf.record for leaf in leaves if isinstance(leaf.record, PurgeRecord))
        if access and _overrides(self._observer, "access", Observer):
            await _call(self._observer, partial(self._observer.access, access))
        if purges and _overrides(self._observer, "purges", Observer):
            await _call(self._observer, partial(self._observer.purges, purges))


class CheckpointsToObserver(Feed):
    """Signed checkpoints, to an observer. The position is the size of the tree."""

    def __init__(self, storage: Storage, observer: Observer) -> None:
        super().__init__(storage, f"observer:{observer.name}:checkpoints", from_start=observer.from_start)
        self._observer = observer

    async def end(self) -> int:
        """See ``Feed.end``."""
        newest = await self._storage.newest_checkpoint()
        return newest.size if newest else 0

    async def time_after(self, position: int) -> datetime | None:
        """See ``Feed.time_after``."""
        return next((each.signed_at for each in await self._storage.checkpoints(position, 1)), None)

    async def deliver_from(self, position: int) -> int:
        """See ``Feed.deliver_from``."""
        found = tuple(await self._storage.checkpoints(position, self.batch))
        if not found:
            return await self.end()
        await _call(self._observer, partial(self._observer.checkpoints, found))
        return found[-1].size


class RowsToSink(_Rows):
    """Rows of both logs, to a destination outside. A row that is missing is left out: the gap in the indexes shows it."""

    def __init__(self, storage: Storage, named: NamedSink) -> None:
        super().__init__(storage, f"{EXPORT}{named.name}", from_start=named.from_start)
        self._open = named.open
        self._format = named.format
        self._sink: LogSink | None = None

    def open(self) -> LogSink:
        """Open the destination, once. Raises StartUpRefused."""
        self._sink = self._sink or self._open()
        return self._sink

    async def _deliver(self, leaves: Sequence[LeafRow]) -> None:
        row = _row_type(self._format)
        rows = [row(leaf.index, leaf.place.log, row_leaf(leaf.record)) for leaf in leaves if leaf.record]
        if rows:
            sink = self.open()
            await _call(self.name, partial(sink.deliver, rows))


class PurgesToMethod(_Rows):
    """Rows of the purge log, to the purge method that made them, or whose policy was in force for a replaced version."""

    def __init__(self, storage: Storage, method: PurgeMethod) -> None:
        super().__init__(storage, f"purge-method:{method.name}")
        self._method = method

    async def _deliver(self, leaves: Sequence[LeafRow]) -> None:
        rows = [leaf.record for leaf in leaves if isinstance(leaf.record, PurgeRecord)]
        methods: dict[str, Callable[[PurgeRecord], str | None]] = {}
        for purpose in {row.purpose for row in rows if row.reason is PurgeReason.REPLACED}:
            methods[purpose] = await self._methods_of(purpose)
        own = tuple(
            row
            for row in rows
            if row.method == self._method.name
            or (row.reason is PurgeReason.REPLACED and methods[row.purpose](row) == self._method.name)
        )
        if own:
            await _call(self._method, partial(self._method.purged, own))

    async def _methods_of(self, purpose: str) -> Callable[[PurgeRecord], str | None]:
        """Return a function that gives the method of the retention policy that was in force when a row was made."""
        versions = await self._storage.retention_policy_versions(VersionQuery(name=purpose, limit=MAX_VERSIONS))

        def method(row: PurgeRecord) -> str | None:
            in_force = (each for each in versions if each.created_at is None or each.created_at <= row.purged_at)
            found = next(in_force, versions[-1] if versions else None)
            return found.purge_method if found else None

        return method


class Observers:
    """The deliveries of a vault: a task for each, so that none waits for another."""

    def __init__(
        self,
        storage: Storage,
        observers: Sequence[Observer],
        methods: Mapping[str, PurgeMethod],
        sinks: Sequence[NamedSink] = (),
        *,
        interval_seconds: float = 1.0,
        retry_seconds: float = RETRY_SECONDS,
        batch: int = BATCH,
    ) -> None:
        self._storage = storage
        self.feeds: Sequence[Feed] = [
            *_observer_feeds(storage, observers),
            *_method_feeds(storage, methods),
            *(RowsToSink(storage, each) for each in sinks),
        ]
        for feed in self.feeds:
            feed.batch = batch
        self.tasks: Sequence[LeasedTask] = [
            _task(storage, feed, interval_seconds, retry_seconds) for feed in self.feeds
        ]

    @property
    def exports(self) -> Sequence[Feed]:
        """The deliveries to destinations of the settings."""
        return [feed for feed in self.feeds if isinstance(feed, RowsToSink)]

    @property
    def to_plugins(self) -> Sequence[Feed]:
        """The deliveries to observers and purge methods."""
        return [feed for feed in self.feeds if not isinstance(feed, RowsToSink)]

    def open_sinks(self) -> None:
        """Open the destinations of the exports, while the variables with their secrets are there. Raises StartUpRefused."""
        for feed in self.feeds:
            if isinstance(feed, RowsToSink):
                feed.open()

    async def begin(self) -> None:
        """Store the position of each new feed, so that rows committed from now on are delivered. Raises Unavailable."""
        if not self.feeds:
            return
        known = await self._storage.cursors()
        for feed in self.feeds:
            if feed.name not in known:
                await self._storage.save_cursor(feed.name, 0 if feed.from_start else await feed.end())

    async def deliver(self) -> None:
        """Deliver everything that has its index in the log now, without the lease. For tests and commands.

        Raises:
            PluginFailed: a plugin failed. Unavailable.
        """
        for feed in self.feeds:
            await feed.deliver()

    def wake(self) -> None:
        """Deliver now: the log has grown."""
        for feed, task in zip(self.feeds, self.tasks, strict=True):
            if not feed.is_failing:  # it has its own pace
                task.wake()


def _row_type(form: Literal["rows", "ocsf"]) -> type[ExportedRow]:
    """Return the class of the rows, whose line has the format. What only an export in OCSF uses is imported for it."""
    if form == "rows":
        return ExportedRow
    from vsqlvault.service.log.ocsf import OcsfRow  # noqa: PLC0415

    return OcsfRow


def _observer_feeds(storage: Storage, observers: Sequence[Observer]) -> list[Feed]:
    feeds: list[Feed] = []
    for observer in observers:
        if _overrides(observer, "access", Observer) or _overrides(observer, "purges", Observer):
            feeds.append(RowsToObserver(storage, observer))
        if _overrides(observer, "checkpoints", Observer):
            feeds.append(CheckpointsToObserver(storage, observer))
    return feeds


def _method_feeds(storage: Storage, methods: Mapping[str, PurgeMethod]) -> list[Feed]:
    return [PurgesToMethod(storage, each) for each in methods.values() if _overrides(each, "purged", PurgeMethod)]


def _task(storage: Storage, feed: Feed, interval_seconds: float, retry_seconds: float) -> LeasedTask:
    lease = Lease(storage, feed.name, LEASE_SECONDS, renew_after_seconds=LEASE_SECONDS / 3)

    async def step() -> float | None:
        if await lease.acquire():
            await feed.deliver()
        else:
            feed.waiting = 0
        return None

    async def last_step() -> float | None:
        await feed.deliver()
        return None

    return LeasedTask(lease, feed.name, step, interval_seconds, retry_seconds=retry_seconds, last_step=last_step)


def _overrides(plugin: object, method: str, protocol: type) -> bool:
    """Whether the class of a plugin's object has a method of its own in place of the protocol's default."""
    return getattr(type(plugin), method, None) is not getattr(protocol, method)


async def _call(plugin: object, call: Callable[[], Awaitable[Any]]) -> None:
    try:
        await call_plugin(plugin, call, object, DELIVERY_SECONDS)
    except PluginFailed:
        log.warning("a delivery failed and is repeated", extra={"seconds": RETRY_SECONDS})
        raise
