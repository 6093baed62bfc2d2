"""Two processes write and one of them sequences; either is killed at any moment: no row is lost, none is there twice.

``VSQLVAULT_TEST_KILLS`` says how often; by default it is a few times. ``VSQLVAULT_TEST_SHARDS`` is the number of shards on
PostgreSQL, four by default.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from tests.support.fixtures import NewDatabase
from tests.support.log_writer import SHARDS
from tests.support.warm_start import start_vault
from vsqlvault.config import load_settings
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.transparency import LogName
from vsqlvault.plugin_loader import Plugins
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_storage, open_vault
from vsqlvault.service.log.verification import StorageSource, verify_log

ROOT = Path(__file__).parents[2]
KILLS = int(os.environ.get("VSQLVAULT_TEST_KILLS", "5"))
KEY = SigningKey("vault.example/audit", b"\x01" * 32)
READY_SECONDS = 30.0


class Writer:
    """One process, and what it has said."""

    def __init__(self, url: str) -> None:
        self.acknowledged: list[str] = []
        self.signed: list[str] = []
        reading, writing = os.pipe()
        self._said = os.fdopen(reading, encoding="utf-8")
        command = [sys.executable, "-m", "tests.support.log_writer", url]
        with os.fdopen(writing, "wb") as output:
            self._process = start_vault(command, output, ROOT, {**os.environ, "SIGNING_KEY": KEY.reveal()})
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        for line in self._said:
            kind, _, what = line.rstrip("\n").partition(" ")
            if line.endswith("\n"):
                if kind == "R":
                    self.acknowledged.append(what)
                elif kind == "C":
                    self.signed.append(json.loads(what))

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_SECONDS
        while not self.acknowledged:
            assert self._process.poll() is None, "the writer ended"
            assert time.monotonic() < deadline, "the writer wrote nothing"
            time.sleep(0.01)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reading.join()
        self._said.close()


def settings_of(url: str) -> Any:
    return load_settings(
        None,
        {
            "VSQL_VAULT_STORAGE__DATABASE_URL": url,
            "VSQL_VAULT_STORAGE__SHARDS": str(SHARDS),
            "VSQL_VAULT_AUDIT__SIGNING_KEY_ENV": "SIGNING_KEY",
        },
    )


async def counted(storage: Storage) -> tuple[Counter[str], list[int], list[tuple[LogName, int]]]:
    """Return how often each request stands in the tree, the indexes, and the places of the leaves."""
    found: Counter[str] = Counter()
    indexes: list[int] = []
    places: list[tuple[LogName, int]] = []
    while rows := await storage.leaf_rows(len(indexes), 4096):
        indexes += [row.index for row in rows]
        places += [(row.place.log, row.place.position) for row in rows]
        found.update(row.record.request_id for row in rows if isinstance(row.record, AccessRecord))
    return found, indexes, places


def test_after_any_kill_every_acknowledged_row_is_in_the_tree_once(
    tmp_path: Path, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SIGNING_KEY", KEY.reveal())
    url = new_database(tmp_path)
    if url.startswith("postgresql:"):
        asyncio.run(spread(url))
    chance = random.Random(KILLS)
    writers = [Writer(url), Writer(url)]
    dead: list[Writer] = []
    try:
        for writer in writers:
            writer.await_ready()
        for _ in range(KILLS):
            time.sleep(chance.uniform(0.0, 0.4))
            chosen = chance.randrange(2)
            writers[chosen].kill()
            dead.append(writers[chosen])
            writers[chosen] = Writer(url)
            writers[chosen].await_ready()
    finally:
        for writer in writers:
            writer.kill()
    asyncio.run(checked(url, [*dead, *writers]))
    if url.startswith("postgresql:"):
        assert asyncio.run(shards_of(url)) == set(range(SHARDS))


async def spread(url: str) -> None:
    """Give a database without rows its shards."""
    connection = await asyncpg.connect(url)
    await connection.execute("UPDATE vault.sharding SET shards = $1", SHARDS)
    await connection.close()


async def shards_of(url: str) -> set[int]:
    """Return the shards that rows are in."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch("SELECT DISTINCT shard FROM vault.access_log")
    await connection.close()
    return {row[0] for row in rows}


async def checked(url: str, writers: list[Writer]) -> None:
    async with open_vault(settings_of(url)) as vault:
        await vault.log.sequencer.sequence()
    storage = await open_storage(Plugins(settings_of(url)))
    try:
        found, indexes, places = await counted(storage)
        acknowledged = [each for writer in writers for each in writer.acknowledged]
        assert len(acknowledged) > 10 * len(writers)
        assert [each for each in acknowledged if found[each] != 1] == []
        assert set(found.values()) == {1}
        assert indexes == list(range(len(indexes)))
        assert len(set(places)) == len(places)
        signed = {note for writer in writers for note in writer.signed}
        assert signed
        source = StorageSource(storage)
        verdict = await verify_log(source, [KEY.verifier], signed)
        assert verdict.is_good, verdict.findings[:5]
        assert (verdict.size, source.waiting) == (len(indexes), 0)
    finally:
        await storage.close()
