"""A database that the outside knows better: nothing is given away, nothing is signed, until somebody confirms it."""

from __future__ import annotations

import asyncio
import json
import os
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.support import rogue
from vsqlvault.errors import PluginUnusable, Quarantined, SettingsInvalid
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.purge import PurgeReason
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.restores import split_notes
from vsqlvault.runtime.tuning import Tuning
from vsqlvault.service.log.restore import RestoreCount, Tombstone, tombstones_in
from vsqlvault.testing import T0, a_legal_hold, a_purge_record, an_access_record, an_entry
from vsqlvault_plugins.anchor.file import FileAnchor

AT_ONCE = Tuning(log_check_seconds=0)
KEY = SigningKey("vault.example/audit", b"\x01" * 32)


def note_of(size: int, root: bytes = b"\x07" * 32, key: SigningKey = KEY) -> str:
    return sign_checkpoint(TreeHead(key.verifier.name, size, root), key.signer)


class Outside(Anchor):
    """An anchor that says what a test lets it say."""

    name = "outside"

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.superseded: list[str] = []
        self.kept: list[str] = []

    async def larger_than(self, size: int, limit: int) -> list[str]:
        return self.kept

    def failure(self) -> None:
        return None

    def supersede(self, note: str) -> None:
        self.superseded.append(note)

    async def newest(self) -> Any:
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer

    @hookimpl
    def vault_anchors(self) -> list[Any]:
        return [self]


@pytest.fixture
def outside(install, monkeypatch: pytest.MonkeyPatch) -> Outside:
    monkeypatch.setenv("KEY", KEY.reveal())
    anchor = Outside()
    install(outside=anchor)
    return anchor


async def sequenced(open_scene) -> Any:
    scene = await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")
    for name in "abc":
        await scene.store(name)
    await scene.vault.log.sequencer.sequence()
    return scene


async def test_who_continues_what_is_known_outside_is_in_no_quarantine(open_scene, outside: Outside) -> None:
    scene = await sequenced(open_scene)
    outside.answer = (await scene.storage.inner.newest_checkpoint()).note
    again = await sequenced(open_scene)
    assert again.vault.log.quarantine.notes == ()
    await again.vault.log.quarantine.check()


@pytest.mark.parametrize("size", [2, 1000])
async def test_an_older_database_and_another_one_are_in_quarantine(open_scene, outside: Outside, size: int) -> None:
    await sequenced(open_scene)
    outside.answer = note_of(size)
    scene = await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")
    with pytest.raises(Quarantined):
        await scene.vault.log.quarantine.check()
    assert ("leaves" in scene.vault.log.quarantine.why) is True


async def test_in_quarantine_nothing_is_signed(open_scene, outside: Outside) -> None:
    await sequenced(open_scene)
    outside.answer = note_of(1000)
    scene = await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY", audit__checkpoint_interval_seconds="0.01")
    await scene.store("d")
    before = await scene.storage.inner.tree_size()
    await scene.vault.log.sequencer._turn()
    assert await scene.storage.inner.tree_size() == before
    await scene.vault.log.restore.confirm(scene.admin, RestoreCount())
    await scene.vault.log.sequencer._turn()
    assert await scene.storage.inner.tree_size() > before


async def test_in_quarantine_no_sweep_destroys_an_entry(open_scene, outside: Outside) -> None:
    """Legal holds that were placed after the backup are missing until the restore is confirmed."""
    await sequenced(open_scene)
    outside.answer = note_of(1000)
    scene = await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")
    await scene.go_to(T0 + timedelta(days=100))
    with pytest.raises(Quarantined):
        await scene.vault.purge.sweeper.sweep(scene.admin, confirm_clock=True)
    assert (await scene.last_row()).reason == "quarantined"
    await scene.vault.purge.sweeper._sweep_if_due()
    assert await scene.purge_rows() == []
    assert (await scene.vault.purge.sweeper.sweep(scene.admin, dry_run=True)).purged == 3
    await scene.vault.log.restore.confirm(scene.admin, RestoreCount())
    assert (await scene.vault.purge.sweeper.sweep(scene.admin, confirm_clock=True)).purged == 3


async def test_a_word_of_an_operator_ends_it_for_all_and_for_ever(open_scene, outside: Outside) -> None:
    await sequenced(open_scene)
    outside.answer = note_of(1000)
    one, other = (
        await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY"),
        await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY"),
    )
    await one.vault.log.restore.confirm(one.admin, RestoreCount(purged=3))
    for scene in (one, other, await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")):
        await scene.vault.log.quarantine.check()
    (row,) = await one.access_rows(operation=Operation.CONFIRM_RESTORE)
    assert (row.app, row.new_value) == (one.admin.principal.app, outside.answer)
    assert "purged again: 3" in row.detail
    outside.answer = note_of(1001)
    later = await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")
    with pytest.raises(Quarantined):
        await later.vault.log.quarantine.check()


async def test_one_word_ends_it_for_all_that_anchors_know(open_scene, install, outside: Outside) -> None:
    await sequenced(open_scene)
    elsewhere = Outside(note_of(900))
    elsewhere.name = "elsewhere"
    install(outside=outside, elsewhere=elsewhere)
    outside.answer = note_of(1000)
    one = await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")
    assert set(one.vault.log.quarantine.notes) == {outside.answer, elsewhere.answer}
    await one.vault.log.restore.confirm(one.admin, RestoreCount())
    for scene in (one, await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")):
        await scene.vault.log.quarantine.check()


async def test_the_rows_of_a_confirmation_have_every_checkpoint_that_the_log_does_not_continue(
    open_scene, outside: Outside
) -> None:
    await sequenced(open_scene)
    outside.answer, outside.kept = note_of(1000), [note_of(700), note_of(1000), "no note"]
    scene = await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")
    good = (await scene.storage.inner.newest_checkpoint()).note
    elsewhere = note_of(900, key=SigningKey("elsewhere.example/log", b"\x02" * 32))
    known = [note_of(800), good, elsewhere, note_of(2)]
    assert await scene.vault.log.restore.confirm(scene.admin, RestoreCount(), known)
    (row,) = await scene.access_rows(operation=Operation.CONFIRM_RESTORE)
    assert split_notes(row.new_value) == [note_of(size) for size in (2, 700, 800, 1000)]
    await scene.vault.log.quarantine.check()
    assert not await scene.vault.log.restore.confirm(scene.admin, RestoreCount(), [note_of(800)])
    assert await scene.vault.log.restore.confirm(scene.admin, RestoreCount(), [note_of(801)])


@pytest.mark.parametrize("how", [*rogue.RAISED, "hang", "block", "None", "wrong type", "mutate"])
@pytest.mark.parametrize("method", ["larger_than", "supersede"])
async def test_an_anchor_that_behaves_badly_cannot_stop_a_confirmation(
    open_scene, outside: Outside, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, how: str
) -> None:
    (tmp_path / "orders").write_text(f"anchor.{method} {how}", "utf-8")
    monkeypatch.setenv("ROGUE", str(tmp_path / "orders"))
    monkeypatch.setenv("ROGUE_BLOCK_SECONDS", "0.2")
    await sequenced(open_scene)
    outside.answer = note_of(1000)
    monkeypatch.setattr(
        outside, method, partial(rogue.waiting if method == "larger_than" else rogue.plainly, f"anchor.{method}", None)
    )
    scene = await open_scene(tuning=Tuning(log_check_seconds=0, anchor_seconds=0.1), audit__signing_key_env="KEY")
    assert await scene.vault.log.restore.confirm(scene.admin, RestoreCount())
    assert await scene.vault.log.quarantine.is_lifted()
    assert (tmp_path / "orders.reached").exists()


async def test_only_an_admin_confirms(open_scene, outside: Outside) -> None:
    await sequenced(open_scene)
    outside.answer = note_of(1000)
    scene = await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")
    with pytest.raises(Exception, match="admin"):
        await scene.vault.log.restore.confirm(scene.owner, RestoreCount())
    with pytest.raises(Quarantined):
        await scene.vault.log.quarantine.check()


@pytest.mark.parametrize("answer", [RuntimeError("cannot be reached"), 5, SettingsInvalid("no such place")])
async def test_an_anchor_that_cannot_tell_stops_the_start(open_scene, outside: Outside, answer: Any) -> None:
    outside.answer = answer
    with pytest.raises((PluginUnusable, SettingsInvalid)):
        await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")


@pytest.mark.parametrize("note", ["nonsense", note_of(5, key=SigningKey("elsewhere.example/log", b"\x02" * 32))])
async def test_what_is_no_checkpoint_of_this_log_stops_the_start(open_scene, outside: Outside, note: str) -> None:
    outside.answer = note
    with pytest.raises(SettingsInvalid, match="anchor outside"):
        await open_scene(tuning=AT_ONCE, audit__signing_key_env="KEY")


class TestPurgingAgain:
    async def test_what_is_back_is_purged_with_proof(self, scene) -> None:
        viewed = (await scene.store("a")).viewed.entry
        count = await scene.vault.log.restore.purge_again(scene.admin, [Tombstone(viewed.key, viewed.entry_id, 1)])
        assert (count.purged, count.kept) == (1, 0)
        (row,) = await scene.purge_rows(external_id="a")
        assert (row.reason, row.method, row.entry_id) == (
            PurgeReason.RESTORED_THEN_PURGED,
            "physical-delete",
            viewed.entry_id,
        )
        (access,) = await scene.access_rows(operation=Operation.PURGE)
        assert access.detail == "purged before the database was restored"
        again = await scene.vault.log.restore.purge_again(scene.admin, [Tombstone(viewed.key, viewed.entry_id, 1)])
        assert (again.purged, again.kept) == (0, 0)

    async def test_an_earlier_version_is_purged_too_and_a_later_one_is_not(self, scene) -> None:
        first = (await scene.store("a", value=b"one")).viewed.entry
        later = (await scene.store("a", value=b"two")).viewed.entry
        assert later.version == 2
        count = await scene.vault.log.restore.purge_again(scene.admin, [Tombstone(first.key, first.entry_id, 1)])
        assert count.purged == 0
        count = await scene.vault.log.restore.purge_again(scene.admin, [Tombstone(first.key, first.entry_id, 5)])
        assert count.purged == 1

    async def test_another_entry_under_the_same_id_stays(self, scene) -> None:
        await scene.store("a")
        count = await scene.vault.log.restore.purge_again(scene.admin, [Tombstone(EntryKey("card", "a"), "0" * 32, 9)])
        assert count.purged == 0
        assert len(await scene.purge_rows()) == 0

    async def test_what_no_policy_says_how_to_purge_is_kept_and_counted(self, scene, monkeypatch) -> None:
        viewed = (await scene.store("a")).viewed.entry
        monkeypatch.setattr(scene.vault.log.restore._purges, "_methods", {})
        count = await scene.vault.log.restore.purge_again(scene.admin, [Tombstone(viewed.key, viewed.entry_id, 1)])
        assert (count.purged, count.kept) == (0, 1)

    async def test_what_a_legal_hold_keeps_is_kept_and_counted(self, scene) -> None:
        viewed = (await scene.store("a")).viewed.entry
        await scene.vault.rules.legal_holds.save(scene.admin, a_legal_hold())
        tombstones = [Tombstone(viewed.key, viewed.entry_id, 1)]
        count = await scene.vault.log.restore.purge_again(scene.admin, tombstones)
        assert (count.purged, count.kept) == (0, 1)
        await scene.vault.rules.legal_holds.release(scene.admin, "case-17")
        assert (await scene.vault.log.restore.purge_again(scene.admin, tombstones)).purged == 1

    def test_tombstones_are_the_purges_that_ended_an_entry(self) -> None:
        gone = a_purge_record(an_entry("gone", version=3))
        replaced = a_purge_record(an_entry("replaced"), method="replace", reason=PurgeReason.REPLACED)
        leaves = [row_leaf(an_access_record()), row_leaf(gone), row_leaf(replaced), b""]
        assert list(tombstones_in(leaves)) == [Tombstone(gone.key, gone.entry_id, 3)]


class TestFileAnchor:
    async def test_it_returns_the_largest_checkpoints_above_a_size(self, tmp_path: Path) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 0)
        assert await anchor.larger_than(0, 10) == []
        for size in (3, 5, 9):
            anchor.keep(self.checkpoint(size))
        assert await anchor.larger_than(3, 10) == [note_of(5), note_of(9)]
        assert await anchor.larger_than(0, 2) == [note_of(5), note_of(9)]

    def checkpoint(self, size: int) -> Checkpoint:
        return Checkpoint(KEY.verifier.name, size, b"\x07" * 32, note_of(size), T0)

    async def test_the_newest_is_the_largest_that_was_added(self, tmp_path: Path) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 0)
        assert await anchor.newest() is None
        for size in (3, 9, 5):
            anchor.keep(self.checkpoint(size))
        assert await anchor.newest() == note_of(9)
        lines = [json.loads(line) for line in (tmp_path / "anchor").read_text("utf-8").splitlines()]
        assert [line["size"] for line in lines] == [3, 9]
        assert (tmp_path / "anchor").stat().st_mode & 0o077 == 0

    async def test_within_the_interval_the_last_one_waits(self, tmp_path: Path) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 3600)
        for size in (3, 9, 5):
            anchor.keep(self.checkpoint(size))
        assert await anchor.newest() == note_of(3)
        anchor.flush()
        anchor.flush()
        assert await anchor.newest() == note_of(9)
        assert len((tmp_path / "anchor").read_text("utf-8").splitlines()) == 2

    async def test_of_lines_that_processes_wrote_out_of_order_the_largest_counts(self, tmp_path: Path) -> None:
        lines = [json.dumps({"size": size, "note": note_of(size)}) + "\n" for size in (3, 9, 5)]
        (tmp_path / "anchor").write_text("".join(lines), "utf-8")
        assert await FileAnchor(tmp_path / "anchor", 0).newest() == note_of(9)

    async def test_after_a_confirmed_restore_a_smaller_one_takes_the_place_of_the_largest(self, tmp_path: Path) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 0)
        anchor.keep(self.checkpoint(9))
        anchor.supersede(note_of(9))
        anchor.keep(self.checkpoint(5))
        assert await anchor.newest() == note_of(5)
        assert await FileAnchor(tmp_path / "anchor", 0).newest() == note_of(5)

    async def test_what_supersedes_one_checkpoint_supersedes_no_later_one(self, tmp_path: Path) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 0)
        anchor.keep(self.checkpoint(9))
        anchor.supersede(note_of(9))
        anchor.keep(self.checkpoint(12))
        anchor.keep(self.checkpoint(5))
        assert await anchor.newest() == note_of(12)

    async def test_a_line_that_broke_off_counts_for_nothing(self, tmp_path: Path) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 0)
        anchor.keep(self.checkpoint(3))
        with (tmp_path / "anchor").open("a", encoding="utf-8") as file:
            file.write('{"note": "half a li')
        assert await anchor.newest() == note_of(3)

    async def test_after_half_a_line_the_next_one_stands_by_itself(self, tmp_path: Path) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 0)
        (tmp_path / "anchor").write_text('{"note": "half a li', encoding="utf-8")
        anchor.keep(self.checkpoint(5))
        assert await anchor.newest() == note_of(5)

    async def test_what_waits_is_appended_after_the_interval_though_nothing_else_happens(self, tmp_path: Path) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 0.05)
        for size in (3, 9):
            anchor.keep(self.checkpoint(size))
        assert await anchor.newest() == note_of(3)
        await asyncio.sleep(0.1)
        assert await anchor.newest() == note_of(9)

    async def test_what_cannot_be_appended_is_said_and_waits(self, tmp_path: Path, caplog) -> None:
        anchor = FileAnchor(tmp_path / "place" / "anchor", 0, retry_seconds=0.02)
        anchor.keep(self.checkpoint(3))
        assert anchor.failure() == "No such file or directory"
        assert "file anchor: a checkpoint cannot be stored" in caplog.text
        (tmp_path / "place").mkdir()
        await asyncio.sleep(0.1)
        assert (anchor.failure(), await anchor.newest()) == (None, note_of(3))

    async def test_a_write_that_is_cut_short_is_a_failure(self, tmp_path: Path, monkeypatch) -> None:
        anchor = FileAnchor(tmp_path / "anchor", 0)
        whole = os.write
        monkeypatch.setattr(os, "write", lambda descriptor, data: whole(descriptor, data[:20]))
        anchor.keep(self.checkpoint(3))
        assert anchor.failure() == "No space left on device"
        monkeypatch.setattr(os, "write", whole)
        anchor.flush()
        assert (anchor.failure(), await anchor.newest()) == (None, note_of(3))

    async def test_what_holds_something_else_is_refused(self, tmp_path: Path) -> None:
        (tmp_path / "anchor").write_text("hello\nworld\n", encoding="utf-8")
        with pytest.raises(SettingsInvalid, match="found other lines"):
            await FileAnchor(tmp_path / "anchor", 0).newest()

    async def test_where_nothing_can_be_written_the_start_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(SettingsInvalid, match="file-anchor"):
            await FileAnchor(tmp_path, 0).newest()
        if os.geteuid():
            (tmp_path / "closed").mkdir(mode=0o500)
            with pytest.raises(SettingsInvalid, match="directory"):
                await FileAnchor(tmp_path / "closed" / "anchor", 0).newest()
