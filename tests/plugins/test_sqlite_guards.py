"""What a shred and a replace must not undo."""

import asyncio
from dataclasses import replace

import pytest

from vsqlvault.interfaces.storage import Read
from vsqlvault.interfaces.writes import (
    Committed,
    Conflict,
    CountRetrieval,
    EntryIs,
    OverwriteEntry,
    RemoveEntry,
    RetrievalsBelow,
    StoreEntry,
    Write,
)
from vsqlvault.testing.samples import an_access_record, an_entry
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

ENTRY = an_entry()
VALUE = b"x" * ENTRY.value_size


async def committed_in_turn(folder, *writes):
    storage = await SqliteStorage.open(folder / "vault.db")
    try:
        await storage.migrate()
        return (
            [(await storage.commit([write]))[0] for write in writes],
            (await storage.policy_snapshot()),
            await seen(storage),
        )
    finally:
        await storage.close()


async def seen(storage):
    return (await storage.read([Read(ENTRY.key)]))[0].entry


def write(*changes, expects=()):
    return Write((an_access_record(),), expects, changes)


SHRED = write(OverwriteEntry(ENTRY.key, bytes(len(VALUE)), ENTRY.updated_at, "crypto-shred"))


@pytest.mark.parametrize("expectation", [EntryIs(ENTRY.key, ENTRY.stamp), RetrievalsBelow(ENTRY.key, 10)])
def test_what_was_decided_before_a_shred_is_not_committed_after_it(tmp_path, expectation):
    outcomes, _, _ = asyncio.run(
        committed_in_turn(tmp_path, write(StoreEntry(ENTRY, VALUE)), SHRED, write(expects=(expectation,)))
    )
    assert outcomes[:2] == [Committed(), Committed()]
    assert outcomes[2] == Conflict(expectation)


OTHERS = [an_entry(f"other-{number}") for number in range(5)]
STALE = EntryIs(OTHERS[3].key, replace(OTHERS[3], version=9).stamp)


@pytest.mark.parametrize(
    ("spoilt", "before"),
    [
        (STALE, ()),
        (EntryIs(OTHERS[3].key, an_entry("other-3").stamp), ()),
        (EntryIs(OTHERS[3].key, OTHERS[3].stamp), (RemoveEntry(OTHERS[3].key),)),
        (
            EntryIs(OTHERS[3].key, OTHERS[3].stamp),
            (OverwriteEntry(OTHERS[3].key, bytes(len(VALUE)), ENTRY.updated_at, "crypto-shred"),),
        ),
    ],
)
def test_many_removals_are_left_out_where_one_entry_is_not_as_expected(tmp_path, spoilt, before):
    expects = (*(EntryIs(entry.key, entry.stamp) for entry in [ENTRY, *OTHERS[:3]]), spoilt)
    many = write(*(RemoveEntry(expect.key) for expect in expects), expects=expects)
    stored = write(*(StoreEntry(entry, VALUE) for entry in [ENTRY, *OTHERS]))
    outcomes, _, entry = asyncio.run(committed_in_turn(tmp_path, stored, write(*before), many))
    assert (outcomes[2], entry) == (Conflict(spoilt), ENTRY)


def test_many_removals_are_all_done_where_every_entry_is_as_expected(tmp_path):
    kept, *going = [ENTRY, *OTHERS]
    expects = tuple(EntryIs(entry.key, entry.stamp) for entry in going)
    many = write(*(RemoveEntry(expect.key) for expect in expects), expects=expects)

    async def run():
        storage = await SqliteStorage.open(tmp_path / "vault.db")
        await storage.migrate()
        outcomes = await storage.commit([write(*(StoreEntry(entry, VALUE) for entry in [kept, *going]))])
        outcomes += await storage.commit([many])
        left = [snapshot.entry for snapshot in await storage.read([Read(entry.key) for entry in [kept, *going]])]
        await storage.close()
        return outcomes, left

    assert asyncio.run(run()) == ([Committed(), Committed()], [kept] + [None] * len(going))


def test_a_replace_keeps_the_retrievals_counted_since_it_was_read(tmp_path):
    next_version = replace(ENTRY, version=ENTRY.version + 1)
    _, _, entry = asyncio.run(
        committed_in_turn(
            tmp_path,
            write(StoreEntry(ENTRY, VALUE)),
            write(CountRetrieval(ENTRY.key)),
            write(StoreEntry(next_version, VALUE)),
        )
    )
    assert (entry.version, entry.retrievals) == (next_version.version, ENTRY.retrievals + 1)
