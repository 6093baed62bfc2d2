"""What is measured for monitoring: once a minute, by one process."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from vsqlvault.http.metrics.purge import PurgeCollector
from vsqlvault.model.hold import HoldSelector
from vsqlvault.runtime import Tuning
from vsqlvault.service.tasks import running
from vsqlvault.testing import a_legal_hold

DAY = timedelta(days=1)


def shown(vault: Any) -> dict[str, float]:
    return {sample.name: sample.value for metric in PurgeCollector(vault).collect() for sample in metric.samples}


async def test_what_is_overdue_and_what_expires_within_a_day_is_counted(scene) -> None:
    at = scene.clock.at
    await scene.retain("ach", max_retention_days=2, default_ttl_days=1)
    for name, days in (("a", 1), ("b", 1.5), ("c", 2), ("d", 2.1), ("e", 9)):
        await scene.store(name, expires_at=at + DAY * days)
    await scene.store("f", purpose="ach")
    scene.clock.advance(days=1)
    await scene.vault.purge.gauges.measure()
    gauge = scene.vault.purge.gauges.gauge
    assert (gauge.overdue, gauge.expiring) == (2, 2)


async def test_of_entries_that_expire_later_none_is_counted(scene) -> None:
    await scene.store(expires_at=scene.clock.at + DAY * 9)
    await scene.vault.purge.gauges.measure()
    gauge = scene.vault.purge.gauges.gauge
    assert (gauge.overdue, gauge.held, gauge.expiring) == (0, 0, 0)


async def test_what_a_hold_keeps_does_not_wait_for_a_sweep(scene) -> None:
    for name in ("a", "b", "c"):
        await scene.store(name, expires_at=scene.clock.at + DAY)
    await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold(selector=HoldSelector(external_id="b")))
    scene.clock.advance(days=1)
    await scene.vault.purge.gauges.measure()
    found = shown(scene.vault)
    assert (found["vsqlvault_entries_overdue"], found["vsqlvault_entries_held"]) == (2, 1)


async def test_the_last_sweep_and_scrub_and_the_clock_are_measured(scene) -> None:
    await scene.store()
    await scene.purge()
    await scene.vault.purge.sweeper.sweep(scene.admin)
    at = scene.clock.at.timestamp()
    scene.clock.advance(days=3)
    await scene.vault.purge.clock_guard.look()
    await scene.vault.purge.gauges.measure()
    found = shown(scene.vault)
    assert found["vsqlvault_sweep_finished_timestamp_seconds"] == at
    assert found["vsqlvault_scrub_finished_timestamp_seconds"] == at
    assert found["vsqlvault_scrub_incomplete"] == 0
    assert found["vsqlvault_clock_leap_seconds"] == 3 * 86400
    assert found["vsqlvault_clock_behind_seconds"] == 0


async def test_of_two_processes_one_measures_so_that_nothing_counts_twice(scene, make_vault) -> None:
    other = await make_vault()
    await scene.vault.purge.gauges.measure()
    await other.purge.gauges.measure()
    assert "vsqlvault_entries_overdue" in shown(scene.vault)
    assert "vsqlvault_entries_overdue" not in shown(other)
    scene.clock.advance(seconds=91)
    await other.purge.gauges.measure()
    await scene.vault.purge.gauges.measure()
    assert "vsqlvault_entries_overdue" in shown(other)
    assert "vsqlvault_entries_overdue" not in shown(scene.vault)


async def test_what_sweeps_did_is_counted_and_how_far_one_has_come_is_shown(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    for n in range(25):
        await scene.store(f"e{n}", expires_at=scene.clock.at + DAY)
    scene.clock.advance(days=1)
    seen = []
    await scene.vault.purge.sweeper.sweep(scene.admin, progress=lambda _: seen.append(shown(scene.vault)))
    names = ("vsqlvault_sweep_running", "vsqlvault_sweep_run_due", "vsqlvault_sweep_run_done")
    assert [tuple(found[name] for name in names) for found in seen] == [(1, 25, 10), (1, 25, 20), (1, 25, 25)]
    found = shown(scene.vault)
    assert [found[name] for name in names] == [0, 0, 0]
    assert (found["vsqlvault_sweep_purged_total"], found["vsqlvault_sweep_failed_total"]) == (25, 0)


async def test_it_is_measured_while_the_vault_serves_and_outlives_faults(open_scene) -> None:
    scene = await open_scene(tuning=Tuning(purge_gauge_seconds=0.01))
    scene.storage.arm(1, 2, methods={"count_expired"})
    async with running(scene.vault.purge.gauges.task), asyncio.timeout(5):
        while scene.vault.purge.gauges.gauge is None:  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.01)
