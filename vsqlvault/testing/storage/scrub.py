"""Scrubs: what they cover, and what they leave unchanged.

Whether the bytes are gone can be checked only in the storage's own files. The author of a storage tests this by
searching them.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from vsqlvault.interfaces.purge_storage import ScrubOutcome
from vsqlvault.interfaces.storage import LogQuery, Storage
from vsqlvault.interfaces.writes import EntryIs, OverwriteEntry, RemoveEntry, SaveScrub, SaveSweep, StoreEntry, Write
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.purge import SweepRuns
from vsqlvault.testing.driving import StorageKit, committed, driven, look
from vsqlvault.testing.samples import T0, a_purge_record, a_scrub, a_sweep, a_write, an_entry, storing

SECONDS = 5.0
DAY = timedelta(days=1)


class ScrubConformance(StorageKit):
    """The coverage and record of a scrub, and the count of expired entries."""

    @driven
    async def test_where_nothing_was_purged_there_is_nothing_to_do(self, storage: Storage) -> None:
        await committed(storage, storing())
        assert await storage.scrub(SECONDS) is None
        assert await storage.last_scrub() is None

    @driven
    async def test_a_scrub_covers_all_that_was_purged_before_it(self, storage: Storage) -> None:
        self.needs("scrubs")
        await committed(storage, *(_purging(f"e{n}") for n in range(40)))
        outcome = await _scrubbed(storage)
        newest = (await storage.purge_log(LogQuery(limit=1)))[0].position
        assert outcome.left == ()
        assert outcome.through >= newest
        assert outcome.rewritten >= 1

    @driven
    async def test_a_storage_without_a_scrub_lists_where_purged_bytes_remain(self, storage: Storage) -> None:
        if self.capabilities.scrubs:
            pytest.skip("this storage scrubs")
        await committed(storage, _purging("gone"))
        assert await storage.scrub(SECONDS) is None
        assert storage.describe().get("purge_does_not_reach"), "describe() must list where purged bytes remain"

    @driven
    async def test_what_lives_lives_on(self, storage: Storage) -> None:
        self.needs("scrubs")
        entry = an_entry("lives", b"alive" * 1000)
        shredded = an_entry("shredded", b"cipher")
        await committed(storage, a_write(StoreEntry(entry, b"alive" * 1000)), a_write(StoreEntry(shredded, b"cipher")))
        await committed(storage, *(_purging(f"e{n}") for n in range(40)))
        overwrite = OverwriteEntry(shredded.key, bytes(6), T0, "crypto-shred")
        await committed(storage, a_write(overwrite, purges=(a_purge_record(shredded),)))
        await _scrubbed(storage)
        assert (await look(storage, "lives")).value == b"alive" * 1000
        mark = (await look(storage, "shredded")).entry
        assert mark is not None
        assert mark.purged_at == T0
        await committed(storage, a_write(expects=(EntryIs(entry.key, entry.stamp),)))

    @driven
    async def test_a_row_says_when_a_scrub_had_reached_it(self, storage: Storage) -> None:
        self.needs("scrubs")
        await committed(storage, _purging("first"))
        outcome = await _scrubbed(storage)
        await committed(storage, _purging("second"))
        times = {"first": T0, "second": None}
        assert await _reached(storage) == times
        later = a_scrub(through=outcome.through, finished_at=T0 + DAY)
        await committed(storage, Write((), changes=(SaveScrub(later),)))
        assert await _reached(storage) == times
        outcome = await _scrubbed(storage, finished_at=T0 + DAY)
        assert await _reached(storage) == {"first": T0, "second": T0 + DAY}

    @driven
    async def test_one_that_was_killed_before_its_record_was_written_is_not_forgotten(self, storage: Storage) -> None:
        self.needs("scrubs")
        await committed(storage, _purging("gone"))
        unrecorded = await storage.scrub(SECONDS)
        assert unrecorded is not None
        outcome = await _scrubbed(storage)
        assert (outcome.through, outcome.left) == (unrecorded.through, ())
        assert await _reached(storage) == {"gone": T0}

    @driven
    async def test_the_newest_scrub_is_the_last(self, storage: Storage) -> None:
        scrubs = [a_scrub(finished_at=T0 + DAY * days, left=left) for days, left in ((2, "a: b"), (3, None), (1, None))]
        await committed(storage, *(Write((), changes=(SaveScrub(scrub),)) for scrub in scrubs))
        assert await storage.last_scrub() == scrubs[1]

    @driven
    async def test_the_runs_of_a_period_are_summed_and_the_newest_told(self, storage: Storage) -> None:
        sweeps = [
            a_sweep(finished_at=T0 + DAY * days, purged=days, failed=days % 2, completed=days != 3, held=days)
            for days in (3, 1, 5, 2, 4)
        ]
        scrubs = [a_scrub(finished_at=T0 + DAY * days, left="a: b" if days == 2 else None) for days in (2, 4, 1, 3)]
        await committed(
            storage,
            *(Write((), changes=(SaveSweep(sweep),)) for sweep in sweeps),
            *(Write((), changes=(SaveScrub(scrub),)) for scrub in scrubs),
        )
        newest = tuple(sorted(sweeps, key=lambda sweep: sweep.finished_at, reverse=True))
        assert await storage.sweeps(T0, T0 + DAY * 9, 2) == SweepRuns(
            count=5, purged=15, failed=3, not_completed=1, newest=newest[:2]
        )
        assert await storage.sweeps(T0 + DAY * 2, T0 + DAY * 4, 9) == SweepRuns(
            count=2, purged=5, failed=1, not_completed=1, newest=newest[2:4]
        )
        assert await storage.sweeps(T0 - DAY, T0, 9) == SweepRuns()
        assert list(await storage.scrubs(T0 + DAY * 2, T0 + DAY * 4, 9)) == [scrubs[3], scrubs[0]]
        assert list(await storage.scrubs(T0, T0 + DAY * 9, 1)) == [scrubs[1]]

    @driven
    async def test_requests_go_on_beside_a_scrub(self, storage: Storage) -> None:
        self.needs("scrubs")
        await committed(storage, *(storing(f"e{n}") for n in range(40)))
        await committed(storage, *(_purging(f"gone-{n}") for n in range(40)))
        scrub = asyncio.create_task(storage.scrub(SECONDS))
        for n in range(40):
            assert (await look(storage, f"e{n}")).value == b"cipher"
            await committed(storage, storing(f"new-{n}"))
        outcome = await scrub
        assert outcome is not None

    @driven
    async def test_what_has_expired_is_counted(self, storage: Storage) -> None:
        lives = {"ended": (9, -1), "ends-now": (9, 0), "old": (40, 5), "both": (50, -3), "lives": (9, 1)}
        await committed(
            storage,
            *(
                storing(f"{purpose}-{name}", purpose=purpose, created_at=T0 - DAY * age, expires_at=T0 + DAY * left)
                for purpose in ("card", "ach", "other")
                for name, (age, left) in lives.items()
            ),
            storing("purged", expires_at=T0 - DAY, purged_at=T0, purge_method="crypto-shred"),
        )
        retention_limits = {"card": T0 - DAY * 40, "ach": T0 - DAY * 400}
        assert await storage.count_expired(T0, retention_limits) == 4 + 3
        assert await storage.count_expired(T0 + DAY, retention_limits) == 5 + 4
        assert await storage.count_expired(T0, {"nothing": T0}) == 0


def _purging(external_id: str) -> Write:
    """Return a write that removes an entry, whether or not it exists, with its audit row."""
    entry = an_entry(external_id)
    return a_write(RemoveEntry(EntryKey("card", external_id)), purges=(a_purge_record(entry),))


async def _scrubbed(storage: Storage, **fields: object) -> ScrubOutcome:
    outcome = await storage.scrub(SECONDS)
    assert outcome is not None
    scrub = a_scrub(through=outcome.through, rewritten=outcome.rewritten, **fields)
    await committed(storage, Write((), changes=(SaveScrub(scrub),)))
    assert await storage.scrub(SECONDS) is None
    return outcome


async def _reached(storage: Storage) -> dict[str, object]:
    return {row.record.external_id: row.scrubbed_at for row in await storage.purge_log(LogQuery(limit=10))}
