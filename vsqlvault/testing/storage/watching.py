"""Changes of controls and attestations, which are append-only, and the data that they examine."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from vsqlvault.errors import StorageFull
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.interfaces.watch_storage import (
    NewestAccessReviewIs,
    NewestAttestationIs,
    NewestControlChangeIs,
    PurgesByIdQuery,
    SaveAccessReview,
    SaveAttestation,
    SaveControlChange,
)
from vsqlvault.interfaces.writes import Committed, Conflict, RevisionIs, Write, WriteOutcome
from vsqlvault.model.control import ControlChange, ControlState
from vsqlvault.testing.driving import StorageKit, committed, driven
from vsqlvault.testing.samples import (
    T0,
    a_control_change,
    a_purge_record,
    a_write,
    an_access_record,
    an_access_review,
    an_attestation,
    an_entry,
    storing,
)

HOUR = timedelta(hours=1)
LIMIT = 1_000


def _saving(change: ControlChange, *rows: str) -> Write:
    records = tuple(an_access_record(request_id=row) for row in rows)
    return Write(records, (NewestControlChangeIs(change.name, change.number - 1),), (SaveControlChange(change),))


def _attesting(number: int) -> Write:
    made = an_attestation(number)
    return Write(
        (an_access_record(request_id=f"run-{number}"),), (NewestAttestationIs(number - 1),), (SaveAttestation(made),)
    )


async def _rows(storage: Storage) -> list[str]:
    return [row.record.request_id for row in await storage.access_log(LogQuery(limit=LIMIT, oldest_first=True))]


class WatchingConformance(StorageKit):
    """Controls, attestations, and the data that they examine."""

    @driven
    async def test_a_new_storage_has_watched_nothing(self, storage: Storage) -> None:
        assert list(await storage.control_states()) == []
        assert list(await storage.control_changes(T0 - HOUR, T0 + HOUR, LIMIT)) == []
        assert list(await storage.attestations(None, LIMIT)) == []
        assert list(await storage.access_reviews(None, LIMIT)) == []
        assert list(await storage.newest_access_reviews(T0)) == []

    @driven
    async def test_the_newest_change_of_a_control_says_how_it_stands_and_older_ones_are_kept(
        self, storage: Storage
    ) -> None:
        changes = [
            a_control_change("b"),
            a_control_change("a", at=T0 + HOUR),
            a_control_change("b", 2, state=ControlState.FAILING, at=T0 + 2 * HOUR, detail="it's \U0001f510"),
            a_control_change("b", 3, state=ControlState.NOT_IN_USE, at=T0 + 3 * HOUR),
        ]
        for change in changes:
            await committed(storage, _saving(change))
        assert list(await storage.control_states()) == [changes[1], changes[3]]
        assert list(await storage.control_changes(T0, T0 + 3 * HOUR, LIMIT)) == changes[:3]
        assert list(await storage.control_changes(T0 + HOUR, T0 + 4 * HOUR, 2)) == changes[1:3]

    @driven
    async def test_of_two_who_save_the_same_change_one_does_and_leaves_its_row(self, storage: Storage) -> None:
        both = [_saving(a_control_change(state=ControlState.FAILING), row) for row in ("one", "other")]
        outcomes = await storage.commit(both)
        assert list(outcomes) == [Committed(), Conflict(both[1].expects[0])]
        assert await _rows(storage) == ["one"]
        assert len(await storage.control_states()) == 1

    @driven
    async def test_so_it_is_of_two_storages_on_one_place(self, storage: Storage) -> None:
        self.needs("shared")
        async with self.another() as other:
            outcomes: list[WriteOutcome | StorageFull] = []
            for number in range(1, 11):
                both = [_saving(a_control_change(number=number), row) for row in ("one", "other")]
                done = await asyncio.gather(storage.commit(both[:1]), other.commit(both[1:]))
                outcomes += [outcome for part in done for outcome in part]
            assert outcomes.count(Committed()) == 10
            assert len(await _rows(storage)) == 10
            assert [change.number for change in await other.control_states()] == [10]

    @driven
    @pytest.mark.parametrize("broken", ["revision", "number"])
    async def test_every_expectation_beside_it_counts(self, storage: Storage, broken: str) -> None:
        right = a_control_change()
        wrong = NewestControlChangeIs(right.name, 7) if broken == "number" else RevisionIs(99)
        write = Write((), (NewestControlChangeIs(right.name, 0), wrong), (SaveControlChange(right),))
        assert list(await storage.commit([write])) == [Conflict(wrong)]
        assert list(await storage.control_states()) == []

    @driven
    async def test_an_expectation_of_a_control_counts_without_a_change(self, storage: Storage) -> None:
        alone = Write((an_access_record(request_id="alone"),), (NewestControlChangeIs("a", 1),))
        assert list(await storage.commit([storing(), alone])) == [Committed(), Conflict(alone.expects[0])]
        assert "alone" not in await _rows(storage)

    @driven
    async def test_attestations_are_numbered_one_by_one_and_come_newest_first(self, storage: Storage) -> None:
        for number in range(1, 6):
            await committed(storage, _attesting(number))
        again = _attesting(5)
        assert list(await storage.commit([again])) == [Conflict(again.expects[0])]
        made = [an_attestation(number) for number in range(1, 6)]
        assert list(await storage.attestations(None, LIMIT)) == made[::-1]
        assert list(await storage.attestations(4, 2)) == [made[2], made[1]]
        assert await _rows(storage) == [f"run-{number}" for number in range(1, 6)]

    @driven
    async def test_an_attestation_comes_back_as_it_was_made(self, storage: Storage) -> None:
        unsigned = replace(an_attestation(1), note=None, is_clean=False, document='{"purpose":"\u00fc\U0001f510"}')
        await committed(storage, Write((), (NewestAttestationIs(0),), (SaveAttestation(unsigned),)))
        assert list(await storage.attestations(None, 1)) == [unsigned]

    @driven
    async def test_access_reviews_are_numbered_one_by_one_and_come_back_newest_first(self, storage: Storage) -> None:
        made = [
            an_access_review(1, document='{"purpose":"\u00fc\U0001f510"}', note=None),
            an_access_review(2, purpose="card"),
            an_access_review(3, due_at=T0 + HOUR),
        ]
        for review in made:
            expected = NewestAccessReviewIs(review.number - 1)
            await committed(storage, Write((an_access_record(),), (expected,), (SaveAccessReview(review),)))
        again = Write((), (NewestAccessReviewIs(2),), (SaveAccessReview(made[2]),))
        assert list(await storage.commit([again])) == [Conflict(again.expects[0])]
        assert list(await storage.access_reviews(None, LIMIT)) == made[::-1]
        assert list(await storage.access_reviews(3, 1)) == [made[1]]

    @driven
    async def test_the_newest_access_review_of_each_purpose_and_of_all_is_found_as_of_a_time(
        self, storage: Storage
    ) -> None:
        of = [None, "card", "card", None, "pan"]
        made = [
            an_access_review(number, purpose=each, at=T0 + number * HOUR) for number, each in enumerate(of, start=1)
        ]
        for review in made:
            await committed(storage, Write((), (NewestAccessReviewIs(review.number - 1),), (SaveAccessReview(review),)))
        assert list(await storage.newest_access_reviews(T0)) == []
        assert list(await storage.newest_access_reviews(T0 + 2 * HOUR)) == made[:2]
        assert list(await storage.newest_access_reviews(T0 + 9 * HOUR)) == made[2:]

    @driven
    async def test_purges_are_found_by_their_ids(self, storage: Storage) -> None:
        ids = [f"{number:032x}" for number in (9, 3, 0xA, 5, 0xFF)]
        purges = [
            a_purge_record(an_entry(f"e{place}"), purge_id=purge_id, purged_at=T0 + place * HOUR)
            for place, purge_id in enumerate(ids)
        ]
        await committed(storage, *(a_write(purges=(purge,)) for purge in purges))
        query = PurgesByIdQuery(first_id=ids[3], since=T0, until=T0 + 4 * HOUR, limit=LIMIT)
        assert list(await storage.purges_by_id(query)) == [purges[3], purges[0], purges[2]]
        assert list(await storage.purges_by_id(replace(query, limit=1))) == [purges[3]]
        later = replace(query, first_id="", since=T0 + HOUR, until=T0 + 5 * HOUR)
        assert list(await storage.purges_by_id(later)) == [purges[1], purges[3], purges[2], purges[4]]
        assert list(await storage.purges_by_id(replace(query, first_id="f" * 32))) == []
