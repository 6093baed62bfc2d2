"""Scrubs: after each sweep, recorded, with what they left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import RoleRequired, StorageUnavailable
from vsqlvault.interfaces.purge_storage import ScrubOutcome
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.audit import Outcome
from vsqlvault.model.principal import Role
from vsqlvault.testing import a_call

DAY = timedelta(days=1)


async def sweep(scene: Any, **options: Any) -> Any:
    return await scene.vault.purge.sweeper.sweep(scene.admin, **options)


async def scrubbed(scene: Any) -> dict[str, bool]:
    rows = await scene.storage.inner.purge_log(LogQuery(limit=100))
    return {row.record.external_id: row.scrubbed_at is not None for row in rows}


def scrubbing(scene: Any, outcome: ScrubOutcome | None) -> list[float]:
    """Have the storage's scrubs come to ``outcome``; return the list of the lock_seconds they are given."""
    asked: list[float] = []

    async def scrub(lock_seconds: float) -> ScrubOutcome | None:
        asked.append(lock_seconds)
        return outcome

    scene.storage.inner.scrub = scrub
    return asked


async def test_a_sweep_is_followed_by_a_scrub_that_covers_what_it_purged_and_what_others_did(scene) -> None:
    await scene.store("asked")
    await scene.store("due", expires_at=scene.clock.at + DAY)
    await scene.purge("asked")
    scene.clock.advance(days=1)
    assert await scrubbed(scene) == {"asked": False}
    count = await sweep(scene)
    assert (count.scrub.completed, count.scrub.left, count.scrub.trigger) == (True, None, "request")
    assert await scrubbed(scene) == {"asked": True, "due": True}
    assert await scene.storage.inner.last_scrub() == count.scrub


async def test_a_sweep_that_purged_nothing_scrubs_what_others_purged(scene) -> None:
    await scene.store("asked")
    await scene.purge("asked")
    assert (await sweep(scene)).purged == 0
    assert await scrubbed(scene) == {"asked": True}


async def test_what_is_purged_after_a_scrub_waits_for_the_next(scene) -> None:
    for name in ("a", "b"):
        await scene.store(name)
    await scene.purge("a")
    await sweep(scene)
    await scene.purge("b")
    assert await scrubbed(scene) == {"a": True, "b": False}


async def test_the_scrub_is_on_record(scene) -> None:
    await scene.store()
    await scene.purge()
    count = await sweep(scene)
    (row,) = await scene.access_rows(operation="scrub")
    assert (row.outcome, row.app, row.request_id) == (Outcome.GRANTED, "vault-admin", scene.admin.request_id)
    assert row.detail == f"scrub {count.scrub.scrub_id}: 1 rewritten"


async def test_where_there_is_nothing_to_do_there_is_no_scrub(scene) -> None:
    assert (await sweep(scene)).scrub is None
    assert await scene.storage.inner.last_scrub() is None
    (row,) = await scene.access_rows(operation="scrub")
    assert row.detail == "nothing to do"


async def test_a_dry_run_scrubs_nothing(scene) -> None:
    await scene.store()
    await scene.purge()
    assert (await sweep(scene, dry_run=True)).scrub is None
    assert await scrubbed(scene) == {"pay-1": False}


async def test_a_sweep_that_was_stopped_is_not_followed_by_a_scrub(open_scene) -> None:
    scene = await open_scene(purge__sweep_batch="1", purge__sweep_pause_seconds="0")
    for n in range(3):
        await scene.store(f"e{n}", expires_at=scene.clock.at + DAY)
    scene.clock.advance(days=1)
    assert (await sweep(scene, progress=lambda _: scene.vault.purge.sweeper.stop())).scrub is None


async def test_it_can_be_switched_off(open_scene) -> None:
    scene = await open_scene(purge__scrub="off")
    asked = scrubbing(scene, ScrubOutcome(1, 1))
    assert (await sweep(scene)).scrub is None
    assert asked == []


async def test_what_could_not_be_done_is_said_and_nothing_is_claimed(scene, caplog) -> None:
    await scene.store()
    await scene.purge()
    scrubbing(scene, ScrubOutcome(0, 0, ("a part: it was in use", "another: so was this")))
    count = await sweep(scene)
    left = "a part: it was in use; another: so was this"
    assert (count.completed, count.scrub.completed, count.scrub.left) == (True, False, left)
    assert await scrubbed(scene) == {"pay-1": False}
    (row,) = await scene.access_rows(operation="scrub")
    assert row.detail == f"scrub {count.scrub.scrub_id}: 0 rewritten, left: {left}"
    assert "scrub left purged bytes in the data files: the next scrub tries again" in caplog.messages


async def test_a_scrub_that_fails_is_no_fault_of_the_sweep(scene, caplog) -> None:
    scene.storage.arm(methods={"scrub"}, always=True)
    count = await sweep(scene)
    assert (count.completed, count.scrub) == (True, None)
    assert "scrub failed; the next sweep's scrub covers it" in caplog.messages


async def test_one_that_broke_off_is_on_record_as_not_completed(scene) -> None:
    await scene.store()
    await scene.purge()
    first = (await sweep(scene)).scrub
    await scene.store("later")
    await scene.purge("later")
    scene.clock.advance(hours=1)
    scene.storage.arm(methods={"scrub"}, always=True)
    await sweep(scene)
    last = await scene.storage.inner.last_scrub()
    assert (last.completed, last.through, last.left) == (False, first.through, "interrupted: storage-unavailable")
    (row,) = await scene.access_rows(operation="scrub", outcome="denied")
    assert row.detail == f"scrub {last.scrub_id}: 0 rewritten, left: interrupted: storage-unavailable"
    assert await scrubbed(scene) == {"pay-1": True, "later": False}


async def test_a_fault_of_the_storages_own_in_a_scrub_is_no_fault_of_the_sweep_either(scene, caplog) -> None:
    async def scrub(_: float) -> ScrubOutcome | None:
        raise RuntimeError("a fault")

    scene.storage.inner.scrub = scrub
    count = await sweep(scene)
    assert (count.completed, count.scrub) == (True, None)
    assert "scrub failed; the next sweep's scrub covers it" in caplog.messages


async def test_a_requested_scrub_raises_its_error(scene) -> None:
    scene.storage.arm(methods={"scrub"}, always=True)
    with pytest.raises(StorageUnavailable):
        await scene.vault.purge.scrubber.scrub(scene.admin)


async def test_one_step_may_keep_requests_waiting_as_long_as_the_settings_or_the_caller_say(open_scene) -> None:
    scene = await open_scene(purge__scrub_lock_seconds="2.5")
    asked = scrubbing(scene, None)
    await sweep(scene)
    await scene.vault.purge.scrubber.scrub(scene.admin, lock_seconds=60)
    assert asked == [2.5, 60]


@pytest.mark.parametrize("roles", [(), (Role.AUDITOR,)])
async def test_only_an_admin_scrubs(scene, roles) -> None:
    asked = scrubbing(scene, None)
    with pytest.raises(RoleRequired):
        await scene.vault.purge.scrubber.scrub(a_call("someone", *roles))
    assert asked == []
