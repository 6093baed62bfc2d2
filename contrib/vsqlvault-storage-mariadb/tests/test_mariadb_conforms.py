"""The storage keeps the promises of every storage, on a MariaDB that the tests start.

A plain run takes those that a database can break most easily. With ``VSQLVAULT_MARIADB_TESTS=all`` it takes all, lets each call
of a whole vault's storage fail once, and compares the storage with the one in memory.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from mariadb_server import url_of
from vsqlvault_storage_mariadb.storage import MariaDbStorage

from vsqlvault.interfaces.storage import Storage
from vsqlvault.testing import FaultConformance, StorageCapabilities, StorageConformance
from vsqlvault.testing.storage.commits import CommitConformance
from vsqlvault.testing.storage.cursors import CursorConformance
from vsqlvault.testing.storage.kills import KillConformance
from vsqlvault.testing.storage.places import PlaceConformance
from vsqlvault.testing.storage.tree import TreeConformance

CAPABILITIES = StorageCapabilities(scrubs=False, drops_archived_rows=False)
is_long = os.environ.get("VSQLVAULT_MARIADB_TESTS") == "all"
in_long = pytest.mark.skipif(not is_long, reason="only with VSQLVAULT_MARIADB_TESTS=all")


async def opened(directory: Path) -> Storage:
    storage = await MariaDbStorage.open(url_of(directory))
    await storage.migrate()
    return storage


class _Short(CommitConformance, PlaceConformance, TreeConformance, KillConformance, CursorConformance):
    pass


@pytest.mark.usefixtures("mariadb_socket")
class TestMariaDbConforms(StorageConformance if is_long else _Short):  # type: ignore[misc]
    capabilities = CAPABILITIES

    async def open_storage(self, directory: Path) -> Storage:
        return await opened(directory)


@in_long
@pytest.mark.usefixtures("mariadb_socket")
class TestMariaDbFaults(FaultConformance):
    every = 4  # each test ends after a minute, also on a busy machine

    async def open_storage(self, directory: Path) -> Storage:
        return await opened(directory)


@in_long
@pytest.mark.usefixtures("mariadb_socket")
def test_it_does_what_the_storage_in_memory_does() -> None:
    from hypothesis.stateful import run_state_machine_as_test  # noqa: PLC0415 - only the long run needs Hypothesis

    from vsqlvault.testing.storage.state_machine import BOUNDED, StorageStateMachine  # noqa: PLC0415

    class MariaDbMachine(StorageStateMachine):
        capabilities = CAPABILITIES

        async def open_storage(self, directory: Path) -> Storage:
            return await opened(directory)

    run_state_machine_as_test(MariaDbMachine, settings=BOUNDED)
