"""Legal holds: placing, changing, releasing; and no operation destroys a held entry."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import EntryExpired, EntryHeld, HoldNotFound, PreconditionFailed, RoleRequired
from vsqlvault.interfaces.storage import Read
from vsqlvault.interfaces.writes import RevisionIs, SaveLegalHold
from vsqlvault.model.audit import Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.principal import Role
from vsqlvault.model.times import format_time
from vsqlvault.service.audit.rule_documents import legal_hold_document
from vsqlvault.service.entries.seen import SeenEntries
from vsqlvault.service.rules.preconditions import VersionPreconditions
from vsqlvault.testing import T0, a_call, a_legal_hold, a_write, storing

DAY = timedelta(days=1)
HOLD = a_legal_hold(selector=HoldSelector(external_id="pay-1"))


async def place(scene: Any, hold: Any = HOLD, **options: Any) -> Any:
    saved = await scene.vault.rules.legal_holds.save(scene.admin, hold, **options)
    return saved.hold, saved.is_new


async def release(scene: Any, name: str = "case-17", **options: Any) -> Any:
    return await scene.vault.rules.legal_holds.release(scene.admin, name, **options)


async def sweep(scene: Any, **options: Any) -> Any:
    return await scene.vault.purge.sweeper.sweep(scene.admin, **options)


async def is_there(scene: Any, name: str = "pay-1") -> bool:
    (found,) = await scene.storage.inner.read([Read(EntryKey("card", name), with_value=True)])
    return found.value is not None


class TestVersions:
    async def test_each_change_is_the_next_version_with_author_and_times(self, scene) -> None:
        at = scene.clock.at
        first, is_new = await place(scene, replace(HOLD, version=9, created_by="liar", created_at=None))
        assert (first.version, first.created_by, first.created_at, first.held_since, is_new) == (
            1, "vault-admin", at, at, True,
        )  # fmt: skip
        later = scene.clock.advance(hours=1)
        other = a_call("other-admin", Role.ADMIN)
        saved = await scene.vault.rules.legal_holds.save(other, replace(HOLD, reason="More"))
        second, is_new = saved.hold, saved.is_new
        assert (second.version, second.created_by, second.created_at, second.held_since, is_new) == (
            2, "other-admin", later, at, False,
        )  # fmt: skip
        assert await scene.vault.rules.legal_holds.hold(scene.admin, "case-17") == second

    async def test_a_release_is_a_version_and_a_name_put_again_goes_on_counting(self, scene) -> None:
        await place(scene)
        at = scene.clock.advance(hours=1)
        released = await release(scene)
        assert (released.version, released.released_by, released.released_at) == (2, "vault-admin", at)
        assert await scene.vault.rules.legal_holds.hold(scene.admin, "case-17") == released
        at = scene.clock.advance(hours=1)
        again, is_new = await place(scene)
        assert (again.version, again.held_since, again.released_at, is_new) == (3, at, None, True)

    async def test_what_is_in_force_and_what_is_released_are_listed_apart(self, scene) -> None:
        for name in ("b", "a", "gone"):
            await place(scene, replace(HOLD, name=name))
        await release(scene, "gone")
        assert [hold.name for hold in await scene.vault.rules.legal_holds.holds(scene.admin)] == ["a", "b"]
        assert [hold.name for hold in await scene.vault.rules.legal_holds.holds(scene.admin, released=True)] == ["gone"]

    async def test_a_hold_that_is_not_there_or_released_is_not_released(self, scene) -> None:
        with pytest.raises(HoldNotFound):
            await release(scene)
        await place(scene)
        await release(scene)
        with pytest.raises(HoldNotFound):
            await release(scene)
        with pytest.raises(HoldNotFound):
            await scene.vault.rules.legal_holds.hold(scene.admin, "none")

    async def test_the_rows_have_the_old_and_the_new_value(self, scene) -> None:
        await place(scene)
        await release(scene)
        (placed,) = await scene.access_rows(operation="change-legal-hold")
        (released,) = await scene.access_rows(operation="release-legal-hold")
        assert (placed.status, placed.detail, placed.old_value) == (201, "case-17", None)
        assert (released.status, json.loads(released.old_value)) == (200, json.loads(placed.new_value))
        assert json.loads(released.new_value)["released_by"] == "vault-admin"

    @pytest.mark.parametrize("roles", [(), (Role.AUDITOR,)], ids=repr)
    async def test_only_admins_change_and_auditors_read(self, scene, roles) -> None:
        call = a_call("app", *roles)
        await place(scene)
        with pytest.raises(RoleRequired):
            await scene.vault.rules.legal_holds.save(call, HOLD)
        with pytest.raises(RoleRequired):
            await scene.vault.rules.legal_holds.release(call, "case-17")
        if roles:
            assert (await scene.vault.rules.legal_holds.hold(call, "case-17")).version == 1
            return
        with pytest.raises(RoleRequired):
            await scene.vault.rules.legal_holds.hold(call, "case-17")
        with pytest.raises(RoleRequired):
            await scene.vault.rules.legal_holds.holds(call)

    async def test_a_change_may_ask_for_the_version_it_was_made_from(self, scene) -> None:
        await place(scene, preconditions=VersionPreconditions(none_exists=True))
        with pytest.raises(PreconditionFailed):
            await place(scene, preconditions=VersionPreconditions(none_exists=True))
        first = VersionPreconditions(match=frozenset({1}))
        await place(scene, preconditions=first)
        for refused in (place(scene, preconditions=first), release(scene, preconditions=first)):
            with pytest.raises(PreconditionFailed):
                await refused
        assert (await scene.last_row()).reason == "precondition"
        await release(scene, preconditions=VersionPreconditions(match=frozenset({2})))
        with pytest.raises(PreconditionFailed):  # a released one is not in force
            await place(scene, preconditions=VersionPreconditions(any_match=True))

    async def test_twenty_changes_at_once_are_twenty_versions(self, scene) -> None:
        saved = await asyncio.gather(*(place(scene, replace(HOLD, reason=str(n))) for n in range(20)))
        assert sorted(hold.version for hold, _ in saved) == list(range(1, 21))


class TestKeeping:
    async def test_a_held_entry_is_neither_purged_nor_replaced_and_is_read_as_ever(self, scene) -> None:
        await scene.store(value=b"old")
        await place(scene)
        with pytest.raises(EntryHeld) as held:
            await scene.purge()
        assert held.value.detail is None
        row = await scene.last_row()
        assert (row.outcome, row.status, row.reason, row.detail) == (
            Outcome.DENIED, 423, "legal_hold", "held by case-17 v1",
        )  # fmt: skip
        with pytest.raises(EntryHeld):
            await scene.store(value=b"new")
        viewed = await scene.vault.entries.retrieve(scene.owner, EntryKey("card", "pay-1"))
        assert (viewed.value, viewed.entry.version) == (b"old", 1)
        assert await scene.purge_rows() == []

    async def test_an_admin_learns_which_holds(self, scene) -> None:
        await scene.store()
        await place(scene)
        await place(scene, a_legal_hold("b"))
        with pytest.raises(EntryHeld) as held:
            await scene.purge(call=scene.admin)
        assert held.value.detail == "case-17 v1, b v1"

    async def test_storing_the_same_again_destroys_nothing(self, scene) -> None:
        await scene.store()
        await place(scene)
        assert (await scene.store()).unchanged

    async def test_it_takes_the_release_of_every_hold(self, scene) -> None:
        await scene.store()
        await place(scene)
        await place(scene, a_legal_hold("b"))
        await release(scene)
        with pytest.raises(EntryHeld):
            await scene.purge()
        await release(scene, "b")
        assert (await scene.purge()).external_id == "pay-1"

    async def test_an_expired_entry_that_is_held_is_gone_for_readers_and_kept(self, scene) -> None:
        await scene.store(expires_at=scene.clock.at + DAY)
        await place(scene)
        scene.clock.advance(days=1)
        with pytest.raises(EntryExpired):
            await scene.vault.entries.retrieve(scene.owner, EntryKey("card", "pay-1"))
        with pytest.raises(EntryExpired):
            await scene.purge()
        with pytest.raises(EntryHeld):
            await scene.store(value=b"over it")
        assert await is_there(scene)

    async def test_a_hold_placed_before_the_entry_keeps_it(self, scene) -> None:
        await place(scene, replace(HOLD, selector=HoldSelector(metadata='{"case":17}')))
        await scene.store(metadata='{"case":17,"x":1}')
        await scene.store("pay-2", metadata='{"case":18}')
        with pytest.raises(EntryHeld):
            await scene.purge()
        await scene.purge("pay-2")

    @pytest.mark.parametrize("method", ["commit", "commit_seen"])
    async def test_a_hold_that_comes_while_a_purge_is_decided_is_heeded(self, scene, method, monkeypatch) -> None:
        """The purge has found no hold, and is about to commit, after a read or without one."""
        await scene.store()
        if method == "commit":
            monkeypatch.setattr(SeenEntries, "entry", lambda *_: None)
        inner = scene.storage.inner
        commit = getattr(inner, method)

        async def hold_comes_first(writes: Any) -> Any:
            setattr(inner, method, commit)
            await inner.commit([a_write(SaveLegalHold(HOLD))])
            return await commit(writes)

        setattr(inner, method, hold_comes_first)
        with pytest.raises(EntryHeld):
            await scene.purge()
        assert await is_there(scene)


class TestSweeping:
    async def fill(self, scene: Any, count: int) -> None:
        at = scene.clock.at
        await scene.storage.inner.commit(
            [storing(f"e{n}", created_at=at, expires_at=at + DAY) for n in range(count)]
            + [storing(f"held-{n}", created_at=at, expires_at=at + DAY, owner_app="accused") for n in range(count)]
        )
        scene.clock.advance(days=1)

    async def test_a_sweep_counts_what_is_held_keeps_it_and_takes_it_after_the_release(self, open_scene) -> None:
        scene = await open_scene(purge__sweep_batch="3", purge__sweep_pause_seconds="0")
        await self.fill(scene, 10)
        await place(scene, replace(HOLD, selector=HoldSelector(owner_app="accused")))
        count = await sweep(scene)
        assert (count.purged, count.held, count.failed, count.completed) == (10, 10, 0, True)
        last = await scene.storage.inner.last_sweep()
        assert (last.purged, last.held) == (10, 10)
        (row,) = await scene.access_rows(operation="sweep")
        assert row.detail == f"sweep {count.sweep_id}: 10 purged, 0 failed, 10 held"
        again = await sweep(scene)
        assert (again.purged, again.held) == (0, 10)
        await release(scene)
        after = await sweep(scene)
        assert (after.purged, after.held) == (10, 0)
        assert len(await scene.purge_rows()) == 20

    async def test_more_held_entries_than_a_sweep_would_bear_failing_hold_up_nothing(self, open_scene) -> None:
        scene = await open_scene(purge__sweep_batch="500", purge__sweep_pause_seconds="0")
        await self.fill(scene, 1500)
        await place(scene, replace(HOLD, selector=HoldSelector(owner_app="accused")))
        count = await sweep(scene)
        assert (count.purged, count.held) == (1500, 1500)

    async def test_a_dry_run_says_what_a_sweep_would_do(self, scene) -> None:
        await self.fill(scene, 3)
        await place(scene, replace(HOLD, selector=HoldSelector("card", owner_app="accused")))
        dry = await sweep(scene, dry_run=True)
        done = await sweep(scene)
        assert (
            (dry.purged, dry.held, dry.by_purpose) == (done.purged, done.held, done.by_purpose) == (3, 3, {"card": 3})
        )

    async def test_a_shorter_retention_policy_destroys_nothing_that_is_held(self, scene) -> None:
        await scene.store()
        await scene.store("pay-2")
        await place(scene)
        scene.clock.advance(days=10)
        await scene.retain(max_retention_days=5, default_ttl_days=1)
        count = await sweep(scene)
        assert (count.purged, count.held) == (1, 1)
        assert await is_there(scene)

    async def test_a_hold_that_comes_during_a_sweep_keeps_what_is_not_yet_purged(self, open_scene) -> None:
        scene = await open_scene(purge__sweep_batch="4", purge__sweep_pause_seconds="0")
        await self.fill(scene, 4)
        expired = scene.storage.inner.expired
        pages = 0

        async def expired_then_held(query: Any) -> Any:
            nonlocal pages
            page = await expired(query)
            pages += 1
            if pages == 2:
                await place(scene, replace(HOLD, selector=HoldSelector(purpose="card")))
            return page

        scene.storage.inner.expired = expired_then_held
        scene.vault.queue.writes.counts.last_at = None  # so that the first page is one commit
        count = await sweep(scene)
        assert (count.purged, count.held) == (4, 4)


async def test_every_commit_that_destroys_expects_that_no_rule_has_changed(scene) -> None:
    """DELETE, replacing, storing over what has expired, and the sweep: no other way leads to the end of an entry."""
    seen: list[Any] = []
    commit, commit_seen = scene.storage.inner.commit, scene.storage.inner.commit_seen

    async def watched(writes: Any) -> Any:
        seen.extend(write for write in writes if write.purges)
        return await commit(writes)

    async def watched_seen(writes: Any) -> Any:
        snapshots = await commit_seen(writes)
        done = [each.write for each, snapshot in zip(writes, snapshots, strict=True) if snapshot is not None]
        seen.extend(write for write in done if write.purges)
        return snapshots

    scene.storage.inner.commit, scene.storage.inner.commit_seen = watched, watched_seen
    for name in ("deleted", "replaced", "over", "swept"):
        await scene.store(name, expires_at=scene.clock.at + DAY)
    await scene.purge("deleted")
    await scene.store("replaced", value=b"2")
    scene.clock.advance(days=2)
    await scene.store("over", value=b"2")
    await sweep(scene)
    assert sum(len(write.purges) for write in seen) == 4
    assert all(any(isinstance(expect, RevisionIs) for expect in write.expects) for write in seen)


def test_the_document_of_a_hold_has_every_member() -> None:
    assert legal_hold_document(a_legal_hold("case-9")) == {
        "name": "case-9", "version": 1, "state": "active", "case_reference": "17 O 4/27",
        "reason": "Litigation over chargebacks", "selector": {"purpose": "card"}, "held_since": format_time(T0),
        "created_by": "vault-admin", "created_at": format_time(T0), "released_by": None, "released_at": None,
    }  # fmt: skip


async def test_a_purpose_that_nothing_defines_is_a_warning_that_names_it(scene) -> None:
    saved = await scene.vault.rules.legal_holds.save(
        scene.admin, a_legal_hold("case-w", selector=HoldSelector(purpose="crad"))
    )
    assert saved.warnings == ("purpose crad is not defined (did you mean card?): the hold keeps no entry",)
