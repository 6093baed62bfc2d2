"""The API key cache: it follows reads, refreshes rarely, and rejects a key that a read shows to be revoked."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import CredentialRefused, StorageUnavailable
from vsqlvault.interfaces.storage import PolicySnapshot, Snapshot
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.credentials.api_key_cache import ApiKeyCache
from vsqlvault.testing import T0, a_principal, an_api_key

KEY = an_api_key()
REVOKED = replace(KEY, version=2, revoked_by="jane", revoked_at=T0)


class Place:
    """A storage of keys: it can be away, and it counts what it is asked."""

    def __init__(self, *keys: ApiKeyRecord) -> None:
        self.policies = PolicySnapshot(1, {}, {}, {}, {key.key_id: key for key in keys})
        self.reads = 0
        self.gate: asyncio.Event | None = None
        self.is_away = False

    def put(self, *keys: ApiKeyRecord) -> None:
        merged = {**self.policies.api_keys, **{key.key_id: key for key in keys}}
        self.policies = replace(self.policies, revision=self.policies.revision + 1, api_keys=merged)

    async def policy_snapshot(self) -> PolicySnapshot:
        return self.policies


class Scene:
    def __init__(self, *keys: ApiKeyRecord) -> None:
        self.place = Place(*keys)
        self.policy_snapshots = PolicyCache(self.place, {})  # type: ignore[arg-type]
        self.seconds = 100.0
        self.ring = ApiKeyCache(
            self.policy_snapshots, self.read, StorageClock(), lambda: self.seconds, pause_seconds=0.0
        )

    async def read(self) -> Snapshot:
        """Read as the commit queue does: what a read brings, the rulebooks follow."""
        self.place.reads += 1
        if self.place.gate:
            await self.place.gate.wait()
        if self.place.is_away:
            raise StorageUnavailable
        await self.policy_snapshots.at(self.place.policies.revision)
        return Snapshot(T0, self.place.policies.revision, None, None)


def principal_of(key: ApiKeyRecord) -> Any:
    return a_principal(key.app, credential_id=key.key_id)


async def test_it_finds_what_a_read_has_shown() -> None:
    scene = Scene(KEY)
    assert scene.ring.find(KEY.digest) is None
    await scene.read()
    assert scene.ring.find(KEY.digest) == KEY
    scene.place.put(REVOKED, other := an_api_key("vsk_other"))
    assert scene.ring.find(KEY.digest) == KEY
    await scene.read()
    assert [scene.ring.find(digest) for digest in (KEY.digest, other.digest)] == [REVOKED, other]
    assert sorted(key.key_id for key in scene.ring.all()) == sorted([KEY.key_id, other.key_id])


async def test_a_record_that_has_not_changed_stays_the_same_object() -> None:
    scene = Scene(KEY)
    await scene.read()
    before = scene.ring.find(KEY.digest)
    scene.place.put(replace(KEY), an_api_key("vsk_other"))
    await scene.read()
    assert scene.ring.find(KEY.digest) is before


async def test_a_hundred_who_look_at_once_make_one_read() -> None:
    scene = Scene(KEY)
    await asyncio.gather(*(scene.ring.look() for _ in range(100)))
    assert scene.place.reads == 1


async def test_a_read_that_has_begun_does_not_count_for_a_caller_that_comes_later() -> None:
    """A key that was created after that read began is found by the next one."""
    scene = Scene()
    scene.place.gate = asyncio.Event()
    first = asyncio.create_task(scene.ring.look())
    await asyncio.sleep(0.01)
    assert scene.place.reads == 1
    later = [asyncio.create_task(scene.ring.look()) for _ in range(100)]
    first.cancel()
    await asyncio.sleep(0)
    scene.place.put(KEY)
    scene.place.gate.set()
    await asyncio.gather(*later)
    assert scene.ring.find(KEY.digest) == KEY
    assert scene.place.reads == 2


async def test_reads_begin_a_pause_apart() -> None:
    scene = Scene(KEY)
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(round(seconds, 3))
        scene.seconds += seconds

    ring = ApiKeyCache(
        scene.policy_snapshots, scene.read, StorageClock(), lambda: scene.seconds, sleep, pause_seconds=0.5
    )
    await ring.look()
    scene.seconds += 0.1
    await ring.look()
    assert (slept, scene.place.reads) == ([0.0, 0.4], 2)


async def test_a_storage_that_is_away_hurts_nobody_who_looks() -> None:
    scene = Scene(KEY)
    scene.place.is_away = True
    await scene.ring.look()
    assert scene.ring.find(KEY.digest) is None


async def test_a_storage_that_does_not_answer_hurts_nobody_who_looks() -> None:
    scene = Scene(KEY)
    scene.place.gate = asyncio.Event()
    ring = ApiKeyCache(scene.policy_snapshots, scene.read, StorageClock(), lambda: scene.seconds, timeout_seconds=0.01)
    await asyncio.wait_for(ring.look(), 5)
    assert ring.find(KEY.digest) is None


async def test_it_vouches_for_a_key_that_is_good_and_for_what_is_no_stored_key() -> None:
    scene = Scene(KEY)
    snapshot = await scene.read()
    scene.ring.revalidate(principal_of(KEY), snapshot)
    scene.ring.revalidate(a_principal(), replace(snapshot, revision=99))


@pytest.mark.parametrize(
    ("now_is", "reason"),
    [(REVOKED, "revoked"), (replace(KEY, expires_at=T0), "expired")],
    ids=["revoked", "expired by the storage's clock"],
)
async def test_it_does_not_vouch_for_a_key_that_a_read_shows_to_be_gone(now_is: ApiKeyRecord, reason: str) -> None:
    scene = Scene(KEY)
    await scene.read()
    scene.place.put(now_is)
    with pytest.raises(CredentialRefused) as refused:
        scene.ring.revalidate(principal_of(KEY), await scene.read())
    assert (refused.value.why, refused.value.credential_id) == (reason, KEY.key_id)


async def test_a_key_that_ends_between_two_reads_is_refused_by_the_later_ones_clock() -> None:
    scene = Scene(replace(KEY, expires_at=T0 + timedelta(seconds=1)))
    snapshot = await scene.read()
    scene.ring.revalidate(principal_of(KEY), snapshot)
    with pytest.raises(CredentialRefused):
        scene.ring.revalidate(principal_of(KEY), replace(snapshot, now=T0 + timedelta(seconds=1)))


async def test_where_newer_rules_could_not_be_read_no_stored_key_is_good() -> None:
    scene = Scene(KEY)
    snapshot = await scene.read()
    with pytest.raises(StorageUnavailable):
        scene.ring.revalidate(principal_of(KEY), replace(snapshot, revision=snapshot.revision + 1))
