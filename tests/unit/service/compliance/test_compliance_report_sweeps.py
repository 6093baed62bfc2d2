"""The report's section of sweeps: each run of the period, and what became of the bytes that it purged."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from vsqlvault.interfaces.purge_storage import ScrubOutcome
from vsqlvault.model.times import format_time

DAY = timedelta(days=1)


async def section(scene: Any, **options: Any) -> dict[str, Any]:
    scene.clock.advance(seconds=1)
    return (await scene.vault.compliance.report.write(scene.admin, **options))["sweeps"]


async def purged(scene: Any, name: str) -> Any:
    """Let an entry expire, and sweep."""
    await scene.store(name, expires_at=scene.clock.at + DAY / 2)
    scene.clock.advance(hours=13)
    return await scene.vault.purge.sweeper.sweep(scene.admin)


def leaving(scene: Any, monkeypatch: Any) -> None:
    async def scrub(_: float) -> ScrubOutcome:
        return ScrubOutcome(0, 0, ("a part: it was in use",))

    monkeypatch.setattr(scene.storage.inner, "scrub", scrub)


async def test_each_run_is_reported_with_its_result(scene) -> None:
    first = await purged(scene, "a")
    scene.clock.advance(hours=1)
    second = await scene.vault.purge.sweeper.sweep(scene.admin, trigger="timer")
    found = await section(scene)
    assert (found["result"], found["population"], found["exceptions"]["count"]) == ("supports", 2, 0)
    assert {name: found["figures"][name] for name in ("runs", "purged", "failed", "not_completed")} == {
        "runs": 2, "purged": 1, "failed": 0, "not_completed": 0,
    }  # fmt: skip
    newest, oldest = found["figures"]["listed"]
    assert oldest == {
        "sweep": first.sweep_id,
        "started_at": format_time(first.started_at),
        "finished_at": format_time(first.finished_at),
        "seconds": 0.0,
        "trigger": "request",
        "purged": 1,
        "failed": 0,
        "held": 0,
        "completed": True,
        "scrub": "scrubbed",
        "scrubbed_at": format_time(first.finished_at),
    }
    assert (newest["sweep"], newest["trigger"], newest["scrub"]) == (second.sweep_id, "timer", "nothing to do")


async def test_what_a_scrub_left_is_an_exception_until_a_later_one_reaches_it(scene, monkeypatch) -> None:
    with monkeypatch.context() as patch:
        leaving(scene, patch)
        await purged(scene, "a")
    found = await section(scene)
    (listed,) = found["figures"]["listed"]
    assert (listed["scrub"], listed["scrubbed_at"]) == ("left: a part: it was in use", None)
    (exception,) = found["exceptions"]["listed"]
    assert (exception["sweep"], exception["what"], exception["count"]) == (
        listed["sweep"], "entries purged whose bytes no scrub has removed", 1,
    )  # fmt: skip
    at = scene.clock.advance(hours=1)
    await scene.vault.purge.scrubber.scrub(scene.admin)
    found = await section(scene)
    (listed,) = found["figures"]["listed"]
    assert (listed["scrub"], listed["scrubbed_at"]) == ("scrubbed", format_time(at))
    assert found["result"] == "supports"


async def test_a_scrub_that_began_before_a_run_ended_is_not_one_that_reached_it(scene, monkeypatch) -> None:
    await purged(scene, "a")
    scene.clock.advance(hours=1)
    with monkeypatch.context() as patch:
        patch.setattr(scene.vault.purge.sweeper._scrubber, "_mode", "off")
        await purged(scene, "b")
    newest, oldest = (await section(scene))["figures"]["listed"]
    assert (newest["scrub"], oldest["scrub"]) == ("none yet", "scrubbed")


async def test_a_run_that_broke_off_is_an_exception(scene) -> None:
    scene.vault.purge.sweeper.stop()
    await scene.vault.purge.sweeper.sweep(scene.admin)
    found = await section(scene)
    assert [(each["what"], each["count"]) for each in found["exceptions"]["listed"]] == [("incomplete sweep", 1)]
    assert found["figures"]["not_completed"] == 1


async def test_only_runs_of_the_period_count_and_none_at_all_is_an_exception(scene) -> None:
    await purged(scene, "a")
    at = scene.clock.advance(days=9)
    found = await section(scene, since=at - DAY)
    assert (found["population"], found["figures"]["listed"]) == (0, [])
    assert [each["what"] for each in found["exceptions"]["listed"]] == ["no sweep in the period"]
