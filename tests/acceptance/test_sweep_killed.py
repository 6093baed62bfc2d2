"""A sweep whose process is killed: nothing is purged twice, nothing without its row, and the next run finishes."""

from __future__ import annotations

import asyncio
import http.client
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from tests.support.checks import assert_problem
from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.config import load_settings
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.times import utc_now
from vsqlvault.plugin_loader import Plugins
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.runtime import open_storage
from vsqlvault.testing import storing

Start = Callable[..., VaultServer]
ENTRIES = 2_000
SLOW = "[purge]\nsweep_batch = 50\nsweep_pause_seconds = 0.02\n"


def test_a_sweep_that_is_killed_is_finished_by_the_next_one(another_vault: Start) -> None:
    server = another_vault(settings=SLOW)
    stored = asyncio.run(fill(server.database_url))
    sweep = threading.Thread(target=lambda: asked_to_sweep(server))
    sweep.start()
    eventually(lambda: count(server) >= ENTRIES / 10)
    server.kill()
    sweep.join()
    server.start()
    gone = count(server)
    assert ENTRIES / 10 <= gone < ENTRIES, "the sweep was killed in its middle"
    assert_problem(server.call(ADMIN, "POST", "/admin/purge/sweep"), 409, "sweep-running")
    server.query(sqlite="DELETE FROM leases", postgresql="DELETE FROM vault.leases")  # as if its minute were over
    run = server.call(ADMIN, "POST", "/admin/purge/sweep").json
    assert (run["purged"], run["failed"], run["completed"]) == (ENTRIES - gone, 0, True)
    rows = asyncio.run(purge_rows(server.database_url))
    assert sorted(row.external_id for row in rows) == sorted(stored)
    for row in rows:
        entry, value = stored[row.external_id]
        assert (row.entry_id, row.proof_hash) == (entry.entry_id, purge_proof(entry, value))


def asked_to_sweep(server: VaultServer) -> None:
    with suppress(OSError, http.client.HTTPException):
        server.call(ADMIN, "POST", "/admin/purge/sweep")


def count(server: VaultServer) -> int:
    ((number,),) = server.query(
        sqlite="SELECT count(*) FROM purge_log", postgresql="SELECT count(*) FROM vault.purge_log"
    )
    return int(number)


async def fill(url: str) -> dict[str, tuple[Entry, bytes]]:
    """Store entries that ended an hour ago, through a door of our own."""
    storage = await opened(url)
    then = utc_now() - timedelta(hours=1)
    stored = {}
    for first in range(0, ENTRIES, 500):
        writes = [
            storing(f"e{n}", b"cipher-%d" % n, created_at=then - timedelta(days=1), expires_at=then)
            for n in range(first, first + 500)
        ]
        await storage.commit(writes)
        changes = [write.changes[0] for write in writes]
        stored |= {change.entry.external_id: (change.entry, change.value) for change in changes}
    await storage.close()
    return stored


async def purge_rows(url: str) -> list[PurgeRecord]:
    storage = await opened(url)
    rows = await storage.purge_log(LogQuery(limit=2 * ENTRIES))
    await storage.close()
    return [row.record for row in rows]


async def opened(url: str):
    return await open_storage(Plugins(load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": url})))
