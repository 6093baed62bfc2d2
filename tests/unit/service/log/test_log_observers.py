"""Observers get every committed row at least once, in order, beside the requests."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import PluginFailed
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.model.purge import PurgePlan, Remove
from vsqlvault.runtime import Tuning
from vsqlvault.service.tasks import running
from vsqlvault.testing import a_retention_policy

BAD = [Exception(), SystemExit(), KeyboardInterrupt(), asyncio.CancelledError(), GeneratorExit()]


class Seen(Observer):
    """An observer that remembers what it gets, and may fail first."""

    def __init__(self, name: str = "seen", *errors: BaseException) -> None:
        self.name = name
        self.errors = list(errors)
        self.rows: list[Any] = []
        self.purged: list[Any] = []
        self.notes: list[Any] = []

    async def access(self, records: Sequence[Any]) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.rows += records

    async def purges(self, records: Sequence[Any]) -> None:
        self.purged += records

    async def checkpoints(self, records: Sequence[Any]) -> None:
        self.notes += records


class Copies(PurgeMethod):
    """A purge method that destroys copies outside."""

    name = "with-copies"
    retires_id = False

    def __init__(self) -> None:
        self.records: list[Any] = []

    async def plan(self, request: Any) -> PurgePlan:
        return PurgePlan(Remove(), request.reason)

    async def purged(self, records: Sequence[Any]) -> None:
        self.records += records


async def deliver(scene: Any) -> None:
    await scene.vault.log.sequencer.sequence()
    await scene.vault.log.observers.deliver()


async def test_rows_and_purges_are_delivered_in_order_and_once(install, offering, open_scene) -> None:
    seen = Seen()
    install(alpha=offering("vault_observers", seen))
    scene = await open_scene()
    await scene.store()
    await deliver(scene)
    record = await scene.purge()
    await deliver(scene)
    await deliver(scene)
    assert [row.request_id for row in seen.rows] == [row.request_id for row in await scene.access_rows()]
    assert seen.purged == [record]


async def test_checkpoints_are_delivered(install, offering, signed) -> None:
    seen = Seen()
    install(alpha=offering("vault_observers", seen))
    scene = await signed()
    await deliver(scene)
    await scene.store()
    await deliver(scene)
    assert seen.notes == list(await scene.storage.inner.checkpoints(0, 10))
    assert len(seen.notes) == 2


@pytest.mark.parametrize("error", BAD, ids=lambda error: type(error).__name__)
async def test_a_batch_that_failed_is_delivered_again_and_other_observers_get_theirs(
    install, offering, open_scene, error
) -> None:
    loud, quiet = Seen("loud", error), Seen("quiet")
    install(alpha=offering("vault_observers", quiet), beta=offering("vault_observers", loud))
    scene = await open_scene()
    assert (await scene.store()).created
    with pytest.raises(PluginFailed):
        await deliver(scene)
    assert len(quiet.rows) == len(await scene.access_rows())
    waiting = {feed.name: feed.waiting for feed in scene.vault.log.observers.feeds}
    assert waiting["observer:loud"] > 0 == waiting["observer:quiet"]
    await deliver(scene)
    assert loud.rows == quiet.rows


async def test_after_a_restart_delivery_goes_on_where_it_was(install, offering, open_scene) -> None:
    first = Seen()
    install(alpha=offering("vault_observers", first))
    scene = await open_scene()
    await deliver(scene)
    second = Seen()
    install(alpha=offering("vault_observers", second))
    scene = await open_scene()
    await deliver(scene)
    operations = [row.operation.value for row in await scene.access_rows()]
    assert [row.operation.value for row in first.rows + second.rows] == operations
    assert second.rows


async def test_rows_from_before_an_observer_was_there_are_delivered_only_from_start(
    install, offering, open_scene
) -> None:
    scene = await open_scene()
    await scene.store()
    await scene.vault.log.sequencer.sequence()
    late, whole = Seen("late"), Seen("whole")
    whole.from_start = True
    install(alpha=offering("vault_observers", late, whole))
    scene = await open_scene()
    await deliver(scene)
    assert len(whole.rows) == len(await scene.access_rows())
    assert 0 < len(late.rows) < len(whole.rows)


async def test_checkpoints_from_before_an_observer_was_there_are_delivered_only_from_start(
    install, offering, signed
) -> None:
    scene = await signed()
    await scene.store()
    await scene.vault.log.sequencer.sequence()
    late, whole = Seen("late"), Seen("whole")
    whole.from_start = True
    install(alpha=offering("vault_observers", late, whole))
    scene = await signed()
    await scene.store("another")
    await deliver(scene)
    assert whole.notes == list(await scene.storage.inner.checkpoints(0, 10))
    assert 0 < len(late.notes) < len(whole.notes)


async def test_purges_from_before_a_method_was_there_are_not_delivered_to_it(install, offering, open_scene) -> None:
    scene = await open_scene()
    await scene.store()
    await scene.vault.log.sequencer.sequence()
    install(alpha=offering("vault_purge_methods", Copies()))
    scene = await open_scene()
    (feed,) = scene.vault.log.observers.feeds
    assert (await scene.storage.inner.cursors())[feed.name] == await scene.storage.inner.tree_size() > 0


async def test_each_delivery_has_a_lease_of_its_own(install, offering, open_scene) -> None:
    first, second = Seen("first"), Seen("second")
    install(alpha=offering("vault_observers", first, second))
    scene = await open_scene()
    async with running(*scene.vault.log.observers.tasks), running(scene.vault.log.sequencer.task):
        await scene.store()
        assert all([await task.lead() for task in scene.vault.log.observers.tasks])
        for feed in scene.vault.log.observers.feeds:
            assert not await scene.storage.inner.acquire_lease(feed.name, "another process", 1.0)
    assert len(first.rows) == len(second.rows) == len(await scene.access_rows())


async def test_more_rows_than_a_batch_are_delivered(install, offering, open_scene) -> None:
    seen = Seen()
    install(alpha=offering("vault_observers", seen))
    scene = await open_scene(tuning=Tuning(observer_batch=2))
    for number in range(7):
        await scene.store(external_id=f"e{number}")
    await deliver(scene)
    assert len(seen.rows) == len(await scene.access_rows())


async def test_an_observer_of_checkpoints_alone_is_given_no_rows(install, offering, open_scene) -> None:
    class Only(Observer):
        name = "only"

        async def checkpoints(self, records: Sequence[Any]) -> None: ...

    install(alpha=offering("vault_observers", Only()))
    scene = await open_scene()
    assert [feed.name for feed in scene.vault.log.observers.feeds] == ["observer:only:checkpoints"]


async def test_a_purge_method_gets_its_purges_and_the_versions_replaced_under_its_policy(
    install, offering, open_scene
) -> None:
    copies = Copies()
    install(alpha=offering("vault_purge_methods", copies))
    scene = await open_scene()
    await scene.store(external_id="other")
    await scene.store(external_id="other", value=b"changed")
    await scene.purge(external_id="other")
    await scene.go_to(scene.clock.at + timedelta(seconds=1))
    await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy(purge_method="with-copies"))
    await scene.store()
    await scene.store(value=b"another")
    await scene.purge()
    await scene.go_to(scene.clock.at + timedelta(seconds=1))
    await scene.vault.rules.policies.save_retention_policy(scene.admin, a_retention_policy())
    await deliver(scene)
    assert [(record.method, record.external_id) for record in copies.records] == [
        ("replace", "pay-1"),
        ("with-copies", "pay-1"),
    ]


async def test_the_task_delivers_when_the_log_grows_and_once_more_at_its_end(install, offering, open_scene) -> None:
    seen = Seen()
    install(alpha=offering("vault_observers", seen))
    scene = await open_scene()
    async with running(*scene.vault.log.observers.tasks), running(scene.vault.log.sequencer.task):
        await scene.store()
    assert len(seen.rows) == len(await scene.access_rows())
