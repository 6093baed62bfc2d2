"""Which keys are in use: for readers, page by page, with a row."""

from __future__ import annotations

import pytest

from vsqlvault.errors import RoleRequired
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.principal import Role
from vsqlvault.service.entries.key_refs import KeyRefRequest
from vsqlvault.testing import T0, a_call


async def filled(scene) -> None:
    for purpose in ("ach", "token"):
        await scene.retain(purpose)
    for purpose, refs in {"card": ("k2", "k1", None, "k1"), "ach": ("k1",), "token": (None, "k9")}.items():
        for number, ref in enumerate(refs):
            await scene.store(f"e{number}", purpose=purpose, key_ref=ref)


ALL = [
    ("ach", "k1", 1),
    ("card", None, 1),
    ("card", "k1", 2),
    ("card", "k2", 1),
    ("token", None, 1),
    ("token", "k9", 1),
]


async def listed(scene, **wanted):
    found = await scene.vault.key_refs.list(scene.admin, KeyRefRequest(**{"limit": 100, **wanted}))
    return [(purpose, use.key_ref, use.active) for purpose, use in found.uses], found.more


async def test_every_key_of_every_purpose_is_listed_in_order(scene) -> None:
    await filled(scene)
    assert await listed(scene) == (ALL, False)


@pytest.mark.parametrize("limit", [1, 2, 3, 5, 6])
async def test_the_pages_are_the_whole(scene, limit) -> None:
    await filled(scene)
    found, more, after = [], True, None
    while more:
        page, more = await listed(scene, limit=limit, after=after)
        assert len(page) == limit or not more
        found += page
        after = page[-1][:2]
    assert found == ALL


async def test_one_purpose_and_one_key_can_be_asked_for(scene) -> None:
    await filled(scene)
    assert await listed(scene, purpose="card") == (ALL[1:4], False)
    assert await listed(scene, key_ref="k1") == ([ALL[0], ALL[2]], False)
    assert await listed(scene, key_ref="k1", limit=1) == ([ALL[0]], True)
    assert await listed(scene, key_ref="k1", limit=1, after=("ach", "k1")) == ([ALL[2]], False)
    assert await listed(scene, purpose="nowhere") == ([], False)


async def test_a_key_that_nothing_lies_under_is_not_listed(scene) -> None:
    await scene.store(key_ref="old")
    await scene.store(key_ref="new", value=b"anew")
    assert await listed(scene, key_ref="old") == ([], False)
    assert await listed(scene) == ([("card", "new", 1)], False)


async def test_what_has_expired_lies_under_its_key_until_it_is_purged(scene) -> None:
    await scene.store(key_ref="old")
    scene.clock.advance(days=91)
    ((_, use),) = (await scene.vault.key_refs.list(scene.admin, KeyRefRequest(limit=1))).uses
    assert (use.active, use.expired_pending_purge) == (0, 1)
    await scene.vault.purge.sweeper.sweep(scene.admin)
    assert await listed(scene) == ([], False)


async def test_first_and_last_use_are_of_the_values_and_not_of_the_entries(scene) -> None:
    await scene.store("a", key_ref="old")
    scene.clock.advance(days=1)
    await scene.store("b", key_ref="new")
    scene.clock.advance(days=1)
    await scene.store("a", key_ref="new", value=b"anew")
    ((_, use),) = (await scene.vault.key_refs.list(scene.admin, KeyRefRequest(limit=1, key_ref="new"))).uses
    assert ((use.first_used_at - T0).days, (use.last_used_at - T0).days) == (1, 2)


async def test_only_admins_and_auditors_may_read_it(scene) -> None:
    with pytest.raises(RoleRequired):
        await scene.vault.key_refs.list(scene.owner, KeyRefRequest(limit=1))
    row = await scene.last_row()
    assert (row.operation, row.outcome, row.app) == (Operation.READ_KEY_REFS, Outcome.DENIED, "payments")


async def test_reading_leaves_a_row_that_names_the_filters_only(scene) -> None:
    auditor = a_call("qsa", Role.AUDITOR)
    await scene.vault.key_refs.list(auditor, KeyRefRequest(limit=1, purpose="card", key_ref="secret-key-ref"))
    row = await scene.last_row()
    assert (row.operation, row.outcome, row.app) == (Operation.READ_KEY_REFS, Outcome.GRANTED, "qsa")
    assert row.detail == "filters: key_ref, purpose"
