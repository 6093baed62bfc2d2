"""The sequencer: every row once, nothing signed that does not continue what was signed, and no request that waits for it."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.errors import SettingsInvalid, StorageUnavailable, TreeDamaged
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import SYSTEM
from vsqlvault.proof.checkpoint import TreeHead, open_checkpoint
from vsqlvault.proof.key_roll import KeyRoll, open_roll, sign_roll
from vsqlvault.proof.leaf import row_hash
from vsqlvault.proof.note import NoteRefused, SigningKey
from vsqlvault.proof.tree import GrowingTree, check_consistency
from vsqlvault.runtime import Tuning
from vsqlvault.service.log import sequencer
from vsqlvault.service.tasks import running
from vsqlvault.testing import Fault

KEY = SigningKey("vault.example/audit", b"\x01" * 32)
NEXT = SigningKey("vault.example/audit", b"\x02" * 32)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", KEY.reveal())
    monkeypatch.setenv("NEXT", NEXT.reveal())


@pytest.fixture
def signing(open_scene):
    """Open a scene whose log is signed with ``KEY``."""

    async def opened(**options: Any) -> Any:
        return await open_scene(**{"audit__signing_key_env": "KEY", **options})

    return opened


async def tree_of(scene) -> GrowingTree:
    """Return the tree over the rows as they stand, which the stored one must be."""
    tree = GrowingTree()
    rows = await scene.storage.inner.leaf_rows(0, 100_000)
    assert [row.index for row in rows] == list(range(len(rows)))
    for row in rows:
        assert row.record is not None
        tree.append(row_hash(row.record))
    return tree


async def head_of(scene) -> TreeHead:
    checkpoint = await scene.storage.inner.newest_checkpoint()
    head = open_checkpoint(checkpoint.note, [KEY.verifier])
    assert (checkpoint.origin, checkpoint.size, checkpoint.root) == (head.origin, head.size, head.root)
    return head


def damage(tmp_path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(tmp_path / "vault.db")) as file, file:
        for statement in statements:
            file.execute(statement)


async def test_every_row_of_both_logs_is_a_leaf_under_a_signed_checkpoint(signing) -> None:
    scene = await signing()
    await scene.store("a")
    await scene.purge("a")
    added = await scene.vault.log.sequencer.sequence()
    rows = len(await scene.access_rows()) + len(await scene.purge_rows())
    tree = await tree_of(scene)
    assert added == rows == tree.size
    assert await head_of(scene) == TreeHead(KEY.verifier.name, rows, tree.root())


async def test_nothing_new_is_not_signed_again(signing) -> None:
    scene = await signing()
    await scene.vault.log.sequencer.sequence()
    assert await scene.vault.log.sequencer.sequence() == 0
    assert len(await scene.storage.inner.checkpoints(0, 10)) == 1


async def test_each_checkpoint_continues_the_one_before(signing) -> None:
    scene = await signing()
    for number in range(6):
        await scene.store(f"entry-{number}")
        await scene.vault.log.sequencer.sequence()
    checkpoints = await scene.storage.inner.checkpoints(0, 100)
    assert len(checkpoints) == 6
    last = checkpoints[-1]
    for checkpoint in checkpoints:
        proof = await scene.vault.log.reader.consistency(scene.admin, checkpoint.size, last.size)
        check_consistency(checkpoint.size, last.size, checkpoint.root, last.root, proof)


async def test_more_rows_than_a_batch_are_sequenced_at_once_and_signed_at_the_end(signing) -> None:
    scene = await signing(tuning=Tuning(sequencer_batch=3), audit__checkpoint_interval_seconds="3600")
    await scene.vault.log.sequencer.sequence()
    for number in range(10):
        await scene.store(f"entry-{number}")
    assert await scene.vault.log.sequencer.sequence() == 10
    assert (await head_of(scene)).root == (await tree_of(scene)).root()
    assert len(await scene.storage.inner.checkpoints(0, 100)) == 2


async def test_without_a_key_the_tree_grows_and_is_signed_once_there_is_one(open_scene, signing) -> None:
    scene = await open_scene()
    await scene.vault.log.sequencer.sequence()
    assert await scene.storage.inner.newest_checkpoint() is None
    size = await scene.storage.inner.tree_size()
    assert size > 0
    again = await signing()
    await again.vault.log.sequencer.sequence()
    assert (await head_of(again)).size >= size


async def test_a_second_process_goes_on_where_the_first_was(signing) -> None:
    first, second = await signing(), await signing()
    for number in range(5):
        await first.store(f"entry-{number}")
        await (first if number % 2 else second).vault.log.sequencer.sequence()
    for scene in (first, second):
        await scene.vault.log.sequencer.sequence()
    tree = await tree_of(first)
    assert await head_of(first) == TreeHead(KEY.verifier.name, tree.size, tree.root())


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("method", ["newest_checkpoint", "tree_size", "tiles", "unsequenced", "grow_tree"])
async def test_whatever_fails_the_next_turn_mends_it(signing, method: str, fault: Fault) -> None:
    scene = await signing()
    await scene.store("a")
    scene.storage.arm(1, methods={method}, fault=fault)
    with pytest.raises(StorageUnavailable):
        await scene.vault.log.sequencer.sequence()
    scene.storage.disarm()
    await scene.store("b")
    await scene.vault.log.sequencer.sequence()
    tree = await tree_of(scene)
    assert tree.size == len(await scene.access_rows())
    assert (await head_of(scene)).root == tree.root()


async def test_it_runs_beside_requests_and_sequences_what_is_left_when_it_ends(signing) -> None:
    scene = await signing(audit__checkpoint_interval_seconds="0.01")
    async with running(scene.vault.log.sequencer.task):
        for number in range(20):
            await scene.store(f"entry-{number}")
            await asyncio.sleep(0.005)
    assert (await tree_of(scene)).size == len(await scene.access_rows())
    assert await scene.storage.inner.acquire_lease(sequencer.LEASE, "another", 1)


async def test_who_does_not_hold_the_lease_leaves_it_to_the_other(signing) -> None:
    scene = await signing(audit__checkpoint_interval_seconds="0.01")
    assert await scene.storage.inner.acquire_lease(sequencer.LEASE, "another", 60)
    async with running(scene.vault.log.sequencer.task):
        await asyncio.sleep(0.1)
    assert await scene.storage.inner.tree_size() == 0
    assert not scene.vault.log.sequencer.state.is_leader


async def test_a_failing_storage_does_not_end_it(signing) -> None:
    scene = await signing(audit__checkpoint_interval_seconds="0.01")
    scene.storage.arm(always=True, methods={"unsequenced"})
    async with running(scene.vault.log.sequencer.task):
        await asyncio.sleep(0.05)
        assert await scene.storage.inner.tree_size() == 0
        scene.storage.disarm()
        await asyncio.sleep(0.1)
        assert await scene.storage.inner.tree_size() > 0


class TestDamage:
    """What was changed by another hand is never built upon."""

    @pytest.mark.parametrize(
        "statements",
        [
            ["UPDATE tiles SET hashes = zeroblob(length(hashes))"],
            ["DELETE FROM tiles"],
            ["UPDATE tiles SET hashes = substr(hashes, 1, 32)"],
            ["DROP TRIGGER leaves_no_delete", "DELETE FROM leaves WHERE leaf_index > 1"],
            ["DROP TRIGGER checkpoints_no_update", "UPDATE checkpoints SET root_hash = zeroblob(32)"],
            ["DROP TRIGGER checkpoints_no_update", "UPDATE checkpoints SET note = 'nonsense'"],
            ["DROP TRIGGER checkpoints_no_update", "UPDATE checkpoints SET origin = 'elsewhere'"],
            ["INSERT INTO checkpoints SELECT size + 7, origin, root_hash, note, signed_at FROM checkpoints"],
        ],
    )
    async def test_a_stored_tree_that_is_not_the_signed_one_does_not_grow(
        self, signing, tmp_path: Path, statements: list[str]
    ) -> None:
        scene = await signing()
        for name in "abc":
            await scene.store(name)
        await scene.vault.log.sequencer.sequence()
        damage(tmp_path, *statements)
        again = await signing()
        await again.store("d")
        with pytest.raises(TreeDamaged):
            await again.vault.log.sequencer.sequence()
        assert len(await again.storage.inner.unsequenced(10)) > 0

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE purge_log SET reason = 'expired'",
            "UPDATE tiles SET hashes = zeroblob(length(hashes))",
            "UPDATE checkpoints SET root_hash = zeroblob(32)",
        ],
    )
    async def test_no_receipt_is_given_that_would_not_hold(self, signing, tmp_path: Path, statement: str) -> None:
        scene = await signing()
        await scene.store("a")
        record = await scene.purge("a")
        await scene.vault.log.sequencer.sequence()
        assert (await scene.vault.log.reader.receipt(scene.admin, record.purge_id))["purge"]["id"] == record.purge_id
        triggers = ("purge_log_no_update", "checkpoints_no_update")
        damage(tmp_path, *(f"DROP TRIGGER {trigger}" for trigger in triggers), statement)
        with pytest.raises(TreeDamaged):
            await scene.vault.log.reader.receipt(scene.admin, record.purge_id)

    async def test_it_says_so_and_requests_go_on(self, signing, tmp_path: Path, caplog) -> None:
        scene = await signing(audit__checkpoint_interval_seconds="0.01")
        await scene.vault.log.sequencer.sequence()
        damage(tmp_path, "DELETE FROM tiles")
        again = await signing()
        async with running(again.vault.log.sequencer.task):
            await asyncio.sleep(0.05)
            await again.store("a")
        assert again.vault.log.sequencer.state.is_inconsistent
        assert "vsql-vault verify" in caplog.text


class TestKeyRoll:
    async def test_a_new_key_is_on_record_by_the_old_ones_word_before_it_signs(self, signing) -> None:
        scene = await signing()
        await scene.vault.log.sequencer.sequence()
        old = await scene.storage.inner.newest_checkpoint()
        again = await signing(audit__signing_key_env="NEXT", audit__previous_signing_key_env="KEY")
        await again.vault.log.sequencer.sequence()
        (row,) = await again.access_rows(operation=Operation.ROTATE_SIGNING_KEY)
        assert row.old_value == str(KEY.verifier)
        assert (row.app, row.method, row.credential_id) == (SYSTEM.app, SYSTEM.method, SYSTEM.credential_id)
        assert open_roll(row.new_value, [KEY.verifier]) == NEXT.verifier
        new = await again.storage.inner.newest_checkpoint()
        assert open_checkpoint(new.note, [NEXT.verifier]).size > old.size
        await again.vault.log.sequencer.sequence()
        once_more = await signing(audit__signing_key_env="NEXT")
        await once_more.store("a")
        await once_more.vault.log.sequencer.sequence()
        assert len(await once_more.access_rows(operation=Operation.ROTATE_SIGNING_KEY)) == 1

    async def test_a_new_key_without_the_old_one_stops_the_start(self, signing) -> None:
        scene = await signing()
        await scene.vault.log.sequencer.sequence()
        with pytest.raises(SettingsInvalid, match=KEY.verifier.key_id.hex()):
            await signing(audit__signing_key_env="NEXT")

    async def test_a_lost_key_is_on_record_as_lost(self, signing) -> None:
        scene = await signing()
        await scene.vault.log.sequencer.sequence()
        again = await signing(audit__signing_key_env="NEXT", audit__unsafe_previous_key_lost="true")
        await again.vault.log.sequencer.sequence()
        (row,) = await again.access_rows(operation=Operation.ROTATE_SIGNING_KEY)
        assert (row.detail, row.new_value) == ("the previous key is lost", str(NEXT.verifier))
        assert KEY.verifier.key_id.hex() in row.old_value

    async def test_a_process_with_the_old_key_signs_nothing_after_the_new_one(self, signing) -> None:
        old = await signing()
        await old.vault.log.sequencer.sequence()
        new = await signing(audit__signing_key_env="NEXT", audit__previous_signing_key_env="KEY")
        await new.vault.log.sequencer.sequence()
        await old.store("a")
        await old.vault.log.sequencer.sequence()  # finds that the tree has grown without it
        with pytest.raises(SettingsInvalid):
            await old.vault.log.sequencer.sequence()

    def test_a_roll_counts_only_with_both_signatures_from_a_trusted_key(self) -> None:
        both = sign_roll(KEY.verifier, NEXT.verifier, KEY.signer, NEXT.signer)
        assert open_roll(both, [KEY.verifier]) == NEXT.verifier
        stranger = SigningKey("elsewhere.example/log", b"\x03" * 32)
        for note, trusted in [
            (both, [NEXT.verifier]),
            (both, []),
            (sign_roll(KEY.verifier, NEXT.verifier, KEY.signer), [KEY.verifier]),
            (sign_roll(KEY.verifier, NEXT.verifier, NEXT.signer), [KEY.verifier]),
            (sign_roll(KEY.verifier, stranger.verifier, KEY.signer, stranger.signer), [KEY.verifier]),
            (both.replace(str(NEXT.verifier), str(stranger.verifier)), [KEY.verifier]),
            (both.replace("roll-v1", "roll-v2"), [KEY.verifier]),
            ("nonsense", [KEY.verifier]),
        ]:
            with pytest.raises(NoteRefused):
                open_roll(note, trusted)
        assert str(KeyRoll.parse(f"{KeyRoll(KEY.verifier, NEXT.verifier)}")) == str(
            KeyRoll(KEY.verifier, NEXT.verifier)
        )
