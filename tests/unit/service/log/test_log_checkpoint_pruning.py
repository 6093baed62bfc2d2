"""Checkpoint pruning: which checkpoints are deleted, how many at a time, and that a kept copy still verifies."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from vsqlvault.model.transparency import Checkpoint
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.tree import check_consistency
from vsqlvault.runtime.tuning import DEFAULT_TUNING, Tuning
from vsqlvault.service.log.checkpoint_pruning import superfluous
from vsqlvault.service.log.export import open_export, write_export
from vsqlvault.service.log.verification import StorageSource, verify_log
from vsqlvault.service.tasks import running

KEY = SigningKey("vault.example/audit", b"\x01" * 32)
NEXT = SigningKey("vault.example/audit", b"\x02" * 32)
NOW = datetime(2026, 3, 10, 12, 0, tzinfo=UTC)


def checkpoint(size: int, at: datetime, key: SigningKey = KEY) -> Checkpoint:
    head = TreeHead(key.verifier.name, size, bytes([size % 256]) * 32)
    return Checkpoint(head.origin, size, head.root, sign_checkpoint(head, key.signer), at)


def every(step: timedelta, count: int, first: datetime) -> list[Checkpoint]:
    return [checkpoint(number + 1, first + number * step) for number in range(count)]


def kept(checkpoints: list[Checkpoint]) -> list[datetime]:
    gone = set(superfluous(checkpoints, NOW))
    return [each.signed_at for each in checkpoints if each.size not in gone]


def test_all_of_the_last_day_stay() -> None:
    day = every(timedelta(minutes=10), 6 * 24, NOW - timedelta(hours=23, minutes=59))
    assert superfluous(day, NOW) == []


def test_after_a_day_the_last_of_each_hour_stays() -> None:
    older = every(timedelta(minutes=20), 3 * 5, NOW - timedelta(days=30))
    assert kept(older) == [NOW - timedelta(days=30) + timedelta(hours=number, minutes=40) for number in range(5)]


def test_after_ninety_days_the_last_of_each_day_stays() -> None:
    old = every(timedelta(hours=6), 4 * 3, datetime(2025, 1, 1, 1, tzinfo=UTC))
    assert kept(old) == [datetime(2025, 1, day, 19, tzinfo=UTC) for day in (1, 2, 3)]


def test_the_last_one_of_each_key_stays() -> None:
    at = NOW - timedelta(days=200)
    changed = [checkpoint(size, at + timedelta(seconds=size), KEY if size < 4 else NEXT) for size in range(1, 8)]
    assert superfluous(changed, NOW) == [1, 2, 4, 5, 6]


def test_what_is_not_what_its_note_says_stays() -> None:
    at = NOW - timedelta(days=200)
    one, two, three, four = (checkpoint(size, at) for size in range(1, 5))
    forged = Checkpoint(two.origin, two.size, b"\x00" * 32, two.note, two.signed_at)
    nonsense = Checkpoint(three.origin, three.size, three.root, "nonsense", three.signed_at)
    assert superfluous([one, forged, nonsense, four], NOW) == []


def test_where_the_clock_went_back_more_stays_and_the_newest_always() -> None:
    at = NOW - timedelta(days=30)
    back = [checkpoint(1, at), checkpoint(2, at + timedelta(hours=1)), checkpoint(3, at)]
    assert superfluous(back, NOW) == []
    assert superfluous([], NOW) == []


class TestInAVault:
    """On a real storage, whose own rule is held by the kit."""

    @pytest.fixture
    def aged(self, open_scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """Make a log with nine checkpoints, of which the first eight were all signed in one hour of long ago."""
        monkeypatch.setenv("KEY", KEY.reveal())

        async def made(tuning: Tuning = DEFAULT_TUNING):
            scene = await open_scene(
                tuning=tuning, audit__signing_key_env="KEY", audit__checkpoint_interval_seconds="0.01"
            )
            for number in range(9):
                await scene.store(f"entry-{number}")
                await scene.vault.log.sequencer.sequence()
            with closing(sqlite3.connect(tmp_path / "vault.db")) as file, file:
                file.execute("DROP TRIGGER checkpoints_no_update")
                newest = "(SELECT max(size) FROM checkpoints)"
                file.execute(f"UPDATE checkpoints SET signed_at = 1500000000000000 + size WHERE size < {newest}")
            return scene, list(await scene.storage.inner.checkpoints(0, 100))

        return made

    async def test_the_sequencer_does_it_a_page_a_turn(self, aged) -> None:
        scene, before = await aged(Tuning(pruning_page=4, pruning_rest_seconds=0.0))
        assert len(before) == 9
        sequencer = scene.vault.log.sequencer
        left = []
        for _ in range(4):
            await sequencer._turn()
            left.append(len(await scene.storage.inner.checkpoints(0, 100)))
        assert left == [6, 3, 2, 2]
        assert sequencer.state.thinned == 7
        assert await scene.storage.inner.checkpoints(0, 100) == before[-2:]

    async def test_it_comes_back_to_it_after_a_rest(self, aged) -> None:
        scene, _ = await aged()
        step = scene.vault.log.sequencer._thinning.step
        await step()
        scene.storage.arm(always=True, methods={"checkpoints"})
        await step()
        assert scene.storage.calls == []

    async def test_where_it_fails_the_log_grows_all_the_same(self, aged, caplog) -> None:
        scene, before = await aged()
        scene.storage.arm(always=True, methods={"thin_checkpoints"})
        async with running(scene.vault.log.sequencer.task):
            await scene.store("more")
            await asyncio.sleep(0.05)
        assert (await scene.storage.inner.newest_checkpoint()).size > before[-1].size
        assert "old checkpoints could not be deleted" in caplog.text
        assert len(await scene.storage.inner.checkpoints(0, 100)) >= len(before)

    async def test_a_thinned_log_passes_and_who_kept_what_went_can_check_it(self, aged, tmp_path: Path) -> None:
        scene, before = await aged()
        await scene.vault.log.sequencer._thinning.step()
        gone, newest = before[3], before[-1]
        assert gone not in await scene.storage.inner.checkpoints(0, 100)
        live = await verify_log(StorageSource(scene.storage.inner), [KEY.verifier], [gone.note])
        assert (live.is_good, live.checkpoints) == (True, 3)
        await write_export(tmp_path / "audit.zip", StorageSource(scene.storage.inner), None, lambda *_: None)
        with open_export(tmp_path / "audit.zip") as source:
            assert (await verify_log(source, [KEY.verifier], [one.note for one in before])).is_good
        proof = await scene.vault.log.reader.consistency(scene.admin, gone.size, newest.size)
        check_consistency(gone.size, newest.size, gone.root, newest.root, proof)
