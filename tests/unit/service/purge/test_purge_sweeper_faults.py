"""Faulty purge methods, and entries that change while a sweep runs."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.unit.service.purge.sweeping import DAY, MisbehavingPlugin, fill, sweep, there
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.purge import PurgePlan, Remove
from vsqlvault.proof.canonical import canonical_json
from vsqlvault.testing import storing


async def test_a_method_that_fails_keeps_its_entries_and_the_sweep_ends(install, offering, open_scene) -> None:
    method = MisbehavingPlugin("e1", "e3")
    install(caprice=offering("vault_purge_methods", method))
    scene = await open_scene(purge__sweep_batch="2", purge__sweep_pause_seconds="0")
    await scene.retain(purge_method="caprice")
    ending = await fill(scene, 6)
    count = await sweep(scene)
    assert (count.purged, count.failed) == (4, 2)
    assert await there(scene, *ending) == ["e1", "e3"]
    assert {record.external_id for record in await scene.purge_rows()} == {"e0", "e2", "e4", "e5"}
    assert method.asked.count("e1") == 1


async def test_what_failed_goes_with_the_next_sweep_once_it_can(install, offering, open_scene) -> None:
    method = MisbehavingPlugin("e1")
    install(caprice=offering("vault_purge_methods", method))
    scene = await open_scene()
    await scene.retain(purge_method="caprice")
    await fill(scene, 2)
    await sweep(scene)
    method.bad.clear()
    assert (await sweep(scene)).purged == 1


async def test_what_cannot_be_purged_is_asked_for_once_however_much_it_is(install, offering, open_scene) -> None:
    method = MisbehavingPlugin(*(f"e{n}" for n in range(1500)))
    install(caprice=offering("vault_purge_methods", method))
    scene = await open_scene(purge__sweep_pause_seconds="0")
    await scene.retain(purge_method="caprice")
    await scene.retain("zoo", max_retention_days=1, default_ttl_days=1)
    await scene.store("z", purpose="zoo")
    await fill(scene, 1500)
    count = await sweep(scene)
    assert (count.by_purpose, count.failed, count.completed) == ({"zoo": 1}, 1500, True)
    assert len(method.asked) == 1500


@pytest.mark.parametrize("reason", [None, "because"], ids=repr)
async def test_a_method_that_plans_without_a_reason_does_not_stop_the_sweep(
    install, offering, open_scene, reason
) -> None:
    class Unreasonable(MisbehavingPlugin):
        async def plan(self, request: Any) -> PurgePlan:
            wanted = reason if request.entry.external_id == "e0" else request.reason
            return PurgePlan(Remove(), wanted)

    install(caprice=offering("vault_purge_methods", Unreasonable()))
    scene = await open_scene()
    await scene.retain(purge_method="caprice")
    await fill(scene, 3)
    count = await sweep(scene)
    assert (count.purged, count.failed) == (2, 1)


async def test_a_method_that_is_no_coroutine_function_does_not_stop_the_sweep(install, offering, open_scene) -> None:
    class Plain(MisbehavingPlugin):
        def plan(self, request: Any) -> PurgePlan:
            raise RuntimeError

    install(caprice=offering("vault_purge_methods", Plain()))
    scene = await open_scene()
    await scene.retain(purge_method="caprice")
    ending = await fill(scene, 3)
    count = await sweep(scene)
    assert (count.purged, count.failed) == (0, 3)
    assert await there(scene, *ending) == ending


async def test_a_method_that_is_late_with_one_keeps_that_one(install, offering, open_scene) -> None:
    class Late(MisbehavingPlugin):
        async def plan(self, request: Any) -> PurgePlan:
            if request.entry.external_id == "e3":
                await asyncio.sleep(3600)
            return await super().plan(request)

    method = Late("e1")
    install(caprice=offering("vault_purge_methods", method))
    scene = await open_scene(access__plugin_timeout_seconds="0.05")
    await scene.retain(purge_method="caprice")
    ending = await fill(scene, 6)
    count = await sweep(scene)
    assert (count.purged, count.failed) == (4, 2)
    assert await there(scene, *ending) == ["e1", "e3"]
    assert len(method.asked) == len(set(method.asked)) == 5


async def test_one_of_a_part_that_changed_does_not_keep_the_others(scene) -> None:
    ending = await fill(scene, 9)
    expired = scene.storage.inner.expired

    async def expired_then_replaced(query: Any) -> Any:
        page = await expired(query)
        scene.storage.inner.expired = expired
        await scene.store("e4", value=b"new")
        return page

    scene.storage.inner.expired = expired_then_replaced
    assert (await sweep(scene)).purged == 8
    assert await there(scene, *ending) == ["e4"]


async def test_a_policy_that_changes_in_the_middle_costs_another_look_and_no_entry(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="200", purge__sweep_pause_seconds="0")
    await fill(scene, 500)
    expired, looks = scene.storage.inner.expired, 0

    async def expired_then_changed(query: Any) -> Any:
        nonlocal looks
        page = await expired(query)
        looks += 1
        if looks in {1, 3}:
            await scene.retain("other", max_retention_days=1, default_ttl_days=1)
        return page

    scene.storage.inner.expired = expired_then_changed
    count = await sweep(scene)
    assert (count.purged, count.failed, count.completed) == (500, 0, True)
    assert looks > 4  # three pages and an empty one, and again the pages read before a change
    assert len({row.entry_id for row in await scene.purge_rows()}) == 500


async def test_what_expires_while_a_sweep_runs_is_for_the_next_one(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    await fill(scene, 20)
    at = scene.clock.at
    await scene.storage.inner.commit(
        [storing(f"soon-{n}", b"soon", created_at=at, expires_at=at + DAY / 4) for n in range(5)]
    )
    count = await sweep(scene, progress=lambda _: scene.clock.advance(hours=6))
    assert count.purged == 20
    assert (await sweep(scene)).purged == 5


async def test_metadata_with_a_large_number_does_not_stop_the_sweep(scene) -> None:
    metadata = canonical_json({"number": 1e20}).decode()
    await scene.store("large", metadata=metadata, expires_at=scene.clock.at + DAY)
    await scene.store("plain", expires_at=scene.clock.at + DAY)
    scene.clock.advance(days=1)
    assert (await sweep(scene)).purged == 2


async def test_an_entry_replaced_meanwhile_is_left_alone(scene) -> None:
    await scene.store(value=b"old", expires_at=scene.clock.at + DAY)
    scene.clock.advance(days=1)
    expired = scene.storage.inner.expired

    async def expired_then_replaced(query: Any) -> Any:
        page = await expired(query)
        scene.storage.inner.expired = expired
        await scene.store(value=b"new")
        return page

    scene.storage.inner.expired = expired_then_replaced
    assert (await sweep(scene)).purged == 0
    assert (await scene.vault.entries.retrieve(scene.owner, EntryKey("card", "pay-1"))).value == b"new"


async def test_a_maximum_that_is_raised_meanwhile_saves_the_entry(scene) -> None:
    await scene.retain(max_retention_days=100, default_ttl_days=None)
    await scene.store("saved", expires_at=scene.clock.at + DAY * 90)
    await scene.retain(max_retention_days=10, default_ttl_days=None)
    scene.clock.advance(days=10)
    expired = scene.storage.inner.expired

    async def expired_then_raised(query: Any) -> Any:
        page = await expired(query)
        scene.storage.inner.expired = expired
        await scene.retain(max_retention_days=100, default_ttl_days=None)
        return page

    scene.storage.inner.expired = expired_then_raised
    assert (await sweep(scene)).purged == 0
    assert await there(scene, "saved") == ["saved"]
    assert await scene.purge_rows() == []
