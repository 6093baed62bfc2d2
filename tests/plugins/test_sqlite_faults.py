"""The vault on SQLite, with every call of its storage failing once, in each way that a storage may fail."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.support.sqlite_files import lay_migrated
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.writes import CountRetrieval, RemoveEntry, StoreEntry, Write, WriteOutcome
from vsqlvault.model.audit import Operation
from vsqlvault.model.purge import PurgeReason
from vsqlvault.testing import FaultConformance
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage


class TestSqliteFails(FaultConformance):
    async def open_storage(self, directory: Path) -> Storage:
        return await opened(directory)


async def opened(directory: Path) -> SqliteStorage:
    await asyncio.to_thread(lay_migrated, directory / "vault.db")
    storage = await SqliteStorage.open(directory / "vault.db")
    await storage.migrate()
    return storage


class Lying:
    """Answers that a write is committed, and commits something else."""

    def __init__(self, inner: SqliteStorage, lie: Callable[[Write], Write]) -> None:
        self._inner = inner
        self._lie = lie

    async def commit(self, writes: Sequence[Write]) -> Sequence[WriteOutcome]:
        return await self._inner.commit([self._lie(write) for write in writes])

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)


def without_rows_of(*operations: Operation) -> Callable[[Write], Write]:
    return lambda write: replace(write, access=tuple(row for row in write.access if row.operation not in operations))


def without_changes(kind: type[Any]) -> Callable[[Write], Write]:
    return lambda write: replace(
        write, changes=tuple(change for change in write.changes if not isinstance(change, kind))
    )


def without_purges(*reasons: PurgeReason) -> Callable[[Write], Write]:
    return lambda write: replace(write, purges=tuple(purge for purge in write.purges if purge.reason not in reasons))


def with_another_proof(write: Write) -> Write:
    return replace(write, purges=tuple(replace(purge, proof_hash="0" * 64) for purge in write.purges))


LIES: dict[str, Callable[[Write], Write]] = {
    "a disclosure without its row": without_rows_of(Operation.RETRIEVE),
    "a list without its row": without_rows_of(Operation.LIST),
    "a report without its row": without_rows_of(Operation.READ_REPORT),
    "a purge without its row": without_rows_of(Operation.PURGE),
    "a policy without its row": without_rows_of(Operation.CHANGE_ACCESS_POLICY),
    "a retention policy without its row": without_rows_of(Operation.CHANGE_RETENTION_POLICY),
    "a dropped policy without its row": without_rows_of(Operation.DELETE_ACCESS_POLICY),
    "a version without its row": without_rows_of(Operation.STORE),
    "a row without its version": without_changes(StoreEntry),
    "a purge row for what is there": without_changes(RemoveEntry),
    "a retrieval that is not counted": without_changes(CountRetrieval),
    "a replaced version without a proof": without_purges(PurgeReason.REPLACED),
    "a purged entry without a proof": without_purges(PurgeReason.REQUESTED),
    "an expired entry without a proof": without_purges(PurgeReason.EXPIRED),
    "a proof of something else": with_another_proof,
}


@pytest.mark.parametrize("lie", LIES)
def test_a_storage_that_breaks_one_of_the_invariants_is_found(lie, tmp_path) -> None:
    class Liar(FaultConformance):
        async def open_storage(self, directory: Path) -> Any:
            return Lying(await opened(directory), LIES[lie])

    liar = Liar()
    liar.directory = tmp_path
    with asyncio.Runner() as liar.runner, pytest.raises(AssertionError):
        liar.test_whichever_call_fails_the_logs_and_the_entries_and_the_answers_agree("unavailable")
