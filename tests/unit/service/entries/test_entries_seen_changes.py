"""Replacing and purging an entry that was read before: one call of the storage, the same rows, and the same refusals."""

from __future__ import annotations

import asyncio
import random
import re
import sqlite3
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from vsqlvault.errors import AccessDenied, AuditUnavailable, EntryHeld, EntryNotFound, OutcomeUnknown, VaultError
from vsqlvault.interfaces.writes import SaveAccessPolicy, SaveLegalHold, SeenWrite, StoreEntry
from vsqlvault.model.access import Action
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.policy import Rule
from vsqlvault.model.purge import PurgeReason
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.runtime import Tuning
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.testing import Fault, a_legal_hold, a_write, an_access_policy, an_entry

KEY = EntryKey("card", "pay-1")
PATIENT = Tuning(max_clock_age_seconds=3600.0)
"""On a slow machine, too, the last read of the storage's clock is recent enough."""

ONE_CALL = ["commit_seen"]
METHODS = ["physical-delete", "crypto-shred"]


@pytest.fixture
def scene(runner: asyncio.Runner, open_scene: Any) -> Any:
    return runner.run(open_scene(tuning=PATIENT))


async def seen(scene: Any) -> Any:
    """Store an entry, which is seen then."""
    stored = await scene.store()
    scene.storage.arm()
    return stored.viewed.entry


async def test_a_replacement_is_one_call(scene) -> None:
    await seen(scene)
    stored = await scene.store(value=b"new")
    assert scene.storage.calls == ONE_CALL
    assert (stored.created, stored.unchanged, stored.viewed.entry.version) == (False, False, 2)


@pytest.mark.parametrize("method", METHODS)
async def test_a_purge_is_one_call(scene, method) -> None:
    await scene.retain(purge_method=method)
    await scene.store()
    await scene.vault.queue.read()
    scene.storage.arm()
    await scene.purge()
    assert scene.storage.calls == ONE_CALL


@pytest.mark.parametrize("operation", ["replace", "purge"])
async def test_the_proof_is_about_the_bytes_that_were_stored(scene, operation) -> None:
    entry = await seen(scene)
    await (scene.store(value=b"new") if operation == "replace" else scene.purge())
    (row,) = await scene.purge_rows()
    assert row.proof_hash == purge_proof(entry, b"cipher")
    assert row.reason is (PurgeReason.REPLACED if operation == "replace" else PurgeReason.REQUESTED)


async def test_a_shredded_value_is_overwritten_in_its_whole_length(scene, tmp_path) -> None:
    await scene.retain(purge_method="crypto-shred")
    await seen(scene)
    await scene.purge()
    with sqlite3.connect(tmp_path / "vault.db") as file:
        ((value,),) = file.execute("SELECT encrypted_value FROM entries").fetchall()
    file.close()
    assert len(value) == len(b"cipher")
    assert value != b"cipher"


async def test_a_replaced_version_is_seen_too(scene) -> None:
    await seen(scene)
    for number in range(3):
        await scene.store(value=b"%d" % number)
    assert scene.storage.calls == ONE_CALL * 3
    assert (await scene.vault.entries.retrieve(scene.owner, KEY)).value == b"2"


async def test_the_same_value_is_compared_with_the_stored_bytes(scene) -> None:
    await seen(scene)
    assert (await scene.store()).unchanged
    assert scene.storage.calls == ["read", "commit"]


@pytest.mark.parametrize("operation", ["replace", "purge"])
async def test_a_value_that_was_changed_in_the_database_gets_the_proof_of_its_bytes(scene, tmp_path, operation) -> None:
    entry = await seen(scene)
    with sqlite3.connect(tmp_path / "vault.db", isolation_level=None) as file:
        file.execute("UPDATE entries SET encrypted_value = ?", (b"forged",))
    file.close()
    await (scene.store(value=b"new") if operation == "replace" else scene.purge())
    (row,) = await scene.purge_rows()
    assert row.proof_hash == purge_proof(entry, b"forged")
    assert scene.storage.calls == ["commit_seen", "read", "commit"]


@pytest.mark.parametrize("operation", ["replace", "purge"])
async def test_a_version_of_another_process_is_the_one_that_gets_the_purge_row(scene, operation) -> None:
    entry = await seen(scene)
    following = replace(an_entry("pay-1", b"other"), entry_id=entry.entry_id, version=2, owner_app="payments")
    await scene.storage.inner.commit([a_write(StoreEntry(following, b"other"))])
    await (scene.store(value=b"new") if operation == "replace" else scene.purge())
    (row,) = await scene.purge_rows()
    assert (row.entry_version, row.proof_hash) == (2, purge_proof(following, b"other"))


@pytest.mark.parametrize("operation", ["replace", "purge"])
async def test_a_hold_of_another_process_keeps_the_entry(scene, operation) -> None:
    await seen(scene)
    await scene.storage.inner.commit([a_write(SaveLegalHold(a_legal_hold()))])
    with pytest.raises(EntryHeld):
        await (scene.store(value=b"new") if operation == "replace" else scene.purge())
    assert not await scene.purge_rows()


@pytest.mark.parametrize("operation", ["replace", "purge"])
async def test_a_policy_of_another_process_decides(scene, operation) -> None:
    nobody = {action: Rule(allowed_apps=frozenset()) for action in Action}
    everybody = an_access_policy("tellers", rules={action: Rule() for action in Action})
    await scene.vault.rules.policies.save_access_policy(scene.admin, everybody)
    await scene.store(access_policy="tellers")
    await scene.storage.inner.commit([a_write(SaveAccessPolicy(an_access_policy("tellers", 2, rules=nobody)))])
    with pytest.raises(AccessDenied):
        await (scene.store(value=b"new", access_policy="tellers") if operation == "replace" else scene.purge())
    assert not await scene.purge_rows()


async def test_a_refusal_rests_on_a_read(scene) -> None:
    await seen(scene)
    with pytest.raises(AccessDenied):
        await scene.purge(call=scene.other)
    assert scene.storage.calls == ["read", "commit"]


async def test_an_entry_that_ends_is_not_purged_as_if_it_had_not(scene) -> None:
    await seen(scene)
    scene.clock.advance(days=90)
    with pytest.raises(VaultError):
        await scene.purge()
    assert not await scene.purge_rows()


@pytest.mark.parametrize(("fault", "error"), [(Fault.BEFORE, AuditUnavailable), (Fault.AFTER, OutcomeUnknown)])
@pytest.mark.parametrize("operation", ["replace", "purge"])
async def test_a_storage_that_fails_leaves_no_second_row(scene, operation, fault, error) -> None:
    await seen(scene)
    before = len(await scene.access_rows())
    scene.storage.arm(1, methods={"commit_seen"}, fault=fault)
    with pytest.raises(error):
        await (scene.store(value=b"new") if operation == "replace" else scene.purge())
    assert len(await scene.access_rows()) == before + (fault is Fault.AFTER)
    assert len(await scene.purge_rows()) == (fault is Fault.AFTER)


async def always_read(writes: Sequence[SeenWrite]) -> list[None]:
    return [None] * len(writes)


async def outcome_of(scene: Any, turn: random.Random, name: str) -> Any:
    """Make a request that ``turn`` chooses, and return its outcome without ids and times."""
    key = EntryKey("card", name)
    call = turn.choice([scene.owner, scene.owner, scene.owner, scene.other])
    conditions = turn.choice(
        [Preconditions(), Preconditions(), Preconditions(any_match=True), Preconditions(none_exists=True)]
    )
    operation = turn.choice(["store", "store", "retrieve", "inspect", "purge"])
    value, metadata = turn.choice([b"one", b"two", b"three"]), turn.choice(["{}", '{"a":1}'])
    try:
        return operation, *(await answer_of(scene, operation, call, key, conditions, value, metadata))
    except VaultError as error:
        return operation, type(error)


async def answer_of(
    scene: Any, operation: str, call: Any, key: EntryKey, conditions: Preconditions, value: bytes, metadata: str
) -> Any:
    entries = scene.vault.entries
    if operation == "store":
        stored = await scene.store(key.external_id, call=call, value=value, metadata=metadata, preconditions=conditions)
        return stored.created, stored.unchanged, stored.viewed.entry.version, stored.viewed.entry.metadata
    if operation == "purge":
        record = await entries.purge(call, key, conditions)
        return record.entry_version, record.reason, record.value_size, record.method
    viewed = await getattr(entries, operation)(call, key, conditions)
    return viewed.value, viewed.unmodified, viewed.entry.version, viewed.entry.value_sha256


async def rows_of(scene: Any, name: str) -> list[Any]:
    """Return the rows about one entry without ids, times and hashes of both."""
    rows = await scene.access_rows(external_id=name)
    shown = [
        (row.operation, row.outcome, row.status, row.stamp and row.stamp.version, row.reason, row.policy)
        for row in rows
    ]
    details = [re.sub(r"expires .*", "", row.detail or "") for row in rows]
    purges = [
        (row.entry_version, row.reason, row.method, row.value_size) for row in await scene.purge_rows(external_id=name)
    ]
    return [list(zip(shown, details, strict=True)), purges]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("seed", range(4))
async def test_answers_and_rows_are_those_of_a_vault_that_always_reads(scene, method, seed) -> None:
    await scene.retain(purge_method=method)
    turn = random.Random(seed)
    with_calls = [await outcome_of(scene, turn, f"seen-{turn.randrange(3)}") for _ in range(60)]
    assert "commit_seen" in scene.storage.calls
    scene.storage.commit_seen = always_read
    turn = random.Random(seed)
    reading = [await outcome_of(scene, turn, f"read-{turn.randrange(3)}") for _ in range(60)]
    assert with_calls == reading
    for number in range(3):
        assert await rows_of(scene, f"seen-{number}") == await rows_of(scene, f"read-{number}")


async def test_an_entry_that_was_purged_is_not_found_by_the_next_purge(scene) -> None:
    await seen(scene)
    await scene.purge()
    with pytest.raises(EntryNotFound):
        await scene.purge()
