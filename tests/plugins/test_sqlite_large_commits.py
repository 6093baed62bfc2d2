"""What a large commit takes of memory and processor, it gives back."""

import asyncio
import sqlite3
import sys

import pytest

from vsqlvault.interfaces.writes import RemoveEntry, Write
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing.samples import an_access_record
from vsqlvault_plugins.storage.sqlite import transactions
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage
from vsqlvault_plugins.storage.sqlite.transactions import LARGE, commit_batch, truncate_log

USUAL, LARGER = -2000, -16384


def removals(number):
    return Write((an_access_record(),), changes=tuple(RemoveEntry(EntryKey("card", f"e{n}")) for n in range(number)))


def cache_of(connection: sqlite3.Connection) -> int:
    return connection.execute("PRAGMA cache_size").fetchone()[0]


async def on_a_new_file(folder, act):
    storage = await SqliteStorage.open(folder / "vault.db")
    try:
        await storage.migrate()
        return await act(storage)
    finally:
        await storage.close()


@pytest.mark.parametrize(("number", "meanwhile"), [(LARGE - 1, USUAL), (LARGE, LARGER)])
def test_more_pages_are_kept_until_the_log_is_emptied(tmp_path, number, meanwhile) -> None:
    async def act(storage):
        await storage._writer.run(commit_batch, [removals(number)], number >= LARGE)
        kept = await storage._writer.run(cache_of)
        await storage._writer.run(truncate_log)
        return kept, await storage._writer.run(cache_of)

    assert asyncio.run(on_a_new_file(tmp_path, act)) == (meanwhile, USUAL)


@pytest.mark.parametrize(("number", "is_short"), [(LARGE - 1, False), (LARGE, True)])
def test_the_lock_is_handed_over_more_often_for_its_length(tmp_path, monkeypatch, number, is_short) -> None:
    seen = []

    def watched(connection, writes, has_large):
        seen.append(sys.getswitchinterval())
        return commit_batch(connection, writes, has_large)

    monkeypatch.setattr(transactions, "commit_batch", watched)
    usual = sys.getswitchinterval()
    asyncio.run(on_a_new_file(tmp_path, lambda storage: storage.commit([removals(number)])))
    assert (seen[0] < usual) is is_short
    assert sys.getswitchinterval() == usual
