"""A delivery that has stopped makes the control ``deliveries_current`` fail; one that is late but moves does not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import PluginFailed
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.model.control import ControlState
from vsqlvault.model.purge import PurgePlan, Remove
from vsqlvault.model.times import format_time
from vsqlvault.runtime import Tuning
from vsqlvault.testing import T0

MINUTES_FIVE = timedelta(minutes=5)
TICK = timedelta(microseconds=1)
AT_ONCE = Tuning(delivery_unmoved_seconds=0)
NEVER = Tuning(delivery_unmoved_seconds=1e9, observer_batch=1)


class Failing(Observer):
    """An observer that fails for good, until a test repairs it."""

    name = "siem"

    def __init__(self) -> None:
        self.takes = 0

    async def access(self, records: Sequence[Any]) -> None:
        if self.takes < len(records):
            raise ValueError
        self.takes -= len(records)


class FailingCopies(PurgeMethod):
    """A purge method that cannot destroy its copies outside."""

    name = "copies"
    retires_id = False

    async def plan(self, request: Any) -> PurgePlan:
        return PurgePlan(Remove(), request.reason)

    async def purged(self, records: Sequence[Any]) -> None:
        raise ValueError


async def state_of(scene: Any) -> tuple[ControlState, str]:
    found = {control.name: control for control in await scene.vault.compliance.controls.look()}["deliveries_current"]
    return found.state, found.detail


async def deliver(scene: Any) -> None:
    await scene.vault.log.sequencer.sequence()
    with pytest.raises(PluginFailed):
        await scene.vault.log.observers.deliver()


@pytest.fixture
def observed(install: Any, offering: Any, open_scene: Any) -> Any:
    """Return a function that opens a scene with a failing observer."""

    async def opened(observer: Observer, tuning: Tuning) -> Any:
        install(alpha=offering("vault_observers", observer))
        return await open_scene(tuning=tuning)

    return opened


async def test_without_observers_it_is_not_in_use(open_scene: Any) -> None:
    assert (await state_of(await open_scene()))[0] is ControlState.NOT_IN_USE


async def test_an_observer_that_fails_for_good_fails_it_after_five_minutes(observed: Any) -> None:
    scene = await observed(Failing(), AT_ONCE)
    await scene.store()
    await deliver(scene)
    await scene.go_to(T0 + MINUTES_FIVE)
    assert (await state_of(scene))[0] is ControlState.OK
    await scene.go_to(T0 + MINUTES_FIVE + TICK)
    assert await state_of(scene) == (
        ControlState.FAILING,
        f"observer:siem has not taken a record of {format_time(T0)}",
    )


async def test_it_recovers_with_the_observer(observed: Any) -> None:
    observer = Failing()
    scene = await observed(observer, AT_ONCE)
    await scene.store()
    await deliver(scene)
    await scene.go_to(T0 + 2 * MINUTES_FIVE)
    assert (await state_of(scene))[0] is ControlState.FAILING
    observer.takes = 1000
    await scene.vault.log.observers.deliver()
    assert (await state_of(scene))[0] is ControlState.OK


async def recorded_failure(observed: Any, observer: Observer) -> Any:
    """Return the scene of another process that has not seen the delivery for long, after the failure was recorded."""
    scene = await observed(observer, AT_ONCE)
    await scene.store()
    await deliver(scene)
    await scene.go_to(T0 + 2 * MINUTES_FIVE)
    await scene.vault.compliance.controls.watch()
    return await observed(observer, NEVER)


async def test_a_process_that_cannot_know_yet_takes_a_late_delivery_for_catching_up(observed: Any) -> None:
    scene = await observed(Failing(), NEVER)
    await scene.store()
    await deliver(scene)
    await scene.go_to(T0 + 2 * MINUTES_FIVE)
    assert (await state_of(scene))[0] is ControlState.OK


async def test_a_recorded_failure_stays_until_the_process_can_judge_it(observed: Any) -> None:
    scene = await recorded_failure(observed, Failing())
    assert (await state_of(scene))[0] is ControlState.FAILING


async def test_a_recorded_failure_ends_once_the_delivery_moves(observed: Any) -> None:
    observer = Failing()
    scene = await recorded_failure(observed, observer)
    assert (await state_of(scene))[0] is ControlState.FAILING
    observer.takes = 1
    await deliver(scene)
    assert (await state_of(scene))[0] is ControlState.OK


async def test_a_purge_method_that_fails_for_good_fails_it(install: Any, offering: Any, open_scene: Any) -> None:
    install(alpha=offering("vault_purge_methods", FailingCopies()))
    scene = await open_scene(tuning=AT_ONCE)
    await scene.retain(purge_method="copies")
    await scene.store()
    await scene.purge()
    await deliver(scene)
    await scene.go_to(T0 + 2 * MINUTES_FIVE)
    state, detail = await state_of(scene)
    assert state is ControlState.FAILING
    assert detail.startswith("purge-method:copies has not taken a record of ")
