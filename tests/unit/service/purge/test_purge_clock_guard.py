"""The clock: expired entries stay expired when it goes back, and a jump stops only the sweep."""

from __future__ import annotations

import asyncio
import json
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import ClockJumped, EntryExpired, StorageUnavailable
from vsqlvault.interfaces.storage import Read
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryKey, EntryState
from vsqlvault.model.times import format_time
from vsqlvault.runtime import Tuning
from vsqlvault.service.entries.requests import ListRequest
from vsqlvault.service.tasks import running
from vsqlvault.testing import T0, a_call

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
KEY = EntryKey("card", "pay-1")


async def sweep(scene: Any, **options: Any) -> Any:
    return await scene.vault.purge.sweeper.sweep(scene.admin, **options)


async def mark(scene: Any) -> Any:
    return (await scene.storage.inner.clock()).mark


async def listed(scene: Any, state: EntryState = EntryState.ACTIVE) -> list[str]:
    page = await scene.vault.entries.list_purpose(scene.owner, "card", ListRequest(limit=10, state=state))
    return [viewed.entry.external_id for viewed in page.entries]


@pytest.mark.parametrize("ask", ["retrieve", "inspect", "purge", "list"])
@pytest.mark.parametrize("back", [timedelta(seconds=2), HOUR, DAY * 400])
async def test_what_was_called_expired_does_not_come_back_with_an_earlier_clock(scene, make_vault, ask, back) -> None:
    await scene.store(expires_at=T0 + HOUR)
    scene.clock.at = T0 + HOUR + timedelta(seconds=1.5)
    if ask == "list":
        assert await listed(scene) == []
    else:
        with pytest.raises(EntryExpired):
            await (scene.purge() if ask == "purge" else getattr(scene.vault.entries, ask)(scene.owner, KEY))
    scene.clock.at -= back
    for vault in (scene.vault, await make_vault()):  # and another process, which has not read it
        with pytest.raises(EntryExpired):
            await vault.entries.retrieve(scene.owner, KEY)


async def test_what_had_not_expired_is_there_whatever_the_clock_does(scene) -> None:
    await scene.store(expires_at=T0 + HOUR)
    await scene.vault.purge.clock_guard.look()
    scene.clock.at = T0 - DAY
    assert (await scene.vault.entries.retrieve(scene.owner, KEY)).value == b"cipher"


async def test_the_mark_is_raised_once_for_all_that_ended_before_it(scene) -> None:
    for n in range(3):
        await scene.store(f"e{n}", expires_at=T0 + HOUR)
    scene.clock.advance(hours=2)
    scene.storage.arm()
    for n in range(3):
        with pytest.raises(EntryExpired):
            await scene.vault.entries.retrieve(scene.owner, EntryKey("card", f"e{n}"))
    assert scene.storage.calls.count("raise_mark") == 1


async def test_nothing_is_called_expired_if_the_mark_cannot_be_raised(scene) -> None:
    await scene.store(expires_at=T0 + HOUR)
    scene.clock.advance(hours=2)
    scene.storage.arm(methods={"raise_mark"}, always=True)
    with pytest.raises(StorageUnavailable):
        await scene.vault.entries.retrieve(scene.owner, KEY)


async def test_a_clock_that_went_back_is_on_record_once(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    scene.clock.advance(hours=-1)
    for _ in range(3):
        await scene.vault.purge.clock_guard.look()
    (row,) = await scene.access_rows(operation="clock-backwards")
    assert row.detail == f"from {format_time(T0)} to {format_time(T0 - HOUR)}"
    assert (row.app, row.outcome, row.at) == ("vsqlvault", Outcome.GRANTED, T0)
    assert scene.vault.purge.clock_guard.state.behind == HOUR


async def test_two_processes_that_see_it_leave_one_row(scene, make_vault) -> None:
    other = await make_vault()
    await scene.vault.purge.clock_guard.look()
    scene.clock.advance(days=3)
    for vault in (scene.vault, other):
        await vault.purge.clock_guard.look()
    assert len(await scene.access_rows(operation="clock-jump")) == 1


async def test_small_steps_back_are_no_event(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    scene.clock.advance(seconds=-2)
    assert not (await scene.vault.purge.clock_guard.look()).behind
    assert await scene.access_rows(operation="clock-backwards") == []


@pytest.mark.parametrize(("ahead", "is_leap"), [(DAY, False), (DAY + timedelta(microseconds=1), True)])
async def test_more_than_a_day_past_the_mark_is_a_leap(scene, ahead, is_leap) -> None:
    await scene.vault.purge.clock_guard.look()
    scene.clock.at += ahead
    assert bool((await scene.vault.purge.clock_guard.look()).leap) == is_leap
    assert await mark(scene) == (T0 if is_leap else T0 + ahead)


async def test_after_a_leap_the_sweep_is_refused_and_reads_go_by_the_clock(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    await scene.store("a", expires_at=T0 + DAY * 2)
    await scene.store("b", expires_at=T0 + DAY * 9)
    scene.clock.advance(days=3)
    with pytest.raises(ClockJumped):
        await sweep(scene)
    assert (await scene.vault.entries.retrieve(scene.owner, EntryKey("card", "b"))).value == b"cipher"
    with pytest.raises(EntryExpired):
        await scene.vault.entries.retrieve(scene.owner, EntryKey("card", "a"))
    assert await listed(scene) == ["b"]
    assert (await sweep(scene, dry_run=True, confirm_clock=True)).purged == 1
    assert await scene.purge_rows() == []
    assert await mark(scene) == T0


async def test_the_leap_and_the_refusal_are_on_record(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    scene.clock.advance(days=3)
    for _ in range(2):
        with pytest.raises(ClockJumped):
            await sweep(scene)
    (leap,) = await scene.access_rows(operation="clock-jump")
    assert leap.detail == f"from {format_time(T0)} to {format_time(T0 + DAY * 3)}"
    refusals = await scene.access_rows(operation="sweep")
    assert [(row.reason, row.status) for row in refusals] == [("clock_jump", 409)] * 2


async def test_what_a_false_leap_ended_is_back_when_the_clock_is_right_again(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    await scene.store(expires_at=T0 + DAY * 2)
    scene.clock.at = T0 + DAY * 3000
    with pytest.raises(EntryExpired):
        await scene.vault.entries.retrieve(scene.owner, KEY)
    scene.clock.at = T0 + HOUR
    assert (await scene.vault.entries.retrieve(scene.owner, KEY)).value == b"cipher"
    assert (await sweep(scene)).purged == 0


async def test_an_administrator_confirms_and_the_sweep_runs(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    await scene.store(expires_at=T0 + DAY * 2)
    scene.clock.advance(days=3)
    assert (await sweep(scene, confirm_clock=True)).purged == 1
    (row,) = await scene.access_rows(operation="confirm-clock")
    assert (row.app, row.request_id) == ("vault-admin", scene.admin.request_id)
    assert json.loads(row.old_value) == {"clock": format_time(T0)}
    assert json.loads(row.new_value) == {"clock": format_time(T0 + DAY * 3)}
    assert (await sweep(scene)).purged == 0
    assert not scene.vault.purge.clock_guard.state.leap


async def test_nothing_is_confirmed_where_nothing_has_leapt(scene) -> None:
    await sweep(scene, confirm_clock=True)
    assert await scene.access_rows(operation="confirm-clock") == []


async def test_only_an_administrator_confirms(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    scene.clock.advance(days=3)
    with pytest.raises(Exception, match="admin"):
        await scene.vault.purge.sweeper.sweep(a_call("someone"), confirm_clock=True)
    assert await mark(scene) == T0


async def test_a_clock_that_leaps_during_a_sweep_ends_nothing_more(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="10", purge__sweep_pause_seconds="0")
    await scene.retain("other", max_retention_days=365)
    await scene.store("x", purpose="other", expires_at=T0 + DAY * 2)
    for n in range(20):
        await scene.store(f"e{n}", expires_at=T0 + HOUR)
    scene.clock.advance(hours=2)
    assert (await sweep(scene, progress=lambda _: scene.clock.advance(days=30))).purged == 20


async def test_the_timer_waits_for_the_confirmation_without_a_row_each_minute(open_scene) -> None:
    scene = await open_scene(tuning=Tuning(sweep_retry_seconds=0.02, clock_check_seconds=0.02))
    await scene.vault.purge.clock_guard.look()
    await scene.store(expires_at=T0 + DAY * 2)
    scene.clock.advance(days=3)
    async with running(scene.vault.purge.sweeper.task, scene.vault.purge.clock_guard.task):
        await asyncio.sleep(0.3)
        assert await scene.purge_rows() == []
        await scene.vault.purge.clock_guard.sound_time(scene.admin, confirmed=True)
        async with asyncio.timeout(5):
            while not await scene.purge_rows():  # noqa: ASYNC110 - there is nothing to be woken by
                await asyncio.sleep(0.01)
    operations = [row.operation for row in await scene.access_rows()]
    assert operations.count(Operation.CLOCK_JUMP) == 1
    assert operations.count(Operation.SWEEP) == 1


async def test_the_watch_raises_the_mark_as_time_goes_by_and_outlives_faults(open_scene) -> None:
    assert Tuning().clock_check_seconds == 60
    scene = await open_scene(tuning=Tuning(clock_check_seconds=0.01))
    scene.storage.arm(1, 2, methods={"clock"})
    async with running(scene.vault.purge.clock_guard.task), asyncio.timeout(5):
        while await mark(scene) != T0:  # noqa: ASYNC110 - there is nothing to be woken by
            await asyncio.sleep(0.01)
        scene.clock.advance(hours=1)
        while await mark(scene) != T0 + HOUR:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_a_new_entry_is_not_created_before_the_mark(scene) -> None:
    await scene.vault.purge.clock_guard.look()
    scene.clock.advance(hours=-1)
    await scene.store()
    (snapshot,) = await scene.storage.inner.read([Read(KEY)])
    assert snapshot.entry.created_at == T0
