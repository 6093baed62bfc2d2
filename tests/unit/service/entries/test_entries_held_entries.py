"""Which entries a hold keeps: page by page, without examining everything in one request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import HoldNotFound, RoleRequired
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.entry import EntryState
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.principal import Role
from vsqlvault.runtime import Tuning
from vsqlvault.service.entries.held_entries import HeldEntriesRequest, HeldListed
from vsqlvault.service.entries.listing import ScanLimits
from vsqlvault.testing import a_call, a_legal_hold

DAY = timedelta(days=1)
ACTIVE, EXPIRED = EntryState.ACTIVE, EntryState.EXPIRED


async def place(scene: Any, **selector: Any) -> None:
    await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold(selector=HoldSelector(**selector)))


async def page(scene: Any, call: Any = None, **wanted: Any) -> HeldListed:
    return await scene.vault.rules.held_entries.list(
        call or scene.admin, "case-17", HeldEntriesRequest(**{"limit": 100} | wanted)
    )


async def pages(scene: Any, **wanted: Any) -> list[HeldListed]:
    found = [await page(scene, **wanted)]
    while found[-1].after:
        found.append(await page(scene, **wanted, after=found[-1].after))
    return found


async def kept(scene: Any, **wanted: Any) -> list[tuple[str, str]]:
    listed = [held for found in await pages(scene, **wanted) for held in found.entries]
    return [(viewed.entry.purpose, viewed.entry.external_id) for viewed, _ in listed]


async def filled(scene: Any) -> None:
    """Store a, b and c under two purposes; c is another's, and b is about case 17."""
    await scene.retain("ach")
    for purpose in ("card", "ach"):
        await scene.store("a", purpose=purpose)
        await scene.store("b", purpose=purpose, metadata='{"case":17}')
        await scene.store("c", purpose=purpose, call=scene.other)


@pytest.mark.parametrize(
    ("selector", "names"),
    [
        ({"purpose": "card"}, ["card-a", "card-b", "card-c"]),
        ({"purpose": "nowhere"}, []),
        ({"external_id": "b"}, ["ach-b", "card-b"]),
        ({"external_id": "b", "purpose": "card"}, ["card-b"]),
        ({"external_id": "b", "owner_app": "shop"}, []),
        ({"external_id": "z"}, []),
        ({"owner_app": "shop"}, ["ach-c", "card-c"]),
        ({"metadata": '{"case":17}'}, ["ach-b", "card-b"]),
        ({"metadata": '{"case":17}', "purpose": "ach"}, ["ach-b"]),
        ({"metadata": '{"case":true}'}, []),
    ],
    ids=repr,
)
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
@pytest.mark.parametrize("scan", [1, 2, 250])
async def test_what_fits_the_selector_is_listed_once_in_order(
    open_scene: Any, selector: Any, names: Any, limit: int, scan: int
) -> None:
    scene = await open_scene(tuning=Tuning(held_entries_page=scan))
    await filled(scene)
    await place(scene, **selector)
    assert [f"{purpose}-{name}" for purpose, name in await kept(scene, limit=limit)] == names


async def test_each_has_its_state_and_either_can_be_asked_for(scene: Any) -> None:
    await scene.retain(purge_method="crypto-shred")
    await scene.store("ended", expires_at=scene.clock.at + DAY)
    await scene.store("gone")
    await scene.store("lives")
    await scene.purge("gone")
    await place(scene, purpose="card")
    scene.clock.advance(days=2)
    assert (await scene.vault.purge.sweeper.sweep(scene.admin, confirm_clock=True)).held == 1
    states = [(viewed.entry.external_id, state) for viewed, state in (await page(scene)).entries]
    assert states == [("ended", EXPIRED), ("lives", ACTIVE)]
    assert await kept(scene, state=EXPIRED) == [("card", "ended")]
    assert await kept(scene, state=ACTIVE) == [("card", "lives")]


async def test_no_value_is_listed_and_the_expiry_is_the_one_that_counts(scene: Any) -> None:
    await scene.store()
    await place(scene, external_id="pay-1")
    await scene.retain(max_retention_days=2, default_ttl_days=1)
    ((viewed, state),) = (await page(scene)).entries
    assert (viewed.value, viewed.effective_expires_at, state) == (None, viewed.entry.created_at + 2 * DAY, ACTIVE)


async def test_a_selector_that_fits_few_is_walked_in_bounded_pages(open_scene: Any) -> None:
    scene = await open_scene(tuning=Tuning(scan_limits=ScanLimits(entries=4)))
    for number in range(9):
        await scene.store(f"e{number}")
    await scene.store("mine", metadata='{"case":17}')
    await place(scene, metadata='{"case":17}')
    assert await page(scene) == HeldListed((), ("card", "e3"))
    found = await pages(scene)
    assert [[viewed.entry.external_id for viewed, _ in one.entries] for one in found] == [[], [], ["mine"]]


async def test_no_page_of_the_storage_is_searched_for_what_fits(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(scene)
    await place(scene, metadata='{"case":17}', owner_app="payments")
    asked = []
    inner = scene.storage.inner.entries

    async def entries(query: Any) -> Any:
        asked.append((query.state, query.owner_app))
        return await inner(query)

    monkeypatch.setattr(scene.storage.inner, "entries", entries)
    await page(scene)
    assert set(asked) == {(None, None)}


async def test_a_page_that_takes_long_ends_and_goes_on_after_it(open_scene: Any) -> None:
    scene = await open_scene(tuning=Tuning(scan_limits=ScanLimits(seconds=-1.0)))
    await filled(scene)
    await place(scene, purpose="card")
    assert [len(one.entries) for one in await pages(scene)][:3] == [1, 1, 1]
    assert await kept(scene) == [("card", name) for name in "abc"]


async def test_a_released_hold_keeps_nothing_and_an_unknown_one_is_not_found(scene: Any) -> None:
    with pytest.raises(HoldNotFound):
        await page(scene)
    await scene.store()
    await place(scene, external_id="pay-1")
    await scene.vault.rules.legal_holds.release(scene.admin, "case-17")
    assert await page(scene) == HeldListed((), None)


async def test_a_hold_that_is_narrowed_during_a_page_is_read_again(scene: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    await filled(scene)
    await place(scene, purpose="card")
    inner = scene.storage.inner.entries

    async def entries(query: Any) -> Any:
        monkeypatch.undo()
        await place(scene, purpose="card", owner_app="shop")
        return await inner(query)

    monkeypatch.setattr(scene.storage.inner, "entries", entries)
    assert await kept(scene) == [("card", "c")]


@pytest.mark.parametrize("role", Role)
async def test_readers_leave_a_row_that_names_the_hold(scene: Any, role: Role) -> None:
    await place(scene, purpose="card")
    await page(scene, a_call("reader", role, purposes=frozenset()))
    row = await scene.last_row()
    assert (row.operation, row.outcome, row.app, row.detail) == (
        Operation.READ_LEGAL_HOLD, Outcome.GRANTED, "reader", "entries of case-17",
    )  # fmt: skip


async def test_nobody_else_reads_them(scene: Any) -> None:
    await place(scene, purpose="card")
    with pytest.raises(RoleRequired):
        await page(scene, scene.owner)
    row = await scene.last_row()
    assert (row.outcome, row.reason, row.detail) == (Outcome.DENIED, "role", "entries of case-17")
