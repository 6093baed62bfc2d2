"""A vault that meets a database with a different past signs nothing and serves nothing until an operator confirms it."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.errors import Quarantined
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.model.audit import Operation
from vsqlvault.model.control import ControlState
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime.tuning import Tuning
from vsqlvault.service.log.restore import RestoreCount
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

KEY = SigningKey("vault.example/audit", b"\x01" * 32)


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", KEY.reveal())


@pytest.fixture
def signing(open_scene) -> Callable[[], Awaitable[Any]]:
    async def opened() -> Any:
        return await open_scene(tuning=Tuning(log_check_seconds=0), audit__signing_key_env="KEY")

    return opened


async def sign(scene: Any, *names: str) -> Checkpoint:
    """Store entries, and return the checkpoint that covers them."""
    for name in names:
        await scene.store(name)
    await scene.vault.log.sequencer.sequence()
    found: Checkpoint = await scene.storage.inner.newest_checkpoint()
    return found


class Standby:
    """A copy of the database, which takes its place."""

    def __init__(self, tmp_path: Path, clock: Any) -> None:
        self._primary, self._copy = tmp_path / "vault.db", tmp_path / "standby.db"
        self._clock = clock
        self._served: list[tuple[Any, Any]] = []

    def replicate(self) -> None:
        with closing(sqlite3.connect(self._primary)) as source, closing(sqlite3.connect(self._copy)) as target:
            source.backup(target)

    async def promote(self, *scenes: Any) -> None:
        for scene in scenes:
            await self.serve(self._copy, scene)

    async def serve(self, path: Path, scene: Any) -> None:
        """Have a vault go on with this file; it gets its own one back before it is closed."""
        self._served.append((scene, scene.storage.inner))
        scene.storage.inner = await SqliteStorage.open(path, self._clock)

    def keep(self) -> Path:
        """Return a further copy of the promoted database, as it is now."""
        path = self._copy.with_suffix(".old")
        with closing(sqlite3.connect(self._copy)) as source, closing(sqlite3.connect(path)) as target:
            source.backup(target)
        return path

    async def close(self) -> None:
        for scene, before in reversed(self._served):
            await scene.storage.inner.close()
            scene.storage.inner = before


@pytest.fixture
def standby(tmp_path: Path, clock: Any, runner: asyncio.Runner) -> Iterator[Standby]:
    made = Standby(tmp_path, clock)
    yield made
    runner.run(made.close())


async def lost(signing: Any, standby: Standby, *scenes: Any) -> Checkpoint:
    """Put a standby in place that lacks the last rows, and return the checkpoint over them."""
    scene = scenes[0]
    await sign(scene, "a", "b")
    standby.replicate()
    newest = await sign(scene, "c", "d")
    for other in scenes[1:]:
        await other.vault.log.quarantine.look()
    await standby.promote(*scenes)
    return newest


async def test_a_standby_that_lacks_signed_rows_is_neither_signed_nor_served(signing, standby: Standby) -> None:
    scene = await signing()
    await lost(signing, standby, scene)
    await scene.store("e")
    before = await scene.storage.inner.tree_size()
    for _ in range(2):
        await scene.vault.log.sequencer._turn()
    assert await scene.storage.inner.tree_size() == before
    assert scene.vault.log.sequencer.state.is_inconsistent
    with pytest.raises(Quarantined):
        await scene.vault.log.quarantine.check()


async def test_the_process_that_did_not_sign_finds_it_too(signing, standby: Standby) -> None:
    scene, other = await signing(), await signing()
    newest = await lost(signing, standby, scene, other)
    await other.vault.log.quarantine.look()
    assert other.vault.log.quarantine.notes == (newest.note,)


async def test_a_log_that_grew_past_it_with_other_rows_is_found(signing, standby: Standby) -> None:
    scene = await signing()
    newest = await lost(signing, standby, scene)
    unaware = await signing()
    await standby.promote(unaware)
    unaware.vault.log.quarantine._continuity.forget()
    assert (await sign(unaware, "e", "f", "g")).size > newest.size
    await scene.vault.log.quarantine.look()
    assert scene.vault.log.quarantine.notes == (newest.note,)


async def test_the_newest_checkpoint_that_both_logs_contain_is_named(signing, standby: Standby) -> None:
    scene = await signing()
    await lost(signing, standby, scene)
    common = await scene.storage.inner.newest_checkpoint()
    unaware = await signing()
    await standby.promote(unaware)
    unaware.vault.log.quarantine._continuity.forget()
    await sign(unaware, "e", "f", "g")
    await scene.vault.log.quarantine.look()
    (row,) = await scene.access_rows(operation=Operation.QUARANTINE)
    assert f"both agree up to leaf {common.size}:" in row.detail


async def test_a_process_that_serves_a_checkpoint_remembers_it(signing, standby: Standby) -> None:
    scene, other = await signing(), await signing()
    await sign(scene, "a", "b")
    standby.replicate()
    await other.vault.log.quarantine.look()
    newest = await sign(scene, "c", "d")
    assert await other.vault.log.reader.checkpoint(other.admin) == newest.note
    await standby.promote(other)
    await other.vault.log.quarantine.look()
    assert other.vault.log.quarantine.notes == (newest.note,)


async def test_a_served_checkpoint_of_another_past_does_not_replace_the_known_one(signing, standby: Standby) -> None:
    scene = await signing()
    newest = await lost(signing, standby, scene)
    unaware = await signing()
    await standby.promote(unaware)
    unaware.vault.log.quarantine._continuity.forget()
    forked = await sign(unaware, "e", "f", "g")
    assert await scene.vault.log.reader.checkpoint(scene.admin) == forked.note
    await scene.vault.log.quarantine.look()
    assert scene.vault.log.quarantine.notes == (newest.note,)


async def test_a_log_that_goes_on_is_no_reason_for_a_quarantine(signing) -> None:
    scene, other = await signing(), await signing()
    for name in "abc":
        await sign(scene, name)
        await other.vault.log.quarantine.look()
    assert other.vault.log.quarantine.notes == ()
    assert other.vault.log.quarantine._continuity.newest == await scene.storage.inner.newest_checkpoint()


async def test_a_checkpoint_signed_while_the_storage_is_read_is_not_missed_there(signing, monkeypatch) -> None:
    scene = await signing()
    await sign(scene, "a")
    older = await scene.storage.inner.newest_checkpoint()
    newer = replace(older, size=older.size + 1)
    continuity = scene.vault.log.quarantine._continuity

    async def read_while_another_is_signed() -> Checkpoint:
        continuity.remember(newer)
        return older

    monkeypatch.setattr(scene.storage.inner, "newest_checkpoint", read_while_another_is_signed)
    assert await continuity.look() is None


async def test_sizes_roots_and_lost_leaves_are_named_in_the_control_and_in_a_row(signing, standby: Standby) -> None:
    scene = await signing()
    kept = await sign(scene, "x")
    newest = await lost(signing, standby, scene)
    await scene.vault.log.quarantine.look()
    stored = await scene.storage.inner.newest_checkpoint()
    assert stored.size > kept.size
    (row,) = await scene.access_rows(operation=Operation.QUARANTINE)
    assert row.new_value == newest.note
    for words in (
        f"newest checkpoint of {stored.size}, root {stored.root.hex()}",
        f"a checkpoint of {newest.size} leaves, root {newest.root.hex()}",
        f"leaves {stored.size} to {newest.size - 1} are lost",
    ):
        assert words in row.detail
    (control,) = [each for each in await scene.vault.compliance.controls.look() if each.name == "log_consistent"]
    assert (control.state, control.detail) == (ControlState.FAILING, f"quarantine: {row.detail}")


async def test_a_process_that_starts_later_takes_the_quarantine_from_the_record(signing, standby: Standby) -> None:
    scene, later = await signing(), await signing()
    newest = await lost(signing, standby, scene)
    await scene.vault.compliance.controls.watch()
    later.vault.log.quarantine._continuity.forget()
    await standby.promote(later)
    await scene.vault.log.quarantine.look()
    await scene.vault.compliance.controls.watch()
    await later.vault.log.quarantine.begin()
    assert later.vault.log.quarantine.notes == (newest.note,)
    with pytest.raises(Quarantined):
        await later.vault.log.quarantine.check()


async def test_an_operators_word_names_what_is_lost_and_lets_the_log_go_on(signing, standby: Standby) -> None:
    scene, other = await signing(), await signing()
    newest = await lost(signing, standby, scene, other)
    for each in (scene, other):
        await each.vault.log.quarantine.look()
    await scene.vault.log.restore.confirm(scene.admin, RestoreCount())
    for each in (scene, other):
        await each.vault.log.quarantine.check()
        await each.vault.log.sequencer._turn()
        await each.vault.log.quarantine.look()
        assert each.vault.log.quarantine.notes == ()
    (row,) = await scene.access_rows(operation=Operation.CONFIRM_RESTORE)
    assert f"to {newest.size - 1} are lost" in row.detail
    assert (await scene.storage.inner.newest_checkpoint()).size < newest.size + 5
    assert not scene.vault.log.sequencer.state.is_inconsistent


async def test_one_confirmation_counts_for_a_process_that_has_seen_an_earlier_checkpoint(
    signing, standby: Standby, clock: Any
) -> None:
    signer, scene, other = await signing(), await signing(), await signing()
    await sign(signer, "a", "b")
    standby.replicate()
    earlier = await sign(signer, "c")
    await other.vault.log.quarantine.look()
    await sign(signer, "d")
    await scene.vault.log.quarantine.look()
    await standby.promote(scene, other)
    clock.advance(seconds=5)
    await scene.vault.log.quarantine.look()
    await scene.vault.log.restore.confirm(scene.admin, RestoreCount())
    (row,) = await scene.access_rows(operation=Operation.CONFIRM_RESTORE)
    assert earlier.note not in row.new_value
    await other.vault.log.quarantine.look()
    assert other.vault.log.quarantine.notes == ()


async def test_another_loss_after_the_word_is_another_quarantine(signing, standby: Standby, clock: Any) -> None:
    scene = await signing()
    await lost(signing, standby, scene)
    await scene.vault.log.quarantine.look()
    await scene.vault.log.restore.confirm(scene.admin, RestoreCount())
    await scene.vault.log.quarantine.check()
    clock.advance(seconds=5)
    await sign(scene, "k")
    older = standby.keep()
    clock.advance(seconds=5)
    newest = await sign(scene, "l", "m")
    await standby.serve(older, scene)
    await scene.vault.log.quarantine.look()
    assert scene.vault.log.quarantine.notes == (newest.note,)


async def test_another_incarnation_is_compared_before_an_entry_is_served(
    signing, standby: Standby, monkeypatch: pytest.MonkeyPatch
) -> None:
    scene = await signing()
    await lost(signing, standby, scene)
    assert not scene.vault.log.quarantine.must_check
    monkeypatch.setattr(type(scene.storage), "incarnation", "promoted")
    assert scene.vault.log.quarantine.must_check
    with pytest.raises(Quarantined):
        await scene.vault.log.quarantine.check()


@pytest.mark.parametrize("error", [None, RuntimeError(), SystemExit()])
async def test_every_process_gives_its_anchors_the_newest_checkpoint(install, offering, signing, error) -> None:
    class Watcher(Anchor):
        name = "watcher"
        seen: list[Checkpoint] = []

        async def newest(self) -> str | None:
            return None

        def keep(self, checkpoint: Checkpoint) -> None:
            self.seen.append(checkpoint)
            if error is not None:
                raise error

    scene = await signing()
    install(watcher=offering("vault_anchors", Watcher()))
    other = await signing()
    Watcher.seen.clear()
    newest = await sign(scene, "a")
    await other.vault.log.quarantine.look()
    await other.vault.log.quarantine.look()
    assert Watcher.seen == [newest]


class Outside(Anchor):
    """An anchor that knows what a test lets it know."""

    name = "outside"

    def __init__(self) -> None:
        self.answer: str | None = None
        self.asked = 0
        self.superseded: list[str] = []

    async def newest(self) -> str | None:
        self.asked += 1
        return self.answer

    def failure(self) -> None:
        return None

    def supersede(self, note: str) -> None:
        self.superseded.append(note)

    @hookimpl
    def vault_anchors(self) -> list[Any]:
        return [self]


async def test_anchors_are_asked_again_in_each_incarnation(install, signing, monkeypatch: pytest.MonkeyPatch) -> None:
    outside = Outside()
    install(outside=outside)
    scene = await signing()
    await scene.vault.log.quarantine.look()
    await scene.vault.log.quarantine._ask_anchors_again()
    assert outside.asked == 1
    monkeypatch.setattr(type(scene.storage), "incarnation", "promoted")
    await scene.vault.log.quarantine.look()
    await scene.vault.log.quarantine._ask_anchors_again()
    assert outside.asked == 2


async def test_an_anchor_may_go_back_once_an_operator_has_confirmed(install, signing, standby: Standby) -> None:
    outside = Outside()
    install(outside=outside)
    scene = await signing()
    outside.answer = (await lost(signing, standby, scene)).note
    await scene.vault.log.quarantine._ask(outside)
    assert outside.superseded == []
    await scene.vault.log.restore.confirm(scene.admin, RestoreCount())
    await scene.vault.log.quarantine.check()
    assert outside.superseded == [outside.answer]
