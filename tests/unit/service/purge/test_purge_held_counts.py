"""Counting what has expired and holds keep, compared with a plain loop; and what the report makes of it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.interfaces.report_section import HeldExpired, HeldOfPurpose
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.times import format_time
from vsqlvault.service.purge.held_counts import count_held
from vsqlvault.testing import T0, a_legal_hold, a_retention_policy, storing

DAY = timedelta(days=1)
RETENTION = {"card": a_retention_policy(max_retention_days=30), "cold": a_retention_policy("cold")}
ENTRIES = [
    storing("long-ended", created_at=T0 - DAY * 9, expires_at=T0 - DAY * 5),
    storing("ended", created_at=T0 - DAY * 9, expires_at=T0 - DAY, owner_app="shop"),
    storing("over-the-maximum", created_at=T0 - DAY * 33, expires_at=T0 + DAY, owner_app="shop"),
    storing("lives", created_at=T0 - DAY * 9, expires_at=T0 + DAY, owner_app="shop"),
    storing("shredded", created_at=T0 - DAY * 9, expires_at=T0 - DAY, purged_at=T0, purge_method="crypto-shred"),
    storing("ended", purpose="cold", created_at=T0 - DAY * 9, expires_at=T0 - DAY * 2),
]


def hold(name: str, **selector: Any) -> Any:
    return a_legal_hold(name, selector=HoldSelector(**selector))


async def counted(scene: Any, *holds: Any, **options: Any) -> HeldExpired:
    await scene.storage.inner.commit(ENTRIES)
    return await count_held(scene.storage, RETENTION, holds, T0, grace=DAY * 2, **options)


async def test_without_a_hold_nothing_is_read(scene: Any) -> None:
    scene.storage.arm(methods={"expired_entries"}, always=True)
    assert await counted(scene) == HeldExpired()
    assert await counted(scene, a_legal_hold(released_at=T0)) == HeldExpired()


@pytest.mark.parametrize("page", [1, 2, 1000])
async def test_by_purpose_and_by_hold_and_the_oldest_that_no_hold_keeps(scene: Any, page: int) -> None:
    holds = hold("shops", owner_app="shop"), hold("ended", external_id="ended", purpose="card")
    found = await counted(scene, *holds, page=page)
    assert found == HeldExpired(
        {"card": HeldOfPurpose(2, 1, T0 - DAY * 5), "cold": HeldOfPurpose(0, 0, T0 - DAY * 2)},
        {"ended": 1, "shops": 2},
    )
    assert found.held == 2


async def test_only_purposes_that_a_hold_may_concern_are_read(scene: Any) -> None:
    found = await counted(scene, hold("cold", purpose="cold"), hold("elsewhere", purpose="ach"))
    assert found == HeldExpired({"cold": HeldOfPurpose(1, 1, None)}, {"cold": 1})


async def test_the_number_of_entries_read_is_bounded_and_reported(scene: Any) -> None:
    everything = hold("all", owner_app="payments"), hold("cards", purpose="card")
    assert (await counted(scene, *everything, most=4)).is_complete
    found = await counted(scene, *everything, most=2)
    assert (found.is_complete, found.by_purpose["card"].held, found.by_purpose["cold"].held) == (False, 2, 0)
    assert (await counted(scene, *everything, most=None)).held == 4


async def test_the_report_tells_what_is_held_from_what_is_overdue(scene: Any) -> None:
    for name in ("held", "twice", "due"):
        await scene.store(name, expires_at=scene.clock.at + DAY * (2 if name == "due" else 1))
    for name, ids in (("one", "held"), ("two", "twice"), ("three", "twice")):
        await scene.vault.rules.legal_holds.save(scene.admin, hold(name, external_id=ids))
    scene.clock.advance(days=4)
    report = await scene.vault.compliance.report.write(scene.admin)
    section = report["retention_and_purge"]
    for figures in (section["figures"], section["figures"]["by_purpose"]["card"]):
        assert (figures["expired_not_purged"], figures["held"], figures["overdue"]) == (3, 2, 1)
    (late,) = [each for each in section["exceptions"]["listed"] if each["what"] == "entries overdue for purge"]
    assert (late["count"], late["oldest_expired_at"]) == (1, format_time(scene.clock.at - DAY * 2))
    holds = report["legal_holds"]
    assert (holds["expired_held"], holds["expired_held_is_complete"]) == (2, True)
    assert {each["name"]: each["expired_held"] for each in holds["holds"]} == {"one": 1, "two": 1, "three": 1}


async def test_where_all_that_has_expired_is_held_nothing_is_overdue(scene: Any) -> None:
    await scene.retain(justification="chargebacks")
    await scene.store(expires_at=scene.clock.at + DAY)
    await scene.vault.rules.legal_holds.save(scene.admin, hold("all", purpose="card"))
    scene.clock.advance(days=9)
    section = (await scene.vault.compliance.report.write(scene.admin))["retention_and_purge"]
    assert (section["result"], section["exceptions"]["count"], section["figures"]["held"]) == ("supports", 0, 1)


async def test_a_hold_placed_after_the_reports_instant_kept_nothing_then(scene: Any) -> None:
    await scene.store(expires_at=scene.clock.at + DAY)
    at = scene.clock.advance(days=3)
    scene.clock.advance(days=1)
    await scene.vault.rules.legal_holds.save(scene.admin, hold("late", purpose="card"))
    figures = (await scene.vault.compliance.report.write(scene.admin, at))["retention_and_purge"]["figures"]
    assert (figures["held"], figures["overdue"]) == (0, 1)
