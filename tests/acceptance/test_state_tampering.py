"""What a person with every right on the database can do to the tables beside the log: ``verify`` names table and key."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.exports import second_verifier
from vsqlvault import cli
from vsqlvault.config import load_settings
from vsqlvault.interfaces.watch_storage import NewestControlChangeIs, SaveControlChange
from vsqlvault.interfaces.writes import Write
from vsqlvault.model.access import Action
from vsqlvault.model.audit import Operation
from vsqlvault.model.control import ControlChange, ControlState
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import Role
from vsqlvault.proof.access_review import shown_access_review
from vsqlvault.proof.attestation import AttestationInvalid, check_attestation, shown_attestation
from vsqlvault.proof.credential_replay import VaultReplay
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.state_replay import StateReplay
from vsqlvault.proof.tiles import read_bundle
from vsqlvault.runtime import open_vault
from vsqlvault.service.compliance.access_reviews import ReviewRequest
from vsqlvault.service.compliance.controls import _rows
from vsqlvault.service.compliance.evidence_check import verify_evidence
from vsqlvault.service.credentials.api_keys import ApiKeyRequest
from vsqlvault.service.entries.requests import Preconditions, StoreRequest, UpdateRequest
from vsqlvault.service.log.archive.archiver import LogArchiver
from vsqlvault.service.log.export import open_export, write_export
from vsqlvault.service.log.export_tables import check_tables
from vsqlvault.service.log.state_check import StateResult, check_state
from vsqlvault.service.log.verification import StorageSource, VerificationResult, verify_log
from vsqlvault.testing import a_call, a_legal_hold, a_retention_policy, an_access_policy, an_access_record
from vsqlvault_plugins.storage.sqlite.storage import SqliteStorage

KEY = SigningKey("state.example/audit", b"\x07" * 32)
ADMIN = a_call("vault-admin", Role.ADMIN)
OWNER = a_call()


def wanted(value: bytes = b"cipher", **fields: Any) -> StoreRequest:
    return replace(StoreRequest(value, ValueEncoding.UTF_8, None, None, "{}", None, "owner-only"), **fields)


def settings_of(directory: Path) -> Any:
    variables = {
        "VSQL_VAULT_STORAGE__DATABASE_URL": f"sqlite:///{directory / 'vault.db'}",
        "VSQL_VAULT_AUDIT__SIGNING_KEY_FILE": str(directory / "signing.key"),
    }
    return load_settings(None, variables)


PROTECTED = {
    "algorithm_hint": "AES-256-GCM", "key_ref": "akv:t/k1", "metadata": '{"merchant":42,"rate":0.5}', "ttl": timedelta(days=9),
}  # fmt: skip


async def live(vault: Any) -> None:
    """Use everything that leaves a leaf: policies, holds, keys, entries, purges, a sweep, an attestation, a control."""
    policies, holds, keys = vault.rules.policies, vault.rules.legal_holds, vault.credentials.api_keys
    await policies.save_retention_policy(ADMIN, a_retention_policy("tamper", max_retention_days=365))
    await policies.save_retention_policy(ADMIN, a_retention_policy("tamper", max_retention_days=30))
    await policies.save_retention_policy(ADMIN, a_retention_policy("shredded", purge_method="crypto-shred"))
    idle = a_retention_policy("idle", max_retention_days=30, default_ttl_days=None, inactivity_days=5)
    await policies.save_retention_policy(ADMIN, idle)
    await policies.save_access_policy(ADMIN, an_access_policy("kept"))
    await policies.save_access_policy(ADMIN, an_access_policy("kept", description="of the second version"))
    await policies.save_access_policy(ADMIN, an_access_policy("gone"))
    await policies.delete_access_policy(ADMIN, "gone")
    await policies.save_access_policy(ADMIN, an_access_policy("gone"))
    await policies.save_access_policy(ADMIN, an_access_policy("vast", description="w" * 70_000))
    await holds.save(ADMIN, a_legal_hold("case-t1"))
    await holds.save(ADMIN, a_legal_hold("case-t2"))
    await holds.release(ADMIN, "case-t2")
    await keys.create(ADMIN, ApiKeyRequest(app="kept", purposes=frozenset({"tamper"})))
    revoked = await keys.create(ADMIN, ApiKeyRequest(app="revoked", purposes=frozenset({"tamper"})))
    await keys.revoke(ADMIN, revoked.seen.key.key_id)
    for number in range(6):
        await vault.entries.store(OWNER, EntryKey("tamper", f"e{number}"), wanted())
    await vault.entries.store(OWNER, EntryKey("tamper", "e1"), wanted(b"another"))
    await vault.entries.store(OWNER, EntryKey("tamper", "e1"), wanted(b"another"))
    await vault.entries.update(OWNER, EntryKey("tamper", "e2"), UpdateRequest(metadata=lambda _: '{"a":"b"}'))
    await vault.entries.purge(OWNER, EntryKey("tamper", "e3"), Preconditions())
    await vault.entries.store(OWNER, EntryKey("tamper", "e3"), wanted(b"under the old id"))
    await vault.entries.purge(OWNER, EntryKey("tamper", "e4"), Preconditions())
    await vault.entries.store(OWNER, EntryKey("tamper", "full"), wanted(**PROTECTED))
    await vault.entries.store(OWNER, EntryKey("idle", "i1"), wanted())
    await vault.entries.store(OWNER, EntryKey("idle", "i2"), wanted())
    await vault.entries.retrieve(OWNER, EntryKey("idle", "i1"), Preconditions())
    await retrieve_under_a_limit(vault)
    await vault.entries.store(OWNER, EntryKey("shredded", "s1"), wanted())
    await vault.entries.store(OWNER, EntryKey("shredded", "s2"), wanted())
    await vault.entries.purge(OWNER, EntryKey("shredded", "s1"), Preconditions())
    await vault.log.sequencer.sequence()
    await vault.purge.sweeper.sweep(ADMIN)
    await vault.compliance.attestations.attest(ADMIN)
    await vault.compliance.attestations.attest(ADMIN)
    await vault.compliance.access_reviews.review(ADMIN, ReviewRequest(statement="all is needed"))
    await vault.compliance.access_reviews.review(ADMIN, ReviewRequest(statement="no change", purpose="tamper"))
    await control_fails_and_recovers(vault)
    await archive_leaves(vault)


async def retrieve_under_a_limit(vault: Any) -> None:
    """Three retrievals of one entry, over two versions, and one that moves the expiry of another entry."""
    rules = {**an_access_policy().rules, Action.RETRIEVE: Rule(max_retrievals=5)}
    await vault.rules.policies.save_access_policy(ADMIN, an_access_policy("limited", rules=rules))
    counted, moved = EntryKey("tamper", "counted"), EntryKey("idle", "counted")
    await vault.entries.store(OWNER, counted, wanted(access_policy="limited"))
    await vault.entries.store(OWNER, moved, wanted(access_policy="limited"))
    await vault.entries.retrieve(replace(OWNER, traceparent=f"00-{'a' * 32}-{'b' * 16}-01"), counted)
    await vault.entries.retrieve(OWNER, counted)
    await vault.entries.store(OWNER, counted, wanted(b"second version", access_policy="limited"))
    await vault.entries.retrieve(OWNER, counted)
    await vault.entries.retrieve(OWNER, moved)


async def archive_leaves(vault: Any) -> None:
    """Archive the first 256 leaves of the log."""
    now = (await vault.queue.read()).now
    await vault.queue.record(*(an_access_record(at=now, operation=Operation.READ_REPORT) for _ in range(256)))
    await vault.log.sequencer.sequence()
    archiver = LogArchiver(vault.storage, vault.queue, [KEY.verifier])
    with tempfile.TemporaryDirectory() as directory:
        assert await archiver.archive(ADMIN, Path(directory), None, lambda _done, _of: None) is not None


async def control_fails_and_recovers(vault: Any) -> None:
    now, before = (await vault.queue.read()).now, None
    states = (ControlState.OK, ControlState.FAILING, ControlState.OK)
    for number, state in enumerate(states, start=1):
        change = ControlChange("of_state", number, state, now.replace(microsecond=number), "as it is")
        write = Write(
            _rows(change, before), (NewestControlChangeIs("of_state", number - 1),), (SaveControlChange(change),)
        )
        await vault.queue.commit(write)
        before = change


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the database of a stopped vault. The last rows are not in the tree."""
    directory = tmp_path_factory.mktemp("state")
    (directory / "signing.key").write_text(KEY.reveal(), "utf-8")
    (directory / "signing.key").chmod(0o600)

    async def fill() -> None:
        async with open_vault(settings_of(directory)) as vault:
            await live(vault)
            await vault.log.sequencer.sequence()
            await vault.entries.store(OWNER, EntryKey("tamper", "late"), wanted())
            await vault.entries.purge(OWNER, EntryKey("tamper", "e5"), Preconditions())

    asyncio.run(fill())
    return directory / "vault.db"


@asynccontextmanager
async def opened(path: Path) -> AsyncIterator[SqliteStorage]:
    storage = await SqliteStorage.open(path)
    try:
        yield storage
    finally:
        await storage.close()


async def checked(path: Path) -> tuple[VerificationResult, StateResult]:
    async with opened(path) as storage:
        source, replay = StorageSource(storage), StateReplay()
        log = await verify_log(source, [KEY.verifier], replay=replay)
        return log, await check_state(storage, source, replay)


def tampered(made: Path, tmp_path: Path, statement: str) -> Path:
    """Return a copy of the database after a statement that ran with the triggers off."""
    tmp_path.mkdir(exist_ok=True)
    path = tmp_path / "vault.db"
    shutil.copyfile(made, path)
    file = sqlite3.connect(path, isolation_level=None)
    triggers = file.execute("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'").fetchall()
    for name, _ in triggers:
        file.execute(f"DROP TRIGGER {name}")
    assert file.execute(statement).rowcount >= 1, "the statement changes nothing"
    for _, text in triggers:
        file.execute(text)
    file.close()
    return path


def test_an_untouched_vault_passes(made: Path, tmp_path: Path) -> None:
    path = tmp_path / "vault.db"
    shutil.copyfile(made, path)
    log, state = asyncio.run(checked(path))
    assert log.findings == []
    assert [str(each) for each in state.findings] == []
    assert (state.entries, state.values) == (11, 11)


NEW_KEY = (
    "INSERT INTO api_keys SELECT 'sha256:' || substr(hex, 1, 12), 1, hex, 'vault-admin', NULL, NULL, '[\"admin\"]', NULL,"
    " NULL, 'vault-admin', 1, NULL, NULL FROM (SELECT lower(hex(zeroblob(32))) AS hex)"
)
FORGED = hashlib.sha256(b"forged").hexdigest()
TAMPERS: dict[str, tuple[str, str]] = {
    "UPDATE retention_policies SET max_retention_days = 3650 WHERE version = 2": ("retention_policies", "tamper v2"),
    "UPDATE retention_policies SET max_retention_days = 3650 WHERE purpose = 'tamper' AND version = 1": (
        "retention_policies", "tamper v1",
    ),
    "UPDATE retention_policies SET default_ttl_days = 1 WHERE version = 2": ("retention_policies", "tamper v2"),
    "UPDATE retention_policies SET purge_method = 'crypto-shred' WHERE version = 2": ("retention_policies", "tamper v2"),
    "UPDATE retention_policies SET created_by = 'jane' WHERE version = 2": ("retention_policies", "tamper v2"),
    "UPDATE retention_policies SET created_at = created_at - 1 WHERE version = 2": ("retention_policies", "tamper v2"),
    "UPDATE retention_policies SET justification = 'none' WHERE version = 2": ("retention_policies", "tamper v2"),
    "UPDATE retention_policies SET max_value_bytes = 10 WHERE version = 2": ("retention_policies", "tamper v2"),
    "UPDATE retention_policies SET version = 3 WHERE version = 2": ("retention_policies", "tamper v3"),
    "UPDATE retention_policies SET purpose = 'other' WHERE purpose = 'shredded'": ("retention_policies", "shredded v1"),
    "DELETE FROM retention_policies WHERE version = 2": ("retention_policies", "tamper v2"),
    "DELETE FROM retention_policies WHERE purpose = 'shredded'": ("retention_policies", "shredded v1"),
    "INSERT INTO retention_policies (purpose, version, max_retention_days, purge_method, created_by, created_at)"
    " VALUES ('forged', 1, 10, 'physical-delete', 'vault-admin', 1)": ("retention_policies", "forged v1"),
    "UPDATE access_policies SET rules = replace(rules, 'false', 'true') WHERE name = 'kept' AND version = 2": (
        "access_policies", "kept v2",
    ),
    "UPDATE access_policies SET rules = '{}' WHERE name = 'kept' AND version = 1": ("access_policies", "kept v1"),
    "UPDATE access_policies SET description = 'x' WHERE name = 'kept' AND version = 2": ("access_policies", "kept v2"),
    "UPDATE access_policies SET description = 'x' WHERE name = 'vast'": ("access_policies", "vast v1"),
    "UPDATE access_policies SET created_by = 'jane' WHERE name = 'kept' AND version = 2": ("access_policies", "kept v2"),
    "UPDATE access_policies SET parameters = '{\"a\":1}' WHERE name = 'kept' AND version = 2": (
        "access_policies", "kept v2",
    ),
    "UPDATE access_policies SET dropped = 1 WHERE name = 'kept' AND version = 2": ("access_policies", "kept v2"),
    "UPDATE access_policies SET dropped = 0 WHERE name = 'gone' AND version = 2": ("access_policies", "gone v2"),
    "DELETE FROM access_policies WHERE name = 'kept' AND version = 2": ("access_policies", "kept v2"),
    "DELETE FROM access_policies WHERE name = 'gone'": ("access_policies", "gone v1"),
    "INSERT INTO access_policies SELECT 'forged', 1, evaluator, rules, parameters, description, created_by, created_at, 0"
    " FROM access_policies WHERE name = 'kept' AND version = 1": ("access_policies", "forged v1"),
    "UPDATE legal_holds SET purpose = 'other' WHERE name = 'case-t1'": ("legal_holds", "case-t1 v1"),
    "UPDATE legal_holds SET reason = 'other' WHERE name = 'case-t1'": ("legal_holds", "case-t1 v1"),
    "UPDATE legal_holds SET released_by = 'x', released_at = 1 WHERE name = 'case-t1'": ("legal_holds", "case-t1 v1"),
    "DELETE FROM legal_holds WHERE name = 'case-t1'": ("legal_holds", "case-t1 v1"),
    "DELETE FROM legal_holds WHERE name = 'case-t2' AND version = 2": ("legal_holds", "case-t2 v2"),
    "UPDATE legal_holds SET name = 'forged' WHERE name = 'case-t2' AND version = 1": ("legal_holds", "forged v1"),
    NEW_KEY: ("api_keys", "sha256:000000000000"),
    "UPDATE api_keys SET roles = '[\"admin\"]' WHERE app = 'kept'": ("api_keys", "KEY"),
    "UPDATE api_keys SET purposes = NULL WHERE app = 'kept'": ("api_keys", "KEY"),
    "UPDATE api_keys SET app = 'other' WHERE app = 'kept'": ("api_keys", "KEY"),
    "UPDATE api_keys SET expires_at = 1 WHERE app = 'kept'": ("api_keys", "KEY"),
    "UPDATE api_keys SET digest = lower(hex(zeroblob(32))) WHERE app = 'kept'": ("api_keys", "KEY"),
    "UPDATE api_keys SET digest = substr(digest, 1, 12) || substr(lower(hex(zeroblob(32))), 13) WHERE app = 'kept'": (
        "api_keys", "KEY",
    ),
    "DELETE FROM api_keys WHERE app = 'kept'": ("api_keys", "KEY"),
    "DELETE FROM api_keys WHERE app = 'revoked' AND version = 2": ("api_keys", "REVOKED"),
    "UPDATE control_changes SET detail = 'x' WHERE number = 2 AND name = 'of_state'": ("control_changes", "of_state"),
    "UPDATE control_changes SET state = 'ok' WHERE number = 2 AND name = 'of_state'": ("control_changes", "of_state"),
    "UPDATE control_changes SET at = at + 1 WHERE number = 3 AND name = 'of_state'": ("control_changes", "of_state"),
    "DELETE FROM control_changes WHERE number = 2 AND name = 'of_state'": ("control_changes", "of_state"),
    "UPDATE attestations SET document = replace(document, 'clean', 'bad')": ("attestations", "1"),
    "UPDATE attestations SET is_clean = 1 - is_clean WHERE number = 1": ("attestations", "1"),
    "UPDATE attestations SET at = at - 1 WHERE number = 2": ("attestations", "2"),
    "DELETE FROM attestations WHERE number = 2": ("attestations", "2"),
    "INSERT INTO attestations SELECT 3, at, is_clean, document, note FROM attestations WHERE number = 2": (
        "attestations", "3",
    ),
    "UPDATE access_reviews SET document = replace(document, 'all is needed', 'none')": ("access_reviews", "1"),
    "UPDATE access_reviews SET due_at = due_at + 1 WHERE number = 1": ("access_reviews", "1"),
    "UPDATE access_reviews SET purpose = 'shredded' WHERE number = 2": ("access_reviews", "2"),
    "DELETE FROM access_reviews WHERE number = 2": ("access_reviews", "2"),
    "INSERT INTO access_reviews SELECT 3, at, purpose, due_at, document, note FROM access_reviews WHERE number = 2": (
        "access_reviews", "3",
    ),
    "UPDATE log_archives SET document = replace(document, '\"access_rows\":', '\"access_rows\":1')": (
        "log_archives", "1: access_rows",
    ),
    "UPDATE log_archives SET document = 'x'": ("log_archives", "1: document is not the record"),
    "UPDATE log_archives SET end_index = 512": ("log_archives", "1: number, first_index or end_index"),
    "UPDATE log_archives SET first_index = 1": ("log_archives", "1: number, first_index or end_index"),
    "UPDATE log_archives SET at = at + 1": ("log_archives", "1: at is"),
    "UPDATE log_archives SET number = 2": ("log_archives", "1: the row is missing"),
    "DELETE FROM log_archives": ("log_archives", "1: the row is missing"),
    "INSERT INTO log_archives SELECT 2, end_index, 512, access_through, purge_through, at, document FROM log_archives": (
        "log_archives", "2: ",
    ),
    "UPDATE sweeps SET purged = 7": ("sweeps", ""),
    "UPDATE sweeps SET failed = 7": ("sweeps", ""),
    "UPDATE sweeps SET completed = 0": ("sweeps", ""),
    "DELETE FROM sweeps": ("sweeps", ""),
    "INSERT INTO sweeps SELECT 'forged', started_at, finished_at, started_by, 0, 0, 1, 0 FROM sweeps": ("sweeps", "forged"),
    "UPDATE entries SET owner_app = 'thief' WHERE external_id = 'e0'": ("entries", "tamper/e0"),
    "UPDATE entries SET owner_app = 'thief' WHERE external_id = 'e1'": ("entries", "tamper/e1"),
    "UPDATE entries SET version = 9 WHERE external_id = 'e0'": ("entries", "tamper/e0"),
    "UPDATE entries SET entry_id = lower(hex(zeroblob(16))) WHERE external_id = 'e0'": ("entries", "tamper/e0"),
    "UPDATE entries SET external_id = 'moved' WHERE external_id = 'e0'": ("entries", "tamper/e0"),
    "DELETE FROM entries WHERE external_id = 'e2'": ("entries", "tamper/e2"),
    "DELETE FROM entries WHERE external_id = 'late'": ("entries", "tamper/late"),
    "UPDATE entries SET purged_at = 1 WHERE external_id = 's2'": ("entries", "shredded/s2"),
    "UPDATE entries SET purged_at = NULL WHERE external_id = 's1'": ("entries", "shredded/s1"),
    "UPDATE entries SET external_id = 'e4' WHERE external_id = 'e0'": ("entries", "tamper/e4"),
    "UPDATE entries SET encrypted_value = CAST('forged' AS BLOB) WHERE external_id = 'e0'": ("entries", "tamper/e0"),
    "UPDATE entries SET value_sha256 = lower(hex(zeroblob(32))) WHERE external_id = 'e0'": ("entries", "tamper/e0"),
    "UPDATE entries SET expires_at = expires_at + 1 WHERE external_id = 'e0'": ("entries", "tamper/e0: expires_at"),
    "UPDATE entries SET expires_at = expires_at + 1 WHERE external_id = 'e1'": ("entries", "tamper/e1: expires_at"),
    "UPDATE entries SET expires_at = expires_at - 1 WHERE external_id = 'i1'": ("entries", "idle/i1: expires_at"),
    "UPDATE entries SET access_policy = 'kept' WHERE external_id = 'e0'": ("entries", "tamper/e0: access_policy"),
    "UPDATE entries SET access_policy = 'kept' WHERE external_id = 'i1'": ("entries", "idle/i1: access_policy"),
    "UPDATE entries SET owner_identity = 'jane' WHERE external_id = 'e0'": ("entries", "tamper/e0: one of"),
    "UPDATE entries SET metadata = '{}' WHERE external_id = 'full'": ("entries", "tamper/full: one of"),
    "UPDATE entries SET metadata = '{}' WHERE external_id = 'e2'": ("entries", "tamper/e2: one of"),
    "UPDATE entries SET metadata = 'x' WHERE external_id = 'e2'": ("entries", "tamper/e2: a member"),
    "UPDATE entries SET key_ref = 'k2' WHERE external_id = 'full'": ("entries", "tamper/full: one of"),
    "UPDATE entries SET key_ref = NULL WHERE external_id = 'full'": ("entries", "tamper/full: one of"),
    "UPDATE entries SET algorithm_hint = 'none' WHERE external_id = 'full'": ("entries", "tamper/full: one of"),
    "UPDATE entries SET encoding = 'base64' WHERE external_id = 'e0'": ("entries", "tamper/e0: one of"),
    "UPDATE entries SET value_size = 7 WHERE external_id = 'e0'": ("entries", "tamper/e0: one of"),
    "UPDATE entries SET created_at = created_at - 1 WHERE external_id = 'e0'": ("entries", "tamper/e0: one of"),
    "UPDATE entries SET updated_at = updated_at + 1 WHERE external_id = 'e0'": ("entries", "tamper/e0: one of"),
    "UPDATE entries SET retrievals = 0 WHERE external_id = 'counted' AND purpose = 'tamper'": (
        "entries", "tamper/counted: retrievals is 0, the log has 3 counted retrievals",
    ),
    "UPDATE entries SET retrievals = 2 WHERE external_id = 'counted' AND purpose = 'tamper'": (
        "entries", "tamper/counted: retrievals is 2, the log has 3 counted retrievals",
    ),
    "UPDATE entries SET retrievals = 0 WHERE external_id = 'counted' AND purpose = 'idle'": (
        "entries", "idle/counted: retrievals is 0, the log has 1 counted retrievals",
    ),
    "UPDATE entries SET retrievals = 'x' WHERE external_id = 'counted'": ("entries", "tamper/counted"),
    f"UPDATE entries SET encrypted_value = CAST('forged' AS BLOB), value_sha256 = '{FORGED}' WHERE external_id = 'e0'": (
        "entries", "tamper/e0: one of",
    ),
}  # fmt: skip


@pytest.mark.parametrize("statement", TAMPERS)
def test_a_tamper_of_a_table_is_named(made: Path, tmp_path: Path, statement: str) -> None:
    table, key = TAMPERS[statement]
    path = tampered(made, tmp_path, statement)
    log, state = asyncio.run(checked(path))
    assert log.findings == []
    assert table in {each.table for each in state.findings}, state.findings
    expected = {"KEY": "kept", "REVOKED": "revoked"}.get(key)
    if expected is not None:
        file = sqlite3.connect(made)
        (key,) = file.execute("SELECT key_id FROM api_keys WHERE app = ?", (expected,)).fetchone()
        file.close()
    named = [f"{each.key}: {each.what}" for each in state.findings if each.table == table]
    assert any(each.startswith(key) for each in named), state.findings


UNREADABLE = {
    "UPDATE access_policies SET rules = 'x' WHERE name = 'kept' AND version = 2": {("access_policies", "kept v2")},
    "UPDATE access_policies SET rules = 'x' WHERE name = 'kept' AND version = 1": {("access_policies", "kept v1")},
    "UPDATE access_policies SET rules = 'x' WHERE name IN ('kept', 'gone')": {
        ("access_policies", "kept v1"), ("access_policies", "kept v2"), ("access_policies", "gone v1"),
        ("access_policies", "gone v2"), ("access_policies", "gone v3"),
    },
    "UPDATE retention_policies SET created_at = 'x' WHERE version = 2": {("retention_policies", "tamper v2")},
    "UPDATE legal_holds SET held_since = 'x' WHERE version = 2": {("legal_holds", "case-t2 v2")},
    "UPDATE api_keys SET roles = '[\"king\"]' WHERE app = 'kept'": {("api_keys", "KEY")},
    "INSERT INTO access_policies VALUES ('forged', 7, 'rules', 'x', '{}', NULL, 'jane', 1, 0)": {
        ("access_policies", "forged v7"),
    },
    "UPDATE attestations SET document = x'00' WHERE number = 1": {("attestations", "1")},
    "UPDATE access_reviews SET document = x'00' WHERE number = 1": {("access_reviews", "1")},
    "UPDATE log_archives SET at = 'x'": {("log_archives", "a row")},
    "UPDATE control_changes SET state = 'x' WHERE number = 2": {("control_changes", "a row")},
    "UPDATE sweeps SET started_at = 'x'": {("sweeps", "a row")},
    "UPDATE entries SET encoding = 'x' WHERE external_id = 'e0'": {("entries", "tamper/e0")},
    "UPDATE entries SET encoding = 'x' WHERE external_id IN ('e1', 'late')": {
        ("entries", "tamper/e1"), ("entries", "tamper/late"),
    },
}  # fmt: skip


def key_of(made: Path, app: str) -> str:
    file = sqlite3.connect(made)
    (key,) = file.execute("SELECT key_id FROM api_keys WHERE app = ?", (app,)).fetchone()
    file.close()
    return str(key)


@pytest.mark.parametrize("statement", UNREADABLE)
def test_a_row_that_cannot_be_decoded_is_named_and_hides_no_other_row(
    made: Path, tmp_path: Path, statement: str
) -> None:
    path = tampered(made, tmp_path, statement)
    _, state = asyncio.run(checked(path))
    expected = {(table, key_of(made, "kept") if key == "KEY" else key) for table, key in UNREADABLE[statement]}
    assert {(each.table, each.key) for each in state.findings if each.what != "the row is missing"} == expected
    if "e0" not in statement:
        path = tampered(path, tmp_path / "more", "UPDATE entries SET owner_app = 'thief' WHERE external_id = 'e0'")
        _, state = asyncio.run(checked(path))
        assert ("entries", "tamper/e0") in {(each.table, each.key) for each in state.findings}


def test_a_tile_of_another_column_type_is_named(made: Path, tmp_path: Path) -> None:
    path = tampered(made, tmp_path, "UPDATE tiles SET hashes = hex(hashes) WHERE level = 0")
    log, _ = asyncio.run(checked(path))
    assert log.findings


@pytest.mark.parametrize(
    "column", ["note = x'00'", "root_hash = substr(hex(root_hash), 1, 32)", "signed_at = 'x'", "origin = x'00'"]
)
@pytest.mark.parametrize("which", ["max", "min"])
def test_a_checkpoint_that_cannot_be_decoded_is_named(made: Path, tmp_path: Path, column: str, which: str) -> None:
    statement = f"UPDATE checkpoints SET {column} WHERE size = (SELECT {which}(size) FROM checkpoints)"
    log, state = asyncio.run(checked(tampered(made, tmp_path, statement)))
    assert any("a checkpoint of more than" in each.what for each in log.findings), log.findings
    assert state.findings == []


def test_a_row_that_is_not_in_the_tree_yet_and_cannot_be_decoded_is_named(made: Path, tmp_path: Path) -> None:
    statement = "UPDATE access_log SET at = 'x' WHERE position = (SELECT max(position) FROM access_log)"
    _, state = asyncio.run(checked(tampered(made, tmp_path, statement)))
    assert [(each.table, each.what) for each in state.findings] == [("access_log", "the row cannot be decoded")]


def test_a_row_that_states_an_impossible_time_is_a_finding(made: Path, tmp_path: Path) -> None:
    statement = (
        "UPDATE access_log SET detail = replace(detail, 'expires 20', 'expires 2-') WHERE detail LIKE '%expires 20%'"
    )
    log, _ = asyncio.run(checked(tampered(made, tmp_path, statement)))
    assert log.findings


ANOTHER_TYPE = [
    "UPDATE access_policies SET name = x'00ff' WHERE name = 'vast'",
    "UPDATE access_policies SET parameters = 'x' WHERE name = 'kept' AND version = 2",
    "UPDATE attestations SET document = x'00ff' WHERE number = 2",
    "UPDATE control_changes SET number = 'x' WHERE number = 2",
    "UPDATE sweeps SET sweep_id = NULL",
    "UPDATE entries SET value_size = x'00ff' WHERE external_id = 'e0'",
    "UPDATE entries SET value_size = 'x' WHERE external_id = 'e0'",
    "UPDATE access_log SET policy = x'00ff' WHERE position = (SELECT max(position) FROM access_log)",
    "UPDATE access_log SET app = x'00ff' WHERE position = 1",
    "UPDATE purge_log SET key_ref = x'00ff' WHERE position = (SELECT max(position) FROM purge_log)",
    "UPDATE purge_log SET app = 'x' WHERE position = (SELECT max(position) FROM purge_log)",
    "UPDATE leaves SET position = 'x' WHERE leaf_index = 3",
]


@pytest.mark.parametrize("statement", ANOTHER_TYPE)
def test_a_column_of_another_type_is_a_finding(made: Path, tmp_path: Path, statement: str) -> None:
    log, state = asyncio.run(checked(tampered(made, tmp_path, statement)))
    assert [*log.findings, *state.findings]


def test_values_are_read_unless_they_are_left_out(made: Path, tmp_path: Path) -> None:
    statement = "UPDATE entries SET encrypted_value = CAST('forged' AS BLOB) WHERE external_id = 'e0'"
    path = tampered(made, tmp_path, statement)

    async def check(*, with_values: bool) -> StateResult:
        async with opened(path) as storage:
            source, replay = StorageSource(storage), StateReplay()
            await verify_log(source, [KEY.verifier], replay=replay)
            return await check_state(storage, source, replay, with_values=with_values)

    assert len(asyncio.run(check(with_values=True)).findings) == 1
    without = asyncio.run(check(with_values=False))
    assert (list(without.findings), without.values) == ([], 0)


NAMED_WITH_LEAF = [
    statement
    for statement, (table, _) in TAMPERS.items()
    if table in {"access_reviews", "log_archives"} and not statement.startswith("INSERT")
]


@pytest.mark.parametrize("statement", NAMED_WITH_LEAF)
def test_both_verifiers_name_the_leaf_of_a_review_or_an_archive(made: Path, tmp_path: Path, statement: str) -> None:
    table, key = TAMPERS[statement]
    number = key.partition(":")[0]
    path = tampered(made, tmp_path, statement)
    _, state = asyncio.run(checked(path))
    (leaf,) = {each.leaf for each in state.findings if (each.table, each.key) == (table, number)}
    assert type(leaf) is int
    for found in verified_export(asyncio.run(exported_tables(path))):
        named = [each for each in found if each.startswith(f"{table}, {number}: ")]
        assert named
        assert all(each.endswith(f" (leaf {leaf})") for each in named), named


LACKS_A_MEMBER = "UPDATE log_archives SET document = json_remove(document, '$.kept_rows')"


@pytest.mark.parametrize(
    ("statement", "said", "unsaid"),
    [
        (
            "UPDATE log_archives SET document = 'x'",
            "log_archives, 1: document is not the record",
            "archive is malformed",
        ),
        (LACKS_A_MEMBER, "0: the record of an archive is malformed", "log_archives"),
    ],
)
def test_every_verifier_names_a_malformed_record_of_an_archive_once(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], statement: str, said: str, unsaid: str
) -> None:
    path = tampered(made, tmp_path, statement)
    file = str(asyncio.run(exported_tables(path)))
    settings = with_key(made, tmp_path) / "vsql-vault.toml"
    settings.write_text(
        f'[storage]\ndatabase_url = "sqlite:///{path}"\n[audit]\nsigning_key_file = "{tmp_path / "signing.key"}"\n',
        "utf-8",
    )
    key = ["--vkey", str(KEY.verifier)]
    for verify, arguments in (
        (cli.main, ["verify", "--config", str(settings), *key]),
        (cli.main, ["verify", file, *key]),
        (second_verifier.main, [file, *key]),
    ):
        assert verify(arguments) == 1
        shown = capsys.readouterr().out
        assert said in shown
        assert unsaid not in shown


IN_EXPORTS = list(TAMPERS)
if not os.environ.get("VSQLVAULT_ALL_TAMPERS"):
    IN_EXPORTS = [*IN_EXPORTS[::2], *(each for each in IN_EXPORTS[1::2] if "retrievals" in each)]


async def exported_tables(path: Path) -> Path:
    """Write an export with the tables of a stopped vault."""
    file = path.parent / "audit.zip"
    file.unlink(missing_ok=True)
    async with opened(path) as storage:
        await write_export(file, StorageSource(storage), KEY.verifier, lambda _done, _of: None, storage)
    return file


def findings_in_export(path: Path) -> list[str]:
    """Return the findings of the vault's verifier, after the second verifier has found the same."""
    return verified_export(path)[0]


def verified_export(path: Path) -> tuple[list[str], list[str]]:
    """Return the findings of both verifiers, which must be about the same rows."""
    replay = VaultReplay()
    with open_export(path) as source:
        assert asyncio.run(verify_log(source, [KEY.verifier], replay=replay)).findings == []
        result = check_tables(source.lines, replay, source.size)
    with zipfile.ZipFile(path) as archive:
        second = second_verifier.TableReplay()
        export = second_verifier.Export(archive)
        check, _ = second_verifier.check_export(
            export, [second_verifier.parse_key(str(KEY.verifier))], [], replay=second
        )
        second_verifier.check_tables(export, second)
    assert check.findings == []
    found = [str(each) for each in result.findings]
    assert sorted(set(map(subject_of, second.findings))) == sorted(set(map(subject_of, found)))
    assert len(second.skipped) == result.skipped
    return found, second.findings


def test_the_export_of_an_untouched_vault_verifies_with_its_tables(made: Path, tmp_path: Path) -> None:
    shutil.copyfile(made, tmp_path / "vault.db")
    assert findings_in_export(asyncio.run(exported_tables(tmp_path / "vault.db"))) == []


def test_the_commands_say_whether_an_export_has_tables(
    made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tampered(made, tmp_path, "UPDATE entries SET expires_at = expires_at + 1 WHERE external_id = 'e0'")
    settings = with_key(made, path.parent) / "vsql-vault.toml"
    settings.write_text(
        f'[storage]\ndatabase_url = "sqlite:///{path}"\n[audit]\nsigning_key_file = "{tmp_path / "signing.key"}"\n',
        "utf-8",
    )
    for options, code, said in (
        ([], 0, "it proves the log alone"),
        (["--with-tables"], 1, "entries, tamper/e0: expires_at is"),
    ):
        file = str(tmp_path / f"audit{code}.zip")
        assert cli.main(["export-audit", "--config", str(settings), "--out", file, *options]) == 0
        for verify in (cli.main, second_verifier.main):
            arguments = ["verify", file] if verify is cli.main else [file]
            assert verify([*arguments, "--vkey", str(KEY.verifier)]) == code
            assert said in capsys.readouterr().out


def test_a_member_that_is_missing_or_cut_makes_an_export_unusable(made: Path, tmp_path: Path) -> None:
    shutil.copyfile(made, tmp_path / "vault.db")
    file = asyncio.run(exported_tables(tmp_path / "vault.db"))
    for change in (lambda data: None, lambda data: data.partition(b"\n")[2]):
        other = tmp_path / "other.zip"
        with zipfile.ZipFile(file) as archive, zipfile.ZipFile(other, "w") as changed:
            for name in archive.namelist():
                data: bytes | None = archive.read(name)
                if name == "tables/entries.ndjson":
                    data = change(archive.read(name))
                if data is not None:
                    changed.writestr(name, data)
        for verify in (cli.main, second_verifier.main):
            arguments = ["verify", str(other)] if verify is cli.main else [str(other)]
            assert verify([*arguments, "--vkey", str(KEY.verifier)]) == 2


@pytest.mark.parametrize("statement", IN_EXPORTS)
def test_both_verifiers_name_the_tamper_in_an_export(made: Path, tmp_path: Path, statement: str) -> None:
    table, key = TAMPERS[statement]
    path = tampered(made, tmp_path, statement)
    found = findings_in_export(asyncio.run(exported_tables(path)))
    name = key.partition(":")[0] if table == "entries" else ""
    if name == "tamper/late":  # its rows are not in the tree yet
        assert found == []
    else:
        assert any(each.startswith(f"{table}, {name}") for each in found), found


def test_the_manifest_of_an_export_counts_its_leaves_and_the_rows_that_wait(made: Path, tmp_path: Path) -> None:
    shutil.copyfile(made, tmp_path / "vault.db")
    with zipfile.ZipFile(asyncio.run(exported_tables(tmp_path / "vault.db"))) as archive:
        leaves = [leaf for name in archive.namelist() if "entries/" in name for leaf in read_bundle(archive.read(name))]
        waiting = archive.read("tables/waiting.ndjson").splitlines()
        manifest = json.loads(archive.read("manifest.json"))
    assert (manifest["size"], manifest["rows_waiting"]) == (len(leaves), len(waiting)) == (len(leaves), 3)


def test_a_row_that_cannot_be_decoded_and_has_no_leaf_hides_no_entry_after_it(made: Path, tmp_path: Path) -> None:
    file = sqlite3.connect(made)
    columns = ", ".join(row[1] for row in file.execute("PRAGMA table_info(entries)"))
    file.close()
    forged = columns.replace("external_id", "'a0'").replace("encoding", "'x'")
    path = tampered(
        made, tmp_path, f"INSERT INTO entries ({columns}) SELECT {forged} FROM entries WHERE external_id = 'e0'"
    )
    _, state = asyncio.run(checked(path))
    assert {(each.table, each.key) for each in state.findings} == {("entries", "tamper/ …")}


def test_the_digest_of_another_key_is_a_finding_about_the_table_of_keys(made: Path, tmp_path: Path) -> None:
    path = tampered(made, tmp_path, "UPDATE api_keys SET digest = lower(hex(zeroblob(32))) WHERE app = 'kept'")
    _, state = asyncio.run(checked(path))
    assert {each.table for each in state.findings} == {"api_keys"}
    assert "digest is that of another key" in {each.what for each in state.findings}


def test_a_counter_is_not_compared_in_an_export_of_a_version_that_does_not_write_it(made: Path, tmp_path: Path) -> None:
    shutil.copyfile(made, tmp_path / "vault.db")
    file, older = asyncio.run(exported_tables(tmp_path / "vault.db")), tmp_path / "older.zip"
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(older, "w") as changed:
        for name in archive.namelist():
            data = archive.read(name)
            if name == "tables/entries.ndjson":
                assert data.count(b'"retrievals":') == 12
                data = re.sub(rb',"retrievals":\d+', b"", data)
            changed.writestr(name, data)
    assert findings_in_export(older) == []


def test_a_retrieval_that_was_counted_after_the_tables_were_read_is_no_finding(made: Path, tmp_path: Path) -> None:
    shutil.copyfile(made, tmp_path / "vault.db")
    file, busy = asyncio.run(exported_tables(tmp_path / "vault.db")), tmp_path / "busy.zip"
    with zipfile.ZipFile(file) as archive, zipfile.ZipFile(busy, "w") as changed:
        leaves = [leaf for name in archive.namelist() if "entries/" in name for leaf in read_bundle(archive.read(name))]
        (*_, last) = [leaf for leaf in leaves if b"retrieval counted" in leaf and b'"purpose":"tamper"' in leaf]
        for name in archive.namelist():
            data = archive.read(name)
            if name == "tables/waiting.ndjson":
                data += last + b"\n"
            elif name == "manifest.json":
                manifest = json.loads(data)
                manifest["tables"]["waiting"] += 1
                data = json.dumps(manifest).encode()
            changed.writestr(name, data)
    assert findings_in_export(busy) == []


def test_a_counter_above_the_retrievals_that_rows_say_were_counted_is_accepted(made: Path, tmp_path: Path) -> None:
    path = tampered(made, tmp_path, "UPDATE entries SET retrievals = retrievals + 1")
    _, state = asyncio.run(checked(path))
    assert [*state.findings, *findings_in_export(asyncio.run(exported_tables(path)))] == []


@pytest.mark.parametrize("statement", UNREADABLE)
def test_both_verifiers_name_a_row_of_an_export_that_could_not_be_decoded(
    made: Path, tmp_path: Path, statement: str
) -> None:
    path = tampered(made, tmp_path, statement)
    found = findings_in_export(asyncio.run(exported_tables(path)))
    tables = {table for table, key in UNREADABLE[statement] if key != "tamper/late"}
    assert {table for each in found for table in tables if each.startswith(f"{table}, ")} == tables


IN_BUNDLES = [
    statement
    for statement, (table, _) in TAMPERS.items()
    if table in {"retention_policies", "access_policies", "legal_holds", "attestations", "access_reviews"}
    and "SET at =" not in statement  # columns beside the document are not in a bundle
    and "is_clean" not in statement
    and "due_at =" not in statement
    and "purpose = 'shredded'" not in statement
    and "SELECT 'forged'" not in statement  # a row of the last minute may have its leaf after the bundle
]
if not os.environ.get("VSQLVAULT_ALL_TAMPERS"):
    IN_BUNDLES = IN_BUNDLES[::3]


async def bundle_of(directory: Path) -> Path:
    """Write a bundle of the vault in this directory."""
    async with open_vault(settings_of(directory)) as vault:
        pieces = await vault.compliance.evidence.bundle(ADMIN, lambda _report: b"")
        data = b"".join([piece async for piece in pieces])
    path = directory / "evidence.zip"
    path.write_bytes(data)
    return path


def findings_of(path: Path) -> list[str]:
    """Return the findings of the vault's verifier, after the second verifier has found the same."""
    found = verify_evidence(path, [KEY.verifier]).findings
    with zipfile.ZipFile(path) as archive:
        second = second_verifier.Bundle(archive, [second_verifier.parse_key(str(KEY.verifier))])
        second.check([])
    assert sorted(map(subject_of, second.findings)) == sorted(map(subject_of, found))
    return found


def subject_of(finding: str) -> str:
    """Return what a finding is about. The verifiers do not word the reasons alike."""
    return finding.partition(": ")[0]


def with_key(made: Path, directory: Path) -> Path:
    shutil.copyfile(made.parent / "signing.key", directory / "signing.key")
    (directory / "signing.key").chmod(0o600)
    return directory


def test_the_bundle_of_an_untouched_vault_verifies(made: Path, tmp_path: Path) -> None:
    shutil.copyfile(made, tmp_path / "vault.db")
    assert findings_of(asyncio.run(bundle_of(with_key(made, tmp_path)))) == []


@pytest.mark.parametrize("statement", IN_BUNDLES)
def test_both_verifiers_name_the_tamper_in_a_bundle(made: Path, tmp_path: Path, statement: str) -> None:
    table, _ = TAMPERS[statement]
    path = tampered(made, tmp_path, statement)
    found = findings_of(asyncio.run(bundle_of(with_key(made, path.parent))))
    assert found
    member = f"{table.replace('_', '-')}.ndjson"
    assert all(each.startswith((f"{table}, ", f"{member}, ")) for each in found), found


def test_both_verifiers_verify_an_access_review(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sqlite3.connect(made)
    document, note = file.execute("SELECT document, note FROM access_reviews WHERE number = 1").fetchone()
    file.close()
    path = tmp_path / "review.json"
    for text, code in ((document, 0), (document.replace("all is needed", "none is"), 1)):
        path.write_text(json.dumps(shown_access_review(text, note)), "utf-8")
        assert second_verifier.main([str(path), "--vkey", str(KEY.verifier)]) == code
        assert cli.main(["verify", str(path), "--vkey", str(KEY.verifier)]) == code
    assert capsys.readouterr().out.count("THE ACCESS REVIEW DOES NOT VERIFY") == 2


def test_both_verifiers_verify_an_attestation(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = sqlite3.connect(made)
    document, note = file.execute("SELECT document, note FROM attestations WHERE number = 1").fetchone()
    file.close()
    for text, is_good in ((document, True), (document.replace('"clean"', '"bad"'), False)):
        shown = shown_attestation(text, note)
        (tmp_path / "attestation.json").write_text(json.dumps(shown), "utf-8")
        code = second_verifier.main([str(tmp_path / "attestation.json"), "--vkey", str(KEY.verifier)])
        assert code == (0 if is_good else 1)
        if is_good:
            assert check_attestation(shown, [KEY.verifier])["number"] == 1
        else:
            with pytest.raises(AttestationInvalid):
                check_attestation(shown, [KEY.verifier])
    assert "DOES NOT VERIFY" in capsys.readouterr().out
