"""What a shred and a replace must not undo."""

import asyncio
from dataclasses import replace

import pytest

from vsqlvault.interfaces.storage import (
    Committed,
    Conflict,
    CountRetrieval,
    EntryIs,
    OverwriteEntry,
    Read,
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
        return [(await storage.commit([write]))[0] for write in writes], (await storage.rulebook()), await seen(storage)
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
