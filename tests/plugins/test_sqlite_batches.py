"""What one statement of a batch has shown is not read again, unless the batch itself has changed it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from vsqlvault.interfaces.storage import Read
from vsqlvault.interfaces.writes import (
    Committed,
    Conflict,
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    RemoveEntry,
    RetrievalsBelow,
    RevisionIs,
    SaveAccessPolicy,
    StoreEntry,
    Write,
)
from vsqlvault.testing.samples import a_write, an_access_policy, an_entry
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

Answer = TypeVar("Answer")
ENTRY = an_entry("batched", b"x")
KEY = ENTRY.key


def outcomes(folder: Path, *batches: list[Write]) -> list[type]:
    """Return the kinds of the outcomes of the last batch on a new file."""

    async def act(storage: SqliteStorage) -> list[type]:
        for batch in batches:
            found = await storage.commit(batch)
        return [type(outcome) for outcome in found]

    return on_a_new_file(folder, act)


def on_a_new_file(folder: Path, act: Callable[[SqliteStorage], Awaitable[Answer]]) -> Answer:
    async def main() -> Answer:
        storage = await SqliteStorage.open(folder / "vault.db")
        try:
            await storage.migrate()
            return await act(storage)
        finally:
            await storage.close()

    return asyncio.run(main())


def test_a_write_expects_what_the_one_before_it_stored(tmp_path: Path) -> None:
    storing = a_write(StoreEntry(ENTRY, b"x"), expects=(EntryAbsent(KEY),))
    assert outcomes(tmp_path, [storing, storing]) == [Committed, Conflict]


def test_a_write_expects_the_absence_of_what_the_one_before_it_removed(tmp_path: Path) -> None:
    removing = a_write(RemoveEntry(KEY), expects=(EntryIs(KEY, ENTRY.stamp),))
    storing = a_write(StoreEntry(ENTRY, b"x"), expects=(EntryAbsent(KEY),))
    assert outcomes(tmp_path, [storing], [removing, removing, storing]) == [Committed, Conflict, Committed]


def test_a_retrieval_counts_for_the_next_one(tmp_path: Path) -> None:
    retrieving = a_write(CountRetrieval(KEY), expects=(RetrievalsBelow(KEY, 2),))
    expected = [Committed, Committed, Conflict]
    assert outcomes(tmp_path, [a_write(StoreEntry(ENTRY, b"x"))], [retrieving] * 3) == expected


def test_a_store_keeps_the_retrievals_that_its_batch_has_counted(tmp_path: Path) -> None:
    async def act(storage: SqliteStorage) -> int:
        await storage.commit([a_write(StoreEntry(ENTRY, b"x"))])
        replacing = a_write(StoreEntry(replace(ENTRY, version=2), b"y"), expects=(EntryIs(KEY, ENTRY.stamp),))
        await storage.commit([a_write(CountRetrieval(KEY), expects=(RetrievalsBelow(KEY, 9),)), replacing])
        entry = (await storage.read([Read(KEY)]))[0].entry
        assert entry is not None
        return entry.retrievals

    assert on_a_new_file(tmp_path, act) == 1


def test_a_change_of_the_rules_is_seen_by_the_next_write(tmp_path: Path) -> None:
    async def act(storage: SqliteStorage) -> list[type]:
        expects = (RevisionIs((await storage.read([Read()]))[0].revision),)
        changing = a_write(SaveAccessPolicy(an_access_policy()), expects=expects)
        return [type(outcome) for outcome in await storage.commit([changing, a_write(expects=expects)])]

    assert on_a_new_file(tmp_path, act) == [Committed, Conflict]


def test_several_removals_of_one_write_are_seen_by_the_next(tmp_path: Path) -> None:
    both = [replace(ENTRY, external_id=name) for name in ("one", "two")]
    storing = [a_write(StoreEntry(entry, b"x")) for entry in both]
    checking = a_write(expects=(EntryIs(both[0].key, both[0].stamp),))
    removing = a_write(*(RemoveEntry(entry.key) for entry in both))
    assert outcomes(tmp_path, storing, [checking, removing, checking]) == [Committed, Committed, Conflict]
