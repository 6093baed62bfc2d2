"""Sweeps at the same time, sweeps that end early, and the timer."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from tests.unit.service.purge.sweeping import ALONE, MisbehavingPlugin, fill, sweep, there
from vsqlvault.config import Settings
from vsqlvault.errors import AuditUnavailable, RoleRequired, StorageUnavailable, SweepRunning, Unavailable
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.principal import Role
from vsqlvault.model.purge import PurgePlan
from vsqlvault.runtime import Tuning, background
from vsqlvault.service.purge.sweeper import LEASE
from vsqlvault.service.tasks import running
from vsqlvault.testing import a_call, a_retention_policy


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
