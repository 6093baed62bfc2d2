"""The place behind a storage: leases, secrets, migrating, coming back to it, and sharing it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import pytest

from vsqlvault.errors import StorageUnavailable
from vsqlvault.interfaces.storage import EntryQuery, LogQuery, Read, Storage
from vsqlvault.interfaces.writes import (
    Committed,
    Conflict,
    CountRetrieval,
    EntryAbsent,
    EntryIs,
    RetrievalsBelow,
    RevisionIs,
    SaveAccessPolicy,
    SaveRetentionPolicy,
    SaveSweep,
    StoreEntry,
    Write,
)
from vsqlvault.model.entry import EntryKey
from vsqlvault.testing.driving import StorageKit, committed, driven, look, revision_of
from vsqlvault.testing.samples import (
    T0,
    a_purge_record,
    a_retention_policy,
    a_sweep,
    a_write,
    an_access_policy,
    an_entry,
    storing,
)

KEY = EntryKey("card", "pay-1")
LONG = 3600.0


class PlaceConformance(StorageKit):
    """Leases, secrets, migrations, reopening, and two storages on one place."""

    @driven
    async def test_a_lease_is_had_by_one_holder(self, storage: Storage) -> None:
        assert await storage.acquire_lease("sweep", "a", LONG)
        assert not await storage.acquire_lease("sweep", "b", LONG)

    @driven
    async def test_a_lease_is_renewed_by_its_holder(self, storage: Storage) -> None:
        assert await storage.acquire_lease("sweep", "a", 0.01)
        assert await storage.acquire_lease("sweep", "a", LONG)
        await asyncio.sleep(0.1)
        assert not await storage.acquire_lease("sweep", "b", LONG)

    @driven
    async def test_a_lease_that_has_run_out_can_be_taken(self, storage: Storage) -> None:
        assert await storage.acquire_lease("sweep", "a", 0.01)
        await asyncio.sleep(0.1)
        assert await storage.acquire_lease("sweep", "b", LONG)
        assert not await storage.acquire_lease("sweep", "a", LONG)

    @driven
    async def test_a_lease_that_was_given_back_can_be_taken(self, storage: Storage) -> None:
        assert await storage.acquire_lease("sweep", "a", LONG)
        await storage.release_lease("sweep", "a")
        assert await storage.acquire_lease("sweep", "b", LONG)

    @driven
    async def test_nobody_gives_back_the_lease_of_another(self, storage: Storage) -> None:
        assert await storage.acquire_lease("sweep", "a", LONG)
        await storage.release_lease("sweep", "b")
        assert not await storage.acquire_lease("sweep", "b", LONG)

    @driven
    async def test_leases_of_two_names_are_two_leases(self, storage: Storage) -> None:
        assert await storage.acquire_lease("sweep", "a", LONG)
        assert await storage.acquire_lease("scrub", "b", LONG)

    @driven
    async def test_of_many_who_want_a_lease_at_once_one_has_it(self, storage: Storage) -> None:
        got = await asyncio.gather(*(storage.acquire_lease("sweep", f"h{n}", LONG) for n in range(20)))
        assert sum(got) == 1

    @driven
    async def test_a_secret_is_made_once(self, storage: Storage) -> None:
        secrets = await asyncio.gather(*(storage.secret("cursor") for _ in range(10)))
        assert len(secrets[0]) == 32
        assert len(set(secrets)) == 1

    @driven
    async def test_secrets_of_two_names_differ(self, storage: Storage) -> None:
        assert await storage.secret("cursor") != await storage.secret("other")

    @driven
    async def test_migrating_again_does_nothing(self, storage: Storage) -> None:
        await committed(storage, storing())
        first = await storage.migrate()
        assert first.before == first.after
        assert await storage.migrate() == first
        assert (await look(storage)).value == b"cipher"

    @driven
    async def test_what_a_migration_would_do_is_known_beforehand(self, storage: Storage) -> None:
        status = await storage.schema_status()
        assert (status.before, status.steps) == (status.after, ())

    @driven
    async def test_it_describes_itself_in_json(self, storage: Storage) -> None:
        description = storage.describe()
        assert {"product", "version"} <= set(description)
        assert json.loads(json.dumps(dict(description))) == dict(description)

    @driven
    async def test_a_storage_that_was_closed_is_not_available(self) -> None:
        other = await self.open_storage(self.directory)
        await other.close()
        for call in (
            other.read([Read()]),
            other.commit([storing()]),
            other.policy_snapshot(),
            other.access_log(LogQuery(limit=1)),
        ):
            with pytest.raises(StorageUnavailable):
                await call

    @driven
    async def test_closing_lets_what_is_under_way_finish(self, storage: Storage) -> None:
        self.needs("durable", "shared")
        other = await self.open_storage(self.directory)
        commit = asyncio.create_task(other.commit([storing(f"e{n}") for n in range(50)]))
        await asyncio.sleep(0)
        await other.close()
        outcomes = await commit
        assert outcomes == [Committed()] * 50
        assert (await look(storage, "e49")).entry is not None

    @driven
    async def test_everything_may_run_at_once(self, storage: Storage) -> None:
        await asyncio.gather(
            *(storage.commit([storing(f"e{n}")]) for n in range(20)),
            *(storage.read([Read(KEY)]) for _ in range(20)),
            *(storage.access_log(LogQuery(limit=5)) for _ in range(10)),
            *(storage.entries(EntryQuery(purpose="card", now=T0, limit=5)) for _ in range(10)),
            *(storage.entry_statistics(T0, {"card": T0}, ()) for _ in range(5)),
            *(storage.policy_snapshot() for _ in range(5)),
        )
        assert len(await storage.entries(EntryQuery(purpose="card", now=T0, limit=50))) == 20

    @driven
    async def test_what_was_committed_is_there_when_the_place_is_opened_again(self) -> None:
        self.needs("durable")
        entry, purge, sweep = an_entry(), a_purge_record(), a_sweep()
        access, retention = an_access_policy(), a_retention_policy()
        async with self.another() as storage:
            await committed(
                storage,
                a_write(StoreEntry(entry, b"cipher"), SaveAccessPolicy(access), SaveRetentionPolicy(retention)),
                a_write(SaveSweep(sweep), purges=(purge,)),
            )
            secret, policies = await storage.secret("cursor"), await storage.policy_snapshot()
            log = await storage.access_log(LogQuery(limit=10))
            assert await storage.acquire_lease("sweep", "a", LONG)
        async with self.another() as storage:
            snapshot = await look(storage)
            assert (snapshot.entry, snapshot.value) == (entry, b"cipher")
            assert await storage.secret("cursor") == secret
            assert await storage.policy_snapshot() == policies
            assert await storage.last_sweep() == sweep
            assert await storage.access_log(LogQuery(limit=10)) == log
            assert [row.record for row in await storage.purge_log(LogQuery(limit=10))] == [purge]
            assert not await storage.acquire_lease("sweep", "b", LONG)

    @driven
    async def test_two_storages_see_what_the_other_has_committed(self, storage: Storage) -> None:
        self.needs("shared")
        async with self.another() as other:
            for number in range(20):
                await committed(storage, storing(value=b"%d" % number))
                assert (await look(other)).value == b"%d" % number
                await committed(other, storing(value=b"back %d" % number))
                assert (await look(storage)).value == b"back %d" % number

    @driven
    async def test_two_storages_see_one_rulebook(self, storage: Storage) -> None:
        self.needs("shared")
        async with self.another() as other:
            old = RevisionIs(await revision_of(other))
            await committed(storage, a_write(SaveAccessPolicy(an_access_policy())))
            assert await revision_of(other) == await revision_of(storage)
            assert await other.policy_snapshot() == await storage.policy_snapshot()
            assert list(await other.commit([replace(storing(), expects=(old,))])) == [Conflict(old)]

    @driven
    async def test_two_storages_share_secrets_and_leases(self, storage: Storage) -> None:
        self.needs("shared")
        async with self.another() as other:
            one, same = await asyncio.gather(storage.secret("cursor"), other.secret("cursor"))
            assert one == same
            got = await asyncio.gather(*(s.acquire_lease("sweep", f"h{id(s)}", LONG) for s in (storage, other)))
            assert sorted(got) == [False, True]

    @driven
    async def test_of_many_who_create_through_two_storages_one_is_committed(self, storage: Storage) -> None:
        self.needs("shared")
        async with self.another() as other:
            write = replace(storing(), expects=(EntryAbsent(KEY),))
            outcomes = await asyncio.gather(*(s.commit([write]) for s in (storage, other) * 10))
            assert sum(outcome == Committed() for (outcome,) in outcomes) == 1

    @driven
    async def test_of_two_storages_that_replace_one_version_one_does(self, storage: Storage) -> None:
        self.needs("shared")
        entry = an_entry("replaced-by-two")
        async with self.another() as other:
            for number in range(2, 42):
                await committed(storage, a_write(StoreEntry(entry, b"cipher")))
                following = an_entry("replaced-by-two", b"next", version=number)
                write = a_write(StoreEntry(following, b"next"), expects=(EntryIs(entry.key, entry.stamp),))
                outcomes = await asyncio.gather(storage.commit([write]), other.commit([write]))
                assert sorted(type(outcome).__name__ for (outcome,) in outcomes) == ["Committed", "Conflict"]

    @driven
    async def test_a_limit_is_kept_exactly_by_two_storages(self, storage: Storage) -> None:
        self.needs("shared")
        await committed(storage, storing())
        async with self.another() as other:
            write = replace(a_write(CountRetrieval(KEY)), expects=(RetrievalsBelow(KEY, 10),))
            outcomes = await asyncio.gather(*(s.commit([write]) for s in (storage, other) * 20))
            assert sum(outcome == Committed() for (outcome,) in outcomes) == 10
            entry = (await look(storage)).entry
            assert entry is not None
            assert entry.retrievals == 10

    @driven
    async def test_a_batch_of_reads_never_sees_half_a_write(self, storage: Storage) -> None:
        self.needs("shared")
        await committed(storage, _pair(0))
        async with self.another() as other:
            writing = asyncio.create_task(_write_pairs(other, 50))
            while not writing.done():
                left, right = await storage.read([Read(EntryKey("card", name), with_value=True) for name in "ab"])
                assert left.value == right.value
            await writing


def _pair(number: int) -> Write:
    value = b"%d" % number
    return a_write(StoreEntry(an_entry("a", value), value), StoreEntry(an_entry("b", value), value))


async def _write_pairs(storage: Storage, count: int) -> None:
    for number in range(count):
        await committed(storage, _pair(number))
