"""A vault that an earlier version made is used by this one: listed, read, imported into, purged, reported and verified."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.postgres import Databases
from tests.upgrades.frozen import FROZEN, Frozen
from vsqlvault.cli import main
from vsqlvault.config import load_settings
from vsqlvault.errors import EntryExpired, EntryHeld, EntryNotFound, EntryPurged
from vsqlvault.interfaces.storage import EntryQuery, LogQuery
from vsqlvault.model.entry import Entry, EntryKey, EntryState, ValueEncoding
from vsqlvault.model.principal import Call, Role
from vsqlvault.model.times import utc_now
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.runtime import open_vault
from vsqlvault.service.entries.imports import ImportedEntry, Result
from vsqlvault.service.entries.requests import NO_PRECONDITIONS, ListRequest
from vsqlvault.service.vault import Vault
from vsqlvault.testing import a_call

PURPOSES = ("ach", "aged", "card", "cold")
ADMIN = ("vault-admin", Role.ADMIN)


@pytest.fixture(params=FROZEN, ids=str)
def frozen(request: pytest.FixtureRequest) -> Frozen:
    return request.param


@pytest.fixture
def upgraded(
    frozen: Frozen, tmp_path: Path, postgres: Databases, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Frozen, str]]:
    """The URL of the database of an earlier version, after ``vsql-vault migrate``."""
    name = postgres.create_database()
    url = postgres.url(name) if frozen.kind == "postgresql" else f"sqlite:///{tmp_path / 'vault.db'}"
    if frozen.kind == "postgresql":
        asyncio.run(frozen.load_postgres(url))
    else:
        frozen.load_sqlite(tmp_path / "vault.db")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("VSQL_VAULT_STORAGE__DATABASE_URL", url)
    assert main(["migrate"]) == 0
    yield frozen, url
    postgres.drop_database(name)


async def live(vault: Vault) -> None:
    """Do with the vault what a caller, an operator and an auditor do."""
    await lists_what_is_stored(vault)
    await reads_what_was_stored(vault)
    await imports_into_it(vault)
    await purges_with_proof_and_respects_holds(vault)
    await reports(vault)


async def stored(vault: Vault, purpose: str) -> dict[str, Entry]:
    found = await vault.storage.entries(EntryQuery(purpose=purpose, now=utc_now(), limit=100, state=None))
    return {entry.external_id: entry for entry in found}


async def lists_what_is_stored(vault: Vault) -> None:
    """What is listed is what is active: entries of a dump expire as the years go by."""
    policies = await vault.storage.policy_snapshot()
    for purpose in PURPOSES:
        now, days = (await vault.queue.read()).now, policies.retention[purpose].max_retention_days
        page = await vault.entries.list_purpose(a_call(*ADMIN), purpose, ListRequest(limit=100))
        active = {
            name
            for name, entry in (await stored(vault, purpose)).items()
            if entry.state(now, days) is EntryState.ACTIVE
        }
        assert {viewed.entry.external_id for viewed in page.entries} == active


async def reads_what_was_stored(vault: Vault) -> None:
    for call, purpose, external_id, value in VALUES:
        key = EntryKey(purpose, external_id)
        assert (await vault.queue.read(key, with_value=True)).value == value
        if (await stored(vault, purpose))[external_id].state(utc_now(), None) is EntryState.ACTIVE:
            assert (await vault.entries.retrieve(call, key)).value == value
    with pytest.raises(EntryPurged):
        await vault.entries.retrieve(a_call("archive"), EntryKey("cold", "frozen-0"))
    with pytest.raises(EntryNotFound):
        await vault.entries.retrieve(a_call("payments"), EntryKey("card", "frozen-8"))


async def imports_into_it(vault: Vault) -> None:
    at = utc_now() - timedelta(days=1)
    entry = ImportedEntry(
        key=EntryKey("ach", "imported"), value=b"v", encoding=ValueEncoding.UTF_8, algorithm_hint=None, key_ref=None,
        metadata="{}", access_policy="owner-only", owner_app="legacy", owner_identity=None, created_at=at, updated_at=at,
    )  # fmt: skip
    assert [each.result for each in await vault.importer.take(a_call(*ADMIN), [entry])] == [Result.CREATED]


async def purges_with_proof_and_respects_holds(vault: Vault) -> None:
    key = EntryKey("ach", "frozen-bytes")
    before = await vault.queue.read(key, with_value=True)
    assert before.entry is not None
    assert before.value is not None
    with suppress(EntryExpired):
        await vault.entries.purge(a_call("other"), key, NO_PRECONDITIONS)
    with pytest.raises((EntryHeld, EntryExpired)):
        await vault.entries.purge(a_call("payments"), EntryKey("card", "frozen-7"), NO_PRECONDITIONS)
    swept = await vault.purge.sweeper.sweep(a_call(*ADMIN), confirm_clock=True)
    assert swept.failed == 0
    rows = await vault.storage.purge_log(LogQuery(limit=1, equals={"purpose": "ach", "external_id": "frozen-bytes"}))
    assert rows[0].record.proof_hash == purge_proof(before.entry, before.value)
    assert "frozen-held" in await stored(vault, "aged")
    assert "frozen-7" in await stored(vault, "card")


async def reports(vault: Vault) -> None:
    report: Any = await vault.compliance.report.write(a_call(*ADMIN))
    there = [
        entry for purpose in PURPOSES for entry in (await stored(vault, purpose)).values() if entry.purged_at is None
    ]
    assert report["summary"]["active_entries"] + report["summary"]["expired_pending_purge"] == len(there)
    assert set(report["by_purpose"]) >= {"ach", "card"}


VALUES: tuple[tuple[Call, str, str, bytes], ...] = (
    (a_call("other"), "ach", "frozen-bytes", bytes([0, 1, 2, 3, 4, 255])),
    (a_call("other"), "ach", "frozen-long", b"x" * 3000),
    (a_call("payments", identity="alice"), "card", "frozen-4", b"vault:v1:4"),
    (a_call("payments"), "card", "frozen-5", b"vault:v1:5"),
)


def test_an_upgraded_vault_is_used_and_verifies(upgraded: tuple[Frozen, str], capsys: Any) -> None:
    frozen, url = upgraded

    async def use() -> None:
        async with open_vault(load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": url})) as vault:
            await live(vault)
            while await vault.log.sequencer.sequence():
                pass

    asyncio.run(use())
    assert main(["verify", "--vkey", str(frozen.path("vkey"))]) == 0, capsys.readouterr().out
