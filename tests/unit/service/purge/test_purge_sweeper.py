"""Sweeps: what has expired goes, each with its proof, and nothing else does."""

from __future__ import annotations

import asyncio
import logging
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.config import Settings
from vsqlvault.errors import AuditUnavailable, RoleRequired, StorageUnavailable, SweepRunning, Unavailable
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.storage import Read
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import PurgePlan, PurgeReason, Remove
from vsqlvault.proof.canonical import canonical_json
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.runtime import Tuning, background
from vsqlvault.service.purge import throttle as sweep_pace
from vsqlvault.service.purge.sweeper import LEASE
from vsqlvault.service.tasks import running
from vsqlvault.testing import a_call, a_retention_policy, storing

DAY = timedelta(days=1)


class MisbehavingPlugin(PurgeMethod):
    """A purge method that fails on the configured ids."""

    name = "caprice"
    retires_id = False

    def __init__(self, *bad: str) -> None:
        self.bad = set(bad)
        self.asked: list[str] = []

    async def plan(self, request: Any) -> PurgePlan:
        self.asked.append(request.entry.external_id)
        if request.entry.external_id in self.bad:
            raise RuntimeError
        return PurgePlan(Remove(), request.reason)


ALONE = Tuning(sweep_alone_seconds=0.0)
"""The sweep treats itself as alone, although requests were served a moment ago."""


async def there(scene: Any, *ids: str, purpose: str = "card") -> list[str]:
    found = await scene.storage.inner.read([Read(EntryKey(purpose, name)) for name in ids])
    return [name for name, snapshot in zip(ids, found, strict=True) if snapshot.entry is not None]


async def fill(scene: Any, count: int, *, live: int = 0) -> list[str]:
    """Store entries that end tomorrow, and some that live on, past the wishes; return the ids of the first."""
    ending = [f"e{n}" for n in range(count)]
    at = scene.clock.at
    await scene.storage.inner.commit(
        [storing(name, name.encode(), created_at=at, expires_at=at + DAY) for name in ending]
        + [storing(f"live-{n}", created_at=at, expires_at=at + DAY * 90) for n in range(live)]
    )
    scene.clock.advance(days=1)
    return ending


async def sweep(scene: Any, **options: Any) -> Any:
    return await scene.vault.purge.sweeper.sweep(scene.admin, **options)


async def test_what_has_expired_is_purged_and_what_lives_is_kept(scene) -> None:
    ending = await fill(scene, 3, live=2)
    count = await sweep(scene)
    assert (count.purged, count.failed, count.by_purpose) == (3, 0, {"card": 3})
    assert await there(scene, *ending, "live-0", "live-1") == ["live-0", "live-1"]


async def test_each_entry_has_a_purge_row_whose_proof_can_be_recomputed(scene) -> None:
    for n in range(9):
        await scene.store(f"e{n}", value=b"v%d" % n, expires_at=scene.clock.at + DAY)
    kept = [s.entry for s in await scene.storage.inner.read([Read(EntryKey("card", f"e{n}")) for n in range(9)])]
    scene.clock.advance(days=1)
    await sweep(scene)
    rows = {record.external_id: record for record in await scene.purge_rows()}
    assert {name: row.proof_hash for name, row in rows.items()} == {
        entry.external_id: purge_proof(entry, b"v%d" % n) for n, entry in enumerate(kept)
    }
    assert {(row.reason, row.policy_reference, row.app, row.expired_at) for row in rows.values()} == {
        (PurgeReason.EXPIRED, "card v1", "vault-admin", scene.clock.at)
    }


async def test_each_purged_entry_has_an_access_row_and_the_sweep_has_its_own(scene) -> None:
    await fill(scene, 5)
    count = await sweep(scene)
    purges = await scene.access_rows(operation="purge")
    assert {row.detail for row in purges} == {f"sweep {count.sweep_id}"}
    assert {row.request_id for row in purges} == {scene.admin.request_id}
    assert len(purges) == 5
    (row,) = await scene.access_rows(operation="sweep")
    assert row.detail == f"sweep {count.sweep_id}: 5 purged, 0 failed"


async def test_the_summary_is_on_record(scene) -> None:
    await fill(scene, 5)
    count = await sweep(scene, trigger="request")
    last = await scene.storage.inner.last_sweep()
    assert (last.sweep_id, last.purged, last.failed, last.trigger) == (count.sweep_id, 5, 0, "request")


async def test_a_sweep_that_finds_nothing_is_on_record_too(scene) -> None:
    assert (await sweep(scene)).purged == 0
    assert (await scene.storage.inner.last_sweep()).purged == 0


async def test_what_the_retention_limit_ends_is_purged(scene) -> None:
    await scene.store("old")
    scene.clock.advance(days=10)
    await scene.store("new")
    await scene.retain(max_retention_days=10, default_ttl_days=5)
    assert (await sweep(scene)).purged == 1
    assert await there(scene, "old", "new") == ["new"]


async def test_every_purpose_is_swept_by_its_own_policy(scene) -> None:
    await scene.retain("ach", purge_method="crypto-shred", max_retention_days=1, default_ttl_days=1)
    await scene.store("a")
    await scene.store("b", purpose="ach")
    scene.clock.advance(days=1)
    assert (await sweep(scene)).by_purpose == {"ach": 1}
    assert [record.method for record in await scene.purge_rows()] == ["crypto-shred"]


async def test_a_shredded_entry_is_not_swept_again(scene) -> None:
    await scene.retain(purge_method="crypto-shred")
    await fill(scene, 3)
    assert [(await sweep(scene)).purged for _ in range(2)] == [3, 0]
    assert len(await scene.purge_rows()) == 3


async def test_a_dry_run_counts_and_writes_nothing_to_the_purge_log(scene) -> None:
    ending = await fill(scene, 4, live=2)
    count = await sweep(scene, dry_run=True)
    assert (count.dry_run, count.purged, count.by_purpose) == (True, 4, {"card": 4})
    assert await scene.purge_rows() == []
    assert await scene.access_rows(operation="purge") == []
    assert await there(scene, *ending) == ending
    assert await scene.storage.inner.last_sweep() is None
    (row,) = await scene.access_rows(operation="sweep")
    assert row.detail == "dry run: 4 expired"


async def test_a_dry_run_counts_what_the_sweep_then_purges(scene) -> None:
    await scene.retain("ach", max_retention_days=1, default_ttl_days=1)
    await fill(scene, 4)
    await scene.store("x", purpose="ach")
    scene.clock.advance(days=1)
    assert (await sweep(scene, dry_run=True)).by_purpose == (await sweep(scene)).by_purpose == {"ach": 1, "card": 4}


async def test_two_thousand_entries_go_in_batches(open_scene) -> None:
    scene = await open_scene(tuning=ALONE, purge__sweep_batch="250", purge__sweep_pause_seconds="0")
    ending = await fill(scene, 2000, live=1)
    pages = []
    count = await sweep(scene, progress=lambda so_far: pages.append(so_far.purged))
    assert count.purged == 2000
    assert pages == list(range(250, 2001, 250))
    assert await there(scene, *ending, "live-0") == ["live-0"]
    rows = await scene.purge_rows()
    assert len({(row.entry_id, row.entry_version) for row in rows}) == len(rows) == 2000


async def test_what_it_purges_of_one_purpose_is_nobody_beside_the_next(scene) -> None:
    at = scene.clock.at
    await scene.retain("account")
    await scene.storage.inner.commit(
        [
            storing(f"e{n}", purpose=purpose, created_at=at, expires_at=at + DAY)
            for purpose in ("account", "card")
            for n in range(sweep_pace.PAGE * 2)
        ]
    )
    scene.clock.advance(days=1)
    counts = scene.vault.queue.writes.counts
    before, counts.last_at = counts.batches, None
    assert (await sweep(scene)).purged == sweep_pace.PAGE * 4
    assert counts.batches - before == 4  # one for each purpose, the summary, and what the scrub leaves


async def test_its_own_row_of_the_clock_is_nobody_beside_it(scene) -> None:
    await sweep(scene)
    await fill(scene, sweep_pace.PAGE * 2)
    scene.clock.advance(days=3)
    counts = scene.vault.queue.writes.counts
    before, counts.last_at = counts.batches, None
    assert (await sweep(scene, confirm_clock=True)).purged == sweep_pace.PAGE * 2
    assert counts.batches - before == 5  # the clock's two rows, the purges, the summary, and what the scrub leaves


async def test_a_large_page_is_left_where_it_is_once_others_are_served(scene, monkeypatch) -> None:
    await fill(scene, sweep_pace.PAGE * 3)
    counts = scene.vault.queue.writes.counts
    counts.last_at = None
    read = scene.storage.inner.expired

    async def read_while_others_are_served(query: Any) -> Any:
        found = await read(query)
        counts.items += 1
        return found

    monkeypatch.setattr(scene.storage.inner, "expired", read_while_others_are_served)
    pages = []
    await sweep(scene, progress=lambda so_far: pages.append(so_far.purged))
    assert pages == [sweep_pace.PAGE, sweep_pace.PAGE * 2, sweep_pace.PAGE * 3]


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


async def test_of_two_sweeps_at_once_one_runs_and_each_entry_has_one_proof(scene) -> None:
    await fill(scene, 50)
    results = await asyncio.gather(*(sweep(scene) for _ in range(4)), return_exceptions=True)
    assert sum(isinstance(result, SweepRunning) for result in results) == 3
    assert len(await scene.purge_rows()) == 50
    rows = await scene.access_rows(operation="sweep", outcome="denied")
    assert [row.reason for row in rows] == ["sweep_running"] * 3


async def test_a_sweep_of_another_process_is_waited_out(scene) -> None:
    assert await scene.storage.inner.acquire_lease(LEASE, "another process", 60)
    with pytest.raises(SweepRunning):
        await sweep(scene)
    scene.clock.advance(seconds=61)
    await sweep(scene)


async def test_a_sweep_that_loses_its_lease_stops(open_scene, monkeypatch) -> None:
    tuning = Tuning(sweep_lease_renewal_seconds=0.0)
    scene = await open_scene(tuning=tuning, purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    ending = await fill(scene, 50)

    acquire = scene.storage.inner.acquire_lease
    holder = ""

    async def watched(name: str, who: str, seconds: float) -> bool:
        nonlocal holder
        if holder == who:
            await scene.storage.inner.release_lease(name, who)
            await acquire(name, "robber", 3600)
        holder = who
        return await acquire(name, who, seconds)

    scene.storage.inner.acquire_lease = watched
    with pytest.raises(SweepRunning):
        await sweep(scene)
    assert len(await there(scene, *ending)) == 40
    (row,) = await scene.access_rows(operation="sweep")
    assert (row.reason, row.status) == ("sweep_running", 409)
    assert not (await scene.storage.inner.last_sweep()).completed


async def test_the_lease_is_given_back_whatever_happens(scene) -> None:
    await fill(scene, 3)
    scene.storage.arm(methods={"expired"}, always=True)
    with pytest.raises(Unavailable):
        await sweep(scene)
    scene.storage.disarm()
    assert (await sweep(scene)).purged == 3


async def test_a_sweep_that_breaks_off_can_be_resumed_and_counts_nothing_twice(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    await fill(scene, 50)
    scene.storage.arm(3, 4, methods={"commit"})  # once as one, once each by itself
    with pytest.raises(AuditUnavailable):
        await sweep(scene)
    scene.storage.disarm()
    gone = len(await scene.purge_rows())
    assert 0 < gone < 50
    assert (await sweep(scene)).purged == 50 - gone
    assert len({row.entry_id for row in await scene.purge_rows()}) == 50


@pytest.mark.parametrize("roles", [(), (Role.AUDITOR,)])
@pytest.mark.parametrize("dry_run", [True, False])
async def test_only_an_admin_sweeps(scene, roles, dry_run) -> None:
    ending = await fill(scene, 1)
    with pytest.raises(RoleRequired):
        await scene.vault.purge.sweeper.sweep(a_call("someone", *roles), dry_run=dry_run)
    assert await there(scene, *ending) == ending
    row = await scene.last_row()
    assert (row.operation, row.reason) == (Operation.SWEEP, "role")


async def test_stopping_ends_a_sweep_after_the_batch_it_is_at(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    await fill(scene, 50)
    count = await sweep(scene, progress=lambda _: scene.vault.purge.sweeper.stop())
    assert count.purged == 10


async def test_a_sweep_that_was_stopped_is_on_record_as_not_completed(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    await fill(scene, 50)
    count = await sweep(scene, progress=lambda _: scene.vault.purge.sweeper.stop())
    last = await scene.storage.inner.last_sweep()
    assert (count.completed, last.completed, last.purged) == (False, False, 10)
    assert (await scene.last_row()).detail == f"sweep {count.sweep_id}: 10 purged, 0 failed, not completed"


async def test_a_sweep_that_was_not_stopped_is_on_record_as_completed(scene) -> None:
    await fill(scene, 5)
    count = await sweep(scene)
    assert (count.completed, (await scene.storage.inner.last_sweep()).completed) == (True, True)
    assert (await sweep(scene, dry_run=True)).completed


async def test_the_timer_of_the_next_start_takes_up_a_sweep_that_was_stopped(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    ending = await fill(scene, 50)
    await sweep(scene, progress=lambda _: scene.vault.purge.sweeper.stop())
    next_start = await open_scene()
    async with running(next_start.vault.purge.sweeper.task):
        async with asyncio.timeout(5):
            while await there(scene, *ending):  # noqa: ASYNC110 - there is nothing to be woken by
                await asyncio.sleep(0.01)


async def test_a_sweep_that_ends_with_an_error_has_a_summary_and_one_row(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    await fill(scene, 50)
    scene.storage.arm(3, methods={"expired"})
    with pytest.raises(StorageUnavailable):
        await sweep(scene)
    last = await scene.storage.inner.last_sweep()
    assert (last.completed, last.purged, last.trigger) == (False, 20, "request")
    (row,) = await scene.access_rows(operation="sweep")
    assert (row.outcome, row.reason, row.status) == (Outcome.DENIED, "storage_unavailable", 503)
    assert row.detail == f"sweep {last.sweep_id}: 20 purged, 0 failed, not completed"


async def test_a_sweep_that_ends_with_a_fault_has_a_summary_and_the_fault_is_raised(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    await fill(scene, 50)

    def progress(_: Any) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        await sweep(scene, progress=progress)
    last = await scene.storage.inner.last_sweep()
    assert (last.completed, last.purged) == (False, 10)


async def test_if_no_summary_can_be_written_the_first_error_is_raised(scene) -> None:
    await fill(scene, 3)
    scene.storage.arm(methods={"commit", "expired"}, always=True)
    with pytest.raises(StorageUnavailable):
        await sweep(scene)
    assert await scene.storage.inner.last_sweep() is None


async def test_a_batch_larger_than_the_room_for_what_waits_does_not_end_the_sweep(open_scene) -> None:
    scene = await open_scene(
        purge__sweep_batch="250", purge__sweep_pause_seconds="0", storage__max_waiting_requests="16"
    )
    await fill(scene, 250)
    count = await sweep(scene)
    assert (count.purged, count.completed) == (250, True)


async def test_one_commit_that_fails_leaves_none_uncounted(open_scene) -> None:
    scene = await open_scene(tuning=ALONE, storage__max_batch="1", purge__sweep_pause_seconds="0")
    await fill(scene, 10)
    scene.storage.arm(1, 4, methods={"commit"})  # all as one, then the third by itself
    with pytest.raises(AuditUnavailable):
        await sweep(scene)
    last = await scene.storage.inner.last_sweep()
    assert last.purged == len(await scene.purge_rows()) == 9


async def test_the_timer_sweeps_at_once_where_there_was_no_sweep(scene) -> None:
    await fill(scene, 3)
    async with running(scene.vault.purge.sweeper.task):
        last = await soon(scene.storage.inner.last_sweep)
    assert (last.trigger, last.purged) == ("timer", 3)
    assert {row.app for row in await scene.access_rows(operation="purge")} == {"vsqlvault"}


async def test_the_timer_waits_where_another_sweep_is_fresh(scene) -> None:
    await sweep(scene)
    before = await scene.storage.inner.last_sweep()
    async with running(scene.vault.purge.sweeper.task):
        await asyncio.sleep(0.2)
    assert await scene.storage.inner.last_sweep() == before


async def test_no_interval_is_no_timer(scene) -> None:
    settings = Settings.model_validate({"purge": {"sweep_interval_hours": 0}})
    async with background(scene.vault, settings):
        await asyncio.sleep(0.1)
    assert await scene.storage.inner.last_sweep() is None


async def test_the_timer_outlives_a_storage_that_fails(open_scene) -> None:
    scene = await open_scene(tuning=Tuning(sweep_retry_seconds=0.05))
    await fill(scene, 1)
    scene.storage.arm(1, 2, 3)
    async with running(scene.vault.purge.sweeper.task):
        last = await soon(scene.storage.inner.last_sweep)
    assert last.purged == 1


@pytest.mark.parametrize("error", [RuntimeError, KeyError, OSError, TimeoutError, ExceptionGroup])
@pytest.mark.parametrize("method", ["last_sweep", "expired"])
async def test_the_timer_outlives_whatever_is_raised(open_scene, caplog, method, error) -> None:
    scene = await open_scene(tuning=Tuning(sweep_retry_seconds=0.05))
    await fill(scene, 3)
    plain = getattr(scene.storage.inner, method)
    raised = asyncio.Event()

    async def once(*arguments: Any) -> Any:
        setattr(scene.storage.inner, method, plain)
        raised.set()
        raise error("x", [ValueError()]) if error is ExceptionGroup else error("x")

    setattr(scene.storage.inner, method, once)
    async with running(scene.vault.purge.sweeper.task), asyncio.timeout(5):
        await raised.wait()
        while await there(scene, "e0", "e1", "e2"):  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.01)
    assert "background task failed; it is tried again" in caplog.messages


async def test_the_timer_outlives_a_method_that_is_no_coroutine_function(install, offering, open_scene, caplog) -> None:
    class Plain(MisbehavingPlugin):
        def plan(self, request: Any) -> PurgePlan:
            raise RuntimeError

    install(caprice=offering("vault_purge_methods", Plain()))
    scene = await open_scene()
    await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy(purge_method="caprice"))
    await fill(scene, 1)
    caplog.set_level(logging.CRITICAL)
    task = asyncio.create_task(scene.vault.purge.sweeper.task.run())
    await asyncio.wait([task], timeout=0.5)
    ended = task.done()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert not ended


async def soon(look: Any) -> Any:
    async with asyncio.timeout(10):
        while (found := await look()) is None:  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.01)
    return found


@pytest.mark.parametrize("replaced", ["e0", "e1", "e8"])
async def test_each_entry_of_a_joined_commit_is_the_one_that_had_expired(scene, replaced) -> None:
    ending = await fill(scene, 9)
    storage = scene.storage.inner
    commit = storage.commit

    async def replaced_then_committed(writes: Any) -> Any:
        if any(len(write.purges) > 1 for write in writes):
            storage.commit = commit
            at = scene.clock.at
            await commit([storing(replaced, b"new", version=2, created_at=at, expires_at=at + DAY)])
        return await commit(writes)

    storage.commit = replaced_then_committed
    assert (await sweep(scene)).purged == 8
    assert await there(scene, *ending) == [replaced]


async def test_a_living_entry_that_the_storage_calls_expired_is_kept(scene) -> None:
    await fill(scene, 2, live=1)
    (snapshot,) = await scene.storage.inner.read([Read(EntryKey("card", "live-0"), with_value=True)])
    expired = scene.storage.inner.expired

    async def expired_and_more(query: Any) -> Any:
        page = await expired(query)
        return [*page, (snapshot.entry, snapshot.value)] if page else page

    scene.storage.inner.expired = expired_and_more
    count = await sweep(scene)
    assert await there(scene, "e0", "e1", "live-0") == ["live-0"]
    assert (count.purged, count.failed) == (2, 1)
