"""SQLite beside a model; and storages with one fault each, which the model finds."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.support.sqlite_files import lay_migrated, migrated_file
from vsqlvault.interfaces.purge_storage import ExpiredQuery
from vsqlvault.interfaces.storage import EntryQuery, KeyRefQuery, LogQuery, PolicySnapshot, Read, Storage
from vsqlvault.interfaces.writes import (
    Committed,
    CountRetrieval,
    EntryIs,
    OverwriteEntry,
    RetrievalsBelow,
    RevisionIs,
    SaveSweep,
    Write,
)
from vsqlvault.testing import StorageStateMachine
from vsqlvault.testing.storage.state_machine import BOUNDED
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage


async def opened(directory: Path) -> SqliteStorage:
    lay_migrated(directory / "vault.db")
    storage = await SqliteStorage.open(directory / "vault.db")
    await storage.migrate()
    return storage


@pytest.fixture(autouse=True, scope="module")
def _made_before_a_loop_runs() -> None:
    migrated_file()


class SqliteMachine(StorageStateMachine):
    async def open_storage(self, directory: Path) -> Storage:
        return await opened(directory)


class TestSqliteMachine(SqliteMachine.TestCase):
    settings = BOUNDED


class Faulty:
    """Passes everything on; subclasses have one fault each."""

    def __init__(self, inner: SqliteStorage) -> None:
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def written(self, write: Write) -> Write:
        return write

    async def commit(self, writes: Sequence[Write]) -> Any:
        return await self.inner.commit([self.written(write) for write in writes])


class IgnoresVersions(Faulty):
    def written(self, write: Write) -> Write:
        return replace(write, expects=tuple(e for e in write.expects if not isinstance(e, EntryIs) or e.stamp.version))


class IgnoresLimits(Faulty):
    def written(self, write: Write) -> Write:
        return replace(write, expects=tuple(e for e in write.expects if not isinstance(e, RetrievalsBelow)))


class IgnoresRevisions(Faulty):
    def written(self, write: Write) -> Write:
        return replace(write, expects=tuple(e for e in write.expects if not isinstance(e, RevisionIs)))


class CountsNothing(Faulty):
    def written(self, write: Write) -> Write:
        return replace(write, changes=tuple(c for c in write.changes if not isinstance(c, CountRetrieval)))


class LosesTheSecondRow(Faulty):
    def written(self, write: Write) -> Write:
        return replace(write, access=write.access[:1])


class LosesThePurgeRow(Faulty):
    def written(self, write: Write) -> Write:
        keeps = not any(isinstance(change, OverwriteEntry) for change in write.changes)
        return replace(write, purges=write.purges if keeps else ())


class LosesTheLastOfABatch(Faulty):
    async def commit(self, writes: Sequence[Write]) -> Any:
        done = await self.inner.commit(writes[:3])
        return [*done, *(Committed() for _ in writes[3:])]


class WritesTheLogBackwards(Faulty):
    async def access_log(self, query: LogQuery) -> Any:
        return await self.inner.access_log(replace(query, oldest_first=not query.oldest_first))


class RepeatsARow(Faulty):
    async def purge_log(self, query: LogQuery) -> Any:
        return await self.inner.purge_log(replace(query, after=query.after and query.after - 1))


class SkipsAnEntry(Faulty):
    async def entries(self, query: EntryQuery) -> Any:
        page = await self.inner.entries(query)
        return page[:-1] if len(page) == query.limit else page


class ExpiresTooSoon(Faulty):
    async def expired(self, query: ExpiredQuery) -> Any:
        return await self.inner.expired(replace(query, now=query.now + timedelta(microseconds=1)))


class ShowsWhatIsShredded(Faulty):
    async def read(self, reads: Sequence[Read]) -> Any:
        snapshots = await self.inner.read(reads)
        return [replace(found, value=b"\0") if found.entry and found.entry.purged_at else found for found in snapshots]


class ForgetsVersions(Faulty):
    async def policy_snapshot(self) -> PolicySnapshot:
        policies = await self.inner.policy_snapshot()
        return replace(policies, access_versions={name: policy.version for name, policy in policies.access.items()})


class ForgetsReleases(Faulty):
    async def policy_snapshot(self) -> PolicySnapshot:
        policies = await self.inner.policy_snapshot()
        kept = {name: replace(hold, released_by=None, released_at=None) for name, hold in policies.holds.items()}
        return replace(policies, holds=kept)


class LastSavedIsNewest(Faulty):
    saved: Any = None

    def written(self, write: Write) -> Write:
        self.saved = next((c.sweep for c in write.changes if isinstance(c, SaveSweep)), self.saved)
        return write

    async def last_sweep(self) -> Any:
        return self.saved or await self.inner.last_sweep()


class SharesLeases(Faulty):
    async def acquire_lease(self, name: str, holder: str, seconds: float) -> bool:
        await self.inner.acquire_lease(name, holder, seconds)
        return True


class KeepsLeases(Faulty):
    async def release_lease(self, name: str, holder: str) -> None:
        pass


class OmitsAKey(Faulty):
    async def key_refs(self, query: KeyRefQuery) -> Any:
        return (await self.inner.key_refs(query))[:-1]


@pytest.mark.parametrize("fault", Faulty.__subclasses__(), ids=lambda fault: fault.__name__)
def test_a_storage_with_a_fault_is_found(fault: type[Faulty]) -> None:
    class Machine(StorageStateMachine):
        async def open_storage(self, directory: Path) -> Any:
            return fault(await opened(directory))

    searching = settings(
        BOUNDED, max_examples=300, phases=[Phase.generate], print_blob=False, report_multiple_bugs=False
    )  # the first failure is enough: a search for another takes as long again
    with pytest.raises((AssertionError, ExceptionGroup)):
        run_state_machine_as_test(Machine, settings=searching)
