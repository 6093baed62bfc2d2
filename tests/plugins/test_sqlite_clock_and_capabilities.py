"""SQLite on a clock that is set; and what a storage cannot show is skipped, and said."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest

from vsqlvault.interfaces.storage import Storage
from vsqlvault.testing import T0, StorageCapabilities, StorageConformance
from vsqlvault.testing.storage.clock import ClockConformance
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage


class TestSqliteOnASetClock(ClockConformance):
    capabilities = StorageCapabilities(settable_clock=True)

    async def open_storage(self, directory: Path) -> Storage:
        return await self.open_storage_at(directory, lambda: T0)

    async def open_storage_at(self, directory: Path, clock: Callable[[], datetime]) -> Storage:
        storage = await SqliteStorage.open(directory / "vault.db", clock)
        await storage.migrate()
        return storage


def suite(directory: Path, capabilities: StorageCapabilities) -> StorageConformance:
    class Lacking(StorageConformance):
        async def open_storage(self, directory: Path) -> Storage:
            raise AssertionError("a test that is skipped opens nothing")

    Lacking.capabilities = capabilities
    made = Lacking()
    made.directory = directory
    return made


@pytest.mark.parametrize(
    ("missing", "test", "arguments"),
    [
        ("durable", "test_what_was_committed_is_there_when_the_place_is_opened_again", ()),
        ("durable", "test_closing_lets_what_is_under_way_finish", (None,)),
        ("shared", "test_two_storages_see_what_the_other_has_committed", (None,)),
        ("shared", "test_a_batch_of_reads_never_sees_half_a_write", (None,)),
        ("survives_kill", "test_what_was_acknowledged_is_there_after_a_kill_and_batches_are_whole", (1,)),
        ("settable_clock", "test_a_read_tells_the_time_of_the_storages_clock", ()),
        ("settable_clock", "test_a_renewed_lease_runs_from_its_renewal", ()),
    ],
)
def test_what_a_storage_cannot_show_is_skipped_and_said(missing, test, arguments, tmp_path) -> None:
    lacking = suite(tmp_path, StorageCapabilities(**{missing: False}))
    with asyncio.Runner() as lacking.runner, pytest.raises(pytest.skip.Exception, match=f"{missing}=False"):
        getattr(lacking, test)(*arguments)


def test_by_default_a_storage_is_asked_for_everything_but_a_clock_that_is_set() -> None:
    usual = StorageCapabilities()
    assert (usual.durable, usual.survives_kill, usual.shared, usual.settable_clock) == (True, True, True, False)


class Forgetful(StorageConformance):
    """Keeps its file by process: what another process has committed is not there."""

    async def open_storage(self, directory: Path) -> Storage:
        storage = await SqliteStorage.open(directory / f"vault-{os.getpid()}.db")
        await storage.migrate()
        return storage


class Untransportable(StorageConformance):
    async def open_storage(self, directory: Path) -> Storage:
        raise RuntimeError("no fixture ran")


@pytest.mark.parametrize(
    ("kind", "said"), [(Forgetful, "assert"), (Untransportable, "no fixture ran")], ids=["forgetful", "untransportable"]
)
def test_a_storage_that_does_not_survive_a_kill_is_found(kind, said, tmp_path) -> None:
    found = kind()
    found.directory = tmp_path
    with asyncio.Runner() as found.runner, pytest.raises(AssertionError, match=said):
        found.test_what_was_acknowledged_is_there_after_a_kill_and_batches_are_whole(1)
