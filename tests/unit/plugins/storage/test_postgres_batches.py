"""What a batch of commits says to PostgreSQL, and how often."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from vsqlvault.interfaces.writes import Committed, Conflict, EntryAbsent, EntryIs, RevisionIs, StoreEntry, Write
from vsqlvault.testing import a_write, an_access_record, an_entry
from vsqlvault_plugins.storage.postgres.batches import commit_batch
from vsqlvault_plugins.storage.postgres.sharding import Shards

ENTRY = an_entry()


class FakeConnection:
    """Answers calls of functions as configured, and remembers them."""

    def __init__(self, *answers: list[int] | None) -> None:
        self.answers = list(answers)
        self.calls: list[tuple[str, tuple[Any, ...]]] = []

    async def fetchval(self, query: str, *arguments: Any) -> list[int] | None:
        function = re.search(r"vault\.(\w+)\(", query)
        assert function
        self.calls.append((function[1], arguments))
        return self.answers.pop(0)

    @property
    def functions(self) -> list[str]:
        return [name for name, _ in self.calls]


def creating(number: int, revision: int | None = 7) -> Write:
    entry = replace(ENTRY, external_id=f"e{number}")
    expects = (EntryAbsent(entry.key), *([] if revision is None else [RevisionIs(revision)]))
    return Write((an_access_record(),), expects, (StoreEntry(entry, b"x"),))


def retrieving(revision: int = 7) -> Write:
    return replace(a_write(), expects=(EntryIs(ENTRY.key, ENTRY.stamp), RevisionIs(revision)))


async def test_what_every_write_expects_is_said_once() -> None:
    connection = FakeConnection([0, 0, 0])
    assert await commit_batch(connection, [creating(1), retrieving(), creating(2)]) == [Committed()] * 3
    ((function, (writes, revision, expectations, puts, *_)),) = connection.calls
    assert (function, writes, revision) == ("commit_as_usual", 3, 7)
    assert [row[:3] for row in expectations] == [(2, 1, "entry-is")]
    assert [row[:2] for row in puts] == [(1, True), (3, True)]


async def test_a_batch_over_several_shards_is_one_call() -> None:
    connection = FakeConnection([0] * 8)
    await commit_batch(connection, [creating(number) for number in range(8)], Shards(4))
    ((function, (_, _, _, puts, *_)),) = connection.calls
    assert function == "commit_as_usual"
    assert {row[-1] for row in puts} == {0, 1, 2, 3}


async def test_where_that_does_not_hold_each_says_what_it_expects() -> None:
    connection = FakeConnection(None, [1, 0])
    first, second = creating(1), retrieving()
    assert await commit_batch(connection, [first, second]) == [Conflict(first.expects[0]), Committed()]
    assert connection.functions == ["commit_as_usual", "commit_batch"]
    _, (_, expectations, *_) = connection.calls[1]
    assert [row[:3] for row in expectations] == [
        (1, 1, "entry-absent"), (1, 2, "revision-is"), (2, 1, "entry-is"), (2, 2, "revision-is")
    ]  # fmt: skip


async def test_writes_of_which_one_expects_no_revision_or_another_one_are_not_as_usual() -> None:
    for odd in (a_write(), retrieving(8), creating(2, None)):
        connection = FakeConnection([0, 0])
        await commit_batch(connection, [creating(1), odd])
        assert connection.functions == ["commit_batch"]


async def test_an_absence_that_is_not_of_what_is_stored_is_expected_all_the_same() -> None:
    connection = FakeConnection([0])
    other = replace(ENTRY, external_id="other").key
    write = creating(1)
    await commit_batch(connection, [replace(write, expects=(*write.expects, EntryAbsent(other)))])
    _, (_, _, expectations, *_) = connection.calls[0]
    assert expectations == [(1, 3, "entry-absent", *other, None, None, 0)]
