"""A value that was changed in the database, past the vault, is never served as the one that was stored."""

from __future__ import annotations

import sqlite3
from hashlib import sha256
from pathlib import Path

import pytest

from benchmarks.unchecked_values import accepting, unchecked
from vsqlvault.errors import ValueCorrupt
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.control import ControlState
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.purge import PurgeReason
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.service.entries import seen
from vsqlvault.service.entries.value_integrity import ValueIntegrity
from vsqlvault.testing import an_entry

KEY = EntryKey("card", "pay-1")
FORGED = b"forged"


async def tampered(scene, tmp_path: Path, value: object = FORGED) -> None:
    """Store an entry, and change its value as a superuser of the database would."""
    await scene.store(value=b"cipher")
    with sqlite3.connect(tmp_path / "vault.db", isolation_level=None) as file:
        file.execute("UPDATE entries SET encrypted_value = ?", (value,))
    file.close()


async def control(scene) -> ControlState:
    found = {each.name: each.state for each in await scene.vault.compliance.controls.look()}
    return found["values_intact"]


@pytest.mark.parametrize("value", [FORGED, "text", 5, 1.5], ids=repr)
async def test_it_is_not_served(scene, tmp_path, value) -> None:
    await tampered(scene, tmp_path, value)
    with pytest.raises(ValueCorrupt):
        await scene.vault.entries.retrieve(scene.owner, KEY)


async def test_the_benchmark_of_the_check_removes_that_of_an_entry_that_was_read_before(
    scene, tmp_path, monkeypatch
) -> None:
    await tampered(scene, tmp_path)
    monkeypatch.setattr(seen, "SeenWrite", accepting)
    assert (await scene.vault.entries.retrieve(scene.owner, KEY)).value == FORGED


async def test_the_benchmark_of_the_check_removes_that_after_a_read(scene, tmp_path) -> None:
    await tampered(scene, tmp_path)
    with pytest.raises(ValueCorrupt):
        await scene.vault.entries.retrieve(scene.owner, KEY)
    with unchecked():
        assert (await scene.vault.entries.retrieve(scene.owner, KEY)).value == FORGED


async def test_its_refusal_has_a_row(scene, tmp_path) -> None:
    await tampered(scene, tmp_path)
    with pytest.raises(ValueCorrupt):
        await scene.vault.entries.retrieve(scene.owner, KEY)
    row = await scene.last_row()
    assert (row.operation, row.outcome, row.status, row.reason) == (
        Operation.RETRIEVE, Outcome.DENIED, 503, "value_corrupt",
    )  # fmt: skip


async def test_the_control_fails_until_it_is_repaired(scene, tmp_path) -> None:
    await tampered(scene, tmp_path)
    before = await control(scene)
    with pytest.raises(ValueCorrupt):
        await scene.vault.entries.retrieve(scene.owner, KEY)
    failing = await control(scene)
    await scene.store(value=b"cipher")
    assert (before, failing, await control(scene)) == (ControlState.OK, ControlState.FAILING, ControlState.OK)


async def test_storing_the_right_value_again_repairs_it(scene, tmp_path) -> None:
    await tampered(scene, tmp_path)
    stored = await scene.store(value=b"cipher")
    assert not stored.unchanged
    assert (await scene.vault.entries.retrieve(scene.owner, KEY)).value == b"cipher"


async def test_a_repair_proves_the_bytes_that_it_replaces(scene, tmp_path) -> None:
    await tampered(scene, tmp_path)
    entry = (await scene.vault.entries.inspect(scene.owner, KEY)).entry
    await scene.store(value=b"cipher")
    (record,) = await scene.purge_rows()
    assert (record.reason, record.proof_hash) == (PurgeReason.REPLACED, purge_proof(entry, FORGED))


async def test_its_purge_proves_the_bytes_that_were_found(scene, tmp_path) -> None:
    await tampered(scene, tmp_path)
    entry = (await scene.vault.entries.inspect(scene.owner, KEY)).entry
    record = await scene.purge()
    assert record.proof_hash == purge_proof(entry, FORGED)
    assert (await scene.last_row()).detail == "the purged value differed from its recorded hash"


async def test_the_purge_of_a_sound_value_has_no_such_detail(scene) -> None:
    await scene.store()
    await scene.purge()
    assert (await scene.last_row()).detail is None


async def test_its_purge_ends_the_failure_of_the_control(scene, tmp_path) -> None:
    await tampered(scene, tmp_path)
    with pytest.raises(ValueCorrupt):
        await scene.vault.entries.retrieve(scene.owner, KEY)
    await scene.purge()
    assert await control(scene) is ControlState.OK


def test_a_sound_value_is_forgotten_as_corrupt() -> None:
    integrity = ValueIntegrity()
    entry = an_entry(value_sha256=sha256(b"right").hexdigest())
    with pytest.raises(ValueCorrupt):
        integrity.check(entry, b"wrong")
    integrity.check(entry, b"right")
    assert integrity.count == 0


def test_the_number_of_remembered_entries_is_limited() -> None:
    integrity = ValueIntegrity(max_remembered=2)
    for number in range(4):
        with pytest.raises(ValueCorrupt):
            integrity.check(an_entry(f"e{number}", value_sha256="0" * 64), b"wrong")
    assert integrity.count == 2
