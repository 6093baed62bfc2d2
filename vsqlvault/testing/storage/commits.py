"""Committing: what holds together is there as a whole, or not at all."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from vsqlvault.errors import VaultError
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.interfaces.writes import (
    Committed,
    Conflict,
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    Expectation,
    OverwriteEntry,
    PolicyUnused,
    RemoveEntry,
    RetrievalsBelow,
    RevisionIs,
    SaveAccessPolicy,
    SaveSweep,
    StoreEntry,
    Write,
)
from vsqlvault.model.entry import EntryKey, EntryVersion
from vsqlvault.testing.driving import StorageKit, committed, driven, look, revision_of
from vsqlvault.testing.samples import (
    T0,
    a_purge_record,
    a_sweep,
    a_write,
    an_access_policy,
    an_access_record,
    an_entry,
    storing,
)

KEY = EntryKey("card", "pay-1")
NO_REVISION = RevisionIs(10**9)
ENTRY = an_entry()


def _many_new(count: int) -> Write:
    """Return a write that stores entries with the ids ``new-0``, ``new-1`` and so on, and expects each id to be free."""
    entries = [an_entry(f"new-{number}") for number in range(count)]
    return Write(
        tuple(an_access_record(request_id="many", external_id=entry.external_id) for entry in entries),
        tuple(EntryAbsent(entry.key) for entry in entries),
        tuple(StoreEntry(entry, b"value of %d" % number) for number, entry in enumerate(entries)),
    )


def _unusable() -> dict[str, Write]:
    """Writes that no storage can take: a row without its request id, a value that is none, a purge without proof."""
    record = replace(an_access_record(), request_id=cast("str", None))
    value = cast("bytes", None)
    proof = cast("str", None)
    return {
        "an access row without a request id": replace(storing("bad"), access=(record,)),
        "an entry without a value": a_write(StoreEntry(an_entry("bad"), value)),
        "a purge row without proof": a_write(RemoveEntry(KEY), purges=(replace(a_purge_record(), proof_hash=proof),)),
    }


EXPECTATIONS_THAT_HOLD: dict[str, Expectation] = {
    "EntryIs": EntryIs(KEY, ENTRY.stamp),
    "EntryAbsent": EntryAbsent(EntryKey("card", "pay-2")),
    "EntryAbsent, under another purpose": EntryAbsent(EntryKey("ach", "pay-1")),
    "RetrievalsBelow": RetrievalsBelow(KEY, 1),
    "PolicyUnused": PolicyUnused("tellers"),
}
EXPECTATIONS_THAT_DO_NOT: dict[str, Expectation] = {
    "EntryIs, another version": EntryIs(KEY, EntryVersion(ENTRY.entry_id, 2)),
    "EntryIs, another entry": EntryIs(KEY, EntryVersion("0" * 32, 1)),
    "EntryIs, nothing there": EntryIs(EntryKey("card", "pay-2"), ENTRY.stamp),
    "EntryAbsent": EntryAbsent(KEY),
    "RevisionIs, an old one": RevisionIs(-1),
    "RevisionIs, one to come": NO_REVISION,
    "RetrievalsBelow, reached": RetrievalsBelow(KEY, 0),
    "RetrievalsBelow, nothing there": RetrievalsBelow(EntryKey("card", "pay-2"), 100),
    "PolicyUnused": PolicyUnused("owner-only"),
}


class CommitConformance(StorageKit):
    """Batches, expectations and changes."""

    @driven
    async def test_outcomes_come_in_the_order_of_the_writes(self, storage: Storage) -> None:
        writes = [
            replace(storing(f"e{n}"), expects=(NO_REVISION,)) if n % 3 == 0 else storing(f"e{n}") for n in range(30)
        ]
        outcomes = await storage.commit(writes)
        assert [type(outcome) for outcome in outcomes] == [Conflict if n % 3 == 0 else Committed for n in range(30)]

    @driven
    async def test_a_broken_expectation_does_not_hurt_the_other_writes(self, storage: Storage) -> None:
        await storage.commit([storing("a"), replace(storing("b"), expects=(NO_REVISION,)), storing("c")])
        there = [(await look(storage, name)).entry is not None for name in "abc"]
        assert there == [True, False, True]

    @driven
    async def test_nothing_of_a_write_with_a_broken_expectation_is_there(self, storage: Storage) -> None:
        await committed(storage, storing("old"))
        revision = await revision_of(storage)
        write = Write(
            (an_access_record(request_id="left-out"),),
            (EntryAbsent(EntryKey("card", "new")), NO_REVISION),
            (
                StoreEntry(an_entry("new"), b"cipher"),
                RemoveEntry(EntryKey("card", "old")),
                SaveAccessPolicy(an_access_policy()),
                SaveSweep(a_sweep()),
            ),
            (a_purge_record(),),
        )
        assert list(await storage.commit([write])) == [Conflict(NO_REVISION)]
        assert (await look(storage, "new")).entry is None
        assert (await look(storage, "old")).entry is not None
        assert await revision_of(storage) == revision
        assert await storage.last_sweep() is None
        assert not await storage.purge_log(LogQuery(limit=10))
        assert not await storage.access_log(LogQuery(limit=10, equals={"request_id": "left-out"}))

    @driven
    async def test_a_conflict_names_the_expectation_that_does_not_hold(self, storage: Storage) -> None:
        broken = EntryIs(KEY, EntryVersion("0" * 32, 1))
        holding = EntryAbsent(KEY)
        assert list(await storage.commit([replace(a_write(), expects=(holding, broken))])) == [Conflict(broken)]

    @driven
    async def test_the_entry_that_must_be_absent_may_be_another_than_the_stored_one(self, storage: Storage) -> None:
        await committed(storage, storing("there"))
        absent = EntryAbsent(EntryKey("card", "there"))
        expects = (RevisionIs(await revision_of(storage)), absent)
        write = Write((an_access_record(),), expects, (StoreEntry(an_entry("beside"), b"cipher"),))
        assert list(await storage.commit([write])) == [Conflict(absent)]
        assert (await look(storage, "beside")).entry is None

    @pytest.mark.parametrize("place", [0, 99, 199])
    @driven
    async def test_a_write_of_many_new_entries_stores_none_if_one_id_is_taken(
        self, storage: Storage, place: int
    ) -> None:
        await committed(storage, storing(f"new-{place}"))
        write = _many_new(200)
        assert list(await storage.commit([write])) == [Conflict(write.expects[place])]
        assert [(await look(storage, f"new-{number}")).entry is not None for number in range(200)] == [
            number == place for number in range(200)
        ]
        assert not await storage.access_log(LogQuery(limit=10, equals={"request_id": "many"}))

    @driven
    async def test_a_write_of_many_new_entries_stores_each_with_its_value(self, storage: Storage) -> None:
        write = _many_new(200)
        await committed(storage, write)
        found = [await look(storage, f"new-{number}", with_value=True) for number in range(200)]
        assert [(each.entry, each.value) for each in found] == [
            (change.entry, change.value) for change in write.changes if isinstance(change, StoreEntry)
        ]
        assert len(await storage.access_log(LogQuery(limit=300, equals={"request_id": "many"}))) == 200

    @driven
    async def test_a_write_of_many_keeps_the_retrievals_that_were_counted_since_the_read(
        self, storage: Storage
    ) -> None:
        entries = [an_entry("a"), an_entry("b")]
        for entry in entries:
            await committed(storage, a_write(StoreEntry(entry, b"cipher")))
        await committed(storage, a_write(CountRetrieval(entries[0].key)))
        await committed(storage, a_write(*(StoreEntry(replace(entry, version=2), b"next") for entry in entries)))
        found = [(await look(storage, name)).entry for name in "ab"]
        assert [None if entry is None else entry.retrievals for entry in found] == [1, 0]

    @driven
    async def test_a_write_that_changes_nothing_leaves_its_rows(self, storage: Storage) -> None:
        records = tuple(an_access_record(request_id=f"r{n}") for n in range(3))
        await committed(storage, Write(records))
        found = await storage.access_log(LogQuery(limit=10, oldest_first=True))
        assert tuple(row.record for row in found) == records

    @driven
    async def test_all_changes_of_one_write_are_made(self, storage: Storage) -> None:
        await committed(storage, storing("a"), storing("b"))
        gone = RemoveEntry(EntryKey("card", "a"))
        shredded = OverwriteEntry(EntryKey("card", "b"), b"\0" * 6, T0, "crypto-shred")
        new = an_entry("c")
        purges = (a_purge_record(), a_purge_record())
        await committed(storage, a_write(gone, shredded, StoreEntry(new, b"cipher"), purges=purges))
        assert (await look(storage, "a")).entry is None
        shred = (await look(storage, "b")).entry
        assert shred is not None
        assert shred.purged_at == T0
        assert (await look(storage, "c")).entry == new
        assert len(await storage.purge_log(LogQuery(limit=10))) == 2

    @driven
    async def test_a_batch_may_hold_a_thousand_writes(self, storage: Storage) -> None:
        await committed(storage, *(storing(f"e{n}", b"%d" % n) for n in range(1000)))
        assert (await look(storage, "e999")).value == b"999"
        assert len(await storage.access_log(LogQuery(limit=2000))) == 1000

    @pytest.mark.parametrize("place", [0, 2, 4], ids=["first", "in the middle", "last"])
    @pytest.mark.parametrize("kind", _unusable())
    @driven
    async def test_nothing_of_a_batch_is_there_if_one_write_cannot_be_used(
        self, storage: Storage, kind: str, place: int
    ) -> None:
        await committed(storage, storing("pay-1", b"before"))
        writes = [storing(f"e{n}") for n in range(4)]
        writes.insert(place, _unusable()[kind])
        with pytest.raises(VaultError):
            await storage.commit(writes)
        assert [(await look(storage, f"e{n}")).entry for n in range(4)] == [None] * 4
        assert (await look(storage, "bad")).entry is None
        assert (await look(storage)).value == b"before"
        assert len(await storage.access_log(LogQuery(limit=10))) == 1
        assert not await storage.purge_log(LogQuery(limit=10))

    @pytest.mark.parametrize("kind", _unusable())
    @driven
    async def test_the_storage_goes_on_after_a_write_that_cannot_be_used(self, storage: Storage, kind: str) -> None:
        with pytest.raises(VaultError):
            await storage.commit([_unusable()[kind]])
        await committed(storage, storing("next"))
        assert (await look(storage, "next")).entry is not None

    @pytest.mark.parametrize("expectation", EXPECTATIONS_THAT_HOLD.values(), ids=EXPECTATIONS_THAT_HOLD)
    @driven
    async def test_a_write_is_committed_if_its_expectation_holds(
        self, storage: Storage, expectation: Expectation
    ) -> None:
        await committed(storage, a_write(StoreEntry(ENTRY, b"cipher")))
        await committed(storage, replace(storing("after"), expects=(expectation,)))
        assert (await look(storage, "after")).entry is not None

    @pytest.mark.parametrize("expectation", EXPECTATIONS_THAT_DO_NOT.values(), ids=EXPECTATIONS_THAT_DO_NOT)
    @driven
    async def test_a_write_is_left_out_if_its_expectation_does_not_hold(
        self, storage: Storage, expectation: Expectation
    ) -> None:
        await committed(storage, a_write(StoreEntry(ENTRY, b"cipher")))
        outcomes = await storage.commit([replace(storing("after"), expects=(expectation,))])
        assert list(outcomes) == [Conflict(expectation)]
        assert (await look(storage, "after")).entry is None

    @driven
    async def test_the_present_revision_holds(self, storage: Storage) -> None:
        now = RevisionIs(await revision_of(storage))
        await committed(storage, replace(storing(), expects=(now,)))

    @driven
    async def test_an_entry_that_was_replaced_is_no_longer_its_old_version(self, storage: Storage) -> None:
        await committed(storage, a_write(StoreEntry(ENTRY, b"cipher")))
        await committed(storage, a_write(StoreEntry(replace(ENTRY, version=2), b"cipher")))
        old = EntryIs(KEY, ENTRY.stamp)
        new = EntryIs(KEY, EntryVersion(ENTRY.entry_id, 2))
        assert list(await storage.commit([replace(a_write(), expects=(old,)), replace(a_write(), expects=(new,))])) == [
            Conflict(old),
            Committed(),
        ]

    @driven
    async def test_an_entry_that_was_overwritten_is_not_absent(self, storage: Storage) -> None:
        await committed(storage, a_write(StoreEntry(ENTRY, b"cipher")))
        await committed(storage, a_write(OverwriteEntry(KEY, b"\0" * 6, T0, "crypto-shred")))
        absent = EntryAbsent(KEY)
        assert list(await storage.commit([replace(a_write(), expects=(absent,))])) == [Conflict(absent)]

    @pytest.mark.parametrize("expectation", [EntryIs(KEY, ENTRY.stamp), RetrievalsBelow(KEY, 10)], ids=["is", "below"])
    @driven
    async def test_an_entry_that_was_overwritten_is_no_version_and_has_no_retrievals_left(
        self, storage: Storage, expectation: Expectation
    ) -> None:
        await committed(storage, a_write(StoreEntry(ENTRY, b"cipher")))
        await committed(storage, a_write(OverwriteEntry(KEY, b"\0" * 6, T0, "crypto-shred")))
        assert list(await storage.commit([replace(a_write(), expects=(expectation,))])) == [Conflict(expectation)]

    @driven
    async def test_an_entry_that_was_removed_is_absent(self, storage: Storage) -> None:
        await committed(storage, storing())
        await committed(storage, a_write(RemoveEntry(KEY)))
        await committed(storage, replace(storing(), expects=(EntryAbsent(KEY),)))

    @driven
    async def test_an_overwritten_entry_does_not_use_its_policy(self, storage: Storage) -> None:
        unused = PolicyUnused("tellers")
        await committed(storage, storing(access_policy="tellers"))
        assert list(await storage.commit([replace(a_write(), expects=(unused,))])) == [Conflict(unused)]
        await committed(storage, a_write(OverwriteEntry(KEY, b"\0" * 6, T0, "crypto-shred")))
        await committed(storage, replace(a_write(), expects=(unused,)))

    @driven
    async def test_storing_puts_the_whole_entry_in_the_place_of_the_old_one(self, storage: Storage) -> None:
        shredded = an_entry(
            retrievals=9, purged_at=T0, purge_method="crypto-shred", key_ref="old", owner_identity="jane", metadata="{}"
        )
        await committed(storage, a_write(StoreEntry(shredded, b"\0" * 6)))
        fresh = an_entry(key_ref=None, algorithm_hint=None)
        await committed(storage, a_write(StoreEntry(fresh, b"cipher")))
        snapshot = await look(storage)
        assert (snapshot.entry, snapshot.value) == (fresh, b"cipher")

    @driven
    async def test_removing_takes_that_entry_away_and_no_other(self, storage: Storage) -> None:
        await committed(storage, storing(), storing("pay-11"), storing(purpose="ach"))
        await committed(storage, a_write(RemoveEntry(KEY)))
        assert (await look(storage)).entry is None
        assert (await look(storage, "pay-11")).entry is not None
        assert (await look(storage, purpose="ach")).entry is not None

    @driven
    async def test_overwriting_marks_the_entry_and_takes_nothing_else_from_it(self, storage: Storage) -> None:
        other = an_entry("pay-2")
        await committed(storage, a_write(StoreEntry(ENTRY, b"cipher"), StoreEntry(other, b"cipher")))
        at = T0 + timedelta(days=1)
        await committed(storage, a_write(OverwriteEntry(KEY, b"\0" * 6, at, "crypto-shred")))
        assert (await look(storage)).entry == replace(ENTRY, purged_at=at, purge_method="crypto-shred")
        assert (await look(storage, "pay-2")).entry == other

    @driven
    async def test_an_overwritten_value_is_never_read(self, storage: Storage) -> None:
        await committed(storage, storing())
        await committed(storage, a_write(OverwriteEntry(KEY, b"\0" * 6, T0, "crypto-shred")))
        assert (await look(storage, with_value=True)).value is None

    @driven
    async def test_counting_a_retrieval_adds_one_and_changes_nothing_else(self, storage: Storage) -> None:
        other = an_entry("pay-2")
        await committed(storage, a_write(StoreEntry(ENTRY, b"cipher"), StoreEntry(other, b"cipher")))
        for _ in range(3):
            await committed(storage, a_write(CountRetrieval(KEY)))
        snapshot = await look(storage)
        assert (snapshot.entry, snapshot.value) == (replace(ENTRY, retrievals=3), b"cipher")
        assert (await look(storage, "pay-2")).entry == other

    @driven
    async def test_a_new_version_keeps_the_retrievals_that_were_counted_since_the_read(self, storage: Storage) -> None:
        await committed(storage, a_write(StoreEntry(ENTRY, b"cipher")))
        await committed(storage, a_write(CountRetrieval(KEY)))
        await committed(storage, a_write(StoreEntry(replace(ENTRY, version=2), b"next")))
        entry = (await look(storage)).entry
        assert entry is not None
        assert (entry.version, entry.retrievals) == (2, 1)

    @driven
    async def test_the_counter_is_compared_with_what_was_counted(self, storage: Storage) -> None:
        await committed(storage, storing(retrievals=4))
        below = RetrievalsBelow(KEY, 5)
        count = replace(a_write(CountRetrieval(KEY)), expects=(below,))
        await committed(storage, count)
        assert list(await storage.commit([count])) == [Conflict(below)]

    @driven
    async def test_the_newest_sweep_is_the_one_that_finished_last(self, storage: Storage) -> None:
        assert await storage.last_sweep() is None
        sweeps: list[Any] = [
            a_sweep(finished_at=T0 + timedelta(hours=hours), failed=hours, held=hours) for hours in (2, 3, 1)
        ]
        for sweep in sweeps:
            await committed(storage, a_write(SaveSweep(sweep)))
        assert await storage.last_sweep() == sweeps[1]

    @driven
    async def test_of_many_who_count_at_once_only_as_many_as_the_limit_are_committed(self, storage: Storage) -> None:
        await committed(storage, storing())
        write = replace(a_write(CountRetrieval(KEY)), expects=(RetrievalsBelow(KEY, 10),))
        outcomes = await asyncio.gather(*(storage.commit([write]) for _ in range(40)))
        assert sum(outcome == Committed() for (outcome,) in outcomes) == 10
        entry = (await look(storage)).entry
        assert entry is not None
        assert entry.retrievals == 10

    @driven
    async def test_of_many_who_create_at_once_one_is_committed(self, storage: Storage) -> None:
        writes = [replace(storing(value=b"%d" % n), expects=(EntryAbsent(KEY),)) for n in range(20)]
        outcomes = await asyncio.gather(*(storage.commit([write]) for write in writes))
        (winner,) = [n for n, (outcome,) in enumerate(outcomes) if outcome == Committed()]
        assert (await look(storage)).value == b"%d" % winner

    @driven
    async def test_two_changes_of_the_rulebook_in_one_batch_are_not_both_the_next(self, storage: Storage) -> None:
        now = RevisionIs(await revision_of(storage))
        writes = [
            replace(a_write(SaveAccessPolicy(an_access_policy(name))), expects=(now,)) for name in ("first", "second")
        ]
        outcomes = await storage.commit(writes)
        assert sorted(type(outcome).__name__ for outcome in outcomes) == ["Committed", "Conflict"]
        assert len((await storage.policy_snapshot()).access) == 1
