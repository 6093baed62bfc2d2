from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.config import load_settings
from vsqlvault.errors import AccessDenied, PluginFailed, ValidationFailed
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.interfaces.writes import SaveAccessPolicy, Write
from vsqlvault.model.access import Action
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import EntryKey, ValueEncoding
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.policy import ADMIN, OWNER, AccessPolicy, RetentionPolicy, Rule
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.runtime import open_vault
from vsqlvault.service.entries.requests import ListRequest, Preconditions, StoreRequest
from vsqlvault.service.vault import Vault

# What a vault on SQLite needs, and the plugin under test: whatever else is installed stays out.
ALLOWED = ["access-rules", "auth-api-key", "purge-methods", "storage-sqlite", "access-hours"]
OWNER_CALL = Call(Principal("till", "api-key", "key-1", roles=frozenset({Role.ADMIN})), "request-owner")
SUPPORT_CALL = Call(Principal("support", "api-key", "key-2"), "request-support", "127.0.0.1")
STRANGER_CALL = Call(Principal("stranger", "api-key", "key-3"), "request-stranger")
P1 = EntryKey("card", "p1")
RULES = {
    Action.STORE: Rule(),
    Action.RETRIEVE: Rule(allowed_apps=frozenset({"support"})),
    Action.PURGE: Rule(allowed_apps=frozenset({OWNER, ADMIN})),
}


def hours(opens_in_hours: int) -> str:
    """Return parameters whose twelve hours began, or begin, this number of hours from now, on every day."""
    opens = datetime.now(UTC) + timedelta(hours=opens_in_hours)
    closes = opens + timedelta(hours=12)
    days = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    return json.dumps({"timezone": "UTC", "days": days, "opens": f"{opens:%H:%M}", "closes": f"{closes:%H:%M}"})


OPEN, CLOSED = -6, 6


def desk(parameters: str) -> AccessPolicy:
    return AccessPolicy("desk", 0, "office-hours", RULES, parameters)


def in_a_vault(directory: Path, work: Callable[[Vault], Awaitable[Any]]) -> None:
    """Run ``work`` on a vault whose purpose ``card`` can be stored to."""
    file = directory / "vault.toml"
    url = f"sqlite:///{directory / 'vault.db'}"
    file.write_text(f'[storage]\ndatabase_url = "{url}"\n[plugins]\nallow = {json.dumps(ALLOWED)}\n')

    async def run() -> None:
        async with open_vault(load_settings(file, {})) as vault:
            await vault.rules.policies.save_retention_policy(
                OWNER_CALL, RetentionPolicy("card", 0, 365, 90, "physical-delete")
            )
            await work(vault)
            await vault.log.sequencer.sequence()
            await vault.log.observers.deliver()

    asyncio.run(run())


async def fill(vault: Vault, opens_in_hours: int) -> None:
    await vault.rules.policies.save_access_policy(OWNER_CALL, desk(hours(opens_in_hours)))
    wanted = StoreRequest(b"ciphertext", ValueEncoding.UTF_8, None, None, "{}", None, "desk")
    await vault.entries.store(OWNER_CALL, P1, wanted)


async def denials(vault: Vault) -> list[AccessRecord]:
    rows = await vault.audit.log_reader.access_log(OWNER_CALL, LogQuery(limit=100, equals={"outcome": "denied"}))
    return [row.record for row in rows]


def warnings(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [entry for entry in caplog.records if entry.name.startswith("vsqlvault_access_hours")]


def test_the_vault_loads_the_plugin_from_its_distribution(tmp_path: Path) -> None:
    async def work(vault: Vault) -> None:
        assert PluginOrigin("access-hours", "vsqlvault-access-hours", "0.1.0") in vault.plugins

    in_a_vault(tmp_path, work)


def test_a_retrieval_inside_the_hours_gets_the_value(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(vault: Vault) -> None:
        await fill(vault, OPEN)
        assert (await vault.entries.retrieve(SUPPORT_CALL, P1)).value == b"ciphertext"

    in_a_vault(tmp_path, work)
    assert warnings(caplog) == []


def test_a_retrieval_outside_the_hours_is_denied_with_its_row_and_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def work(vault: Vault) -> None:
        await fill(vault, CLOSED)
        with pytest.raises(AccessDenied):
            await vault.entries.retrieve(SUPPORT_CALL, P1)
        (row,) = await denials(vault)
        assert (row.reason, row.policy, row.policy_version, row.status) == ("outside-office-hours", "desk", 1, 403)

    in_a_vault(tmp_path, work)
    (warning,) = warnings(caplog)
    assert warning.levelno == logging.WARNING
    said = vars(warning)
    assert (said["app"], said["purpose"], said["request_id"]) == ("support", "card", "request-support")


def test_the_warning_does_not_say_which_entry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(vault: Vault) -> None:
        await fill(vault, CLOSED)
        with pytest.raises(AccessDenied):
            await vault.entries.retrieve(SUPPORT_CALL, P1)

    in_a_vault(tmp_path, work)
    (warning,) = warnings(caplog)
    assert "p1" not in {str(value) for value in vars(warning).values()}


def test_another_denial_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def work(vault: Vault) -> None:
        await fill(vault, CLOSED)
        with pytest.raises(AccessDenied):
            await vault.entries.retrieve(STRANGER_CALL, P1)
        (row,) = await denials(vault)
        assert row.reason == "app-not-allowed"

    in_a_vault(tmp_path, work)
    assert warnings(caplog) == []


def test_storing_inspecting_listing_and_purging_have_no_hours(tmp_path: Path) -> None:
    async def work(vault: Vault) -> None:
        await fill(vault, CLOSED)
        wanted = StoreRequest(b"newer", ValueEncoding.UTF_8, None, None, "{}", None, "desk")
        assert not (await vault.entries.store(OWNER_CALL, P1, wanted)).created
        assert (await vault.entries.inspect(SUPPORT_CALL, P1)).entry.version == 2
        assert len((await vault.entries.list_purpose(SUPPORT_CALL, "card", ListRequest(limit=10))).entries) == 1
        assert (await vault.entries.purge(OWNER_CALL, P1, Preconditions())).entry_version == 2

    in_a_vault(tmp_path, work)


def test_new_hours_bind_the_next_retrieval(tmp_path: Path) -> None:
    async def work(vault: Vault) -> None:
        await fill(vault, OPEN)
        await vault.entries.retrieve(SUPPORT_CALL, P1)
        await vault.rules.policies.save_access_policy(OWNER_CALL, desk(hours(CLOSED)))
        with pytest.raises(AccessDenied):
            await vault.entries.retrieve(SUPPORT_CALL, P1)
        (row,) = await denials(vault)
        assert row.policy_version == 2

    in_a_vault(tmp_path, work)


def test_parameters_that_are_no_hours_are_not_put_in_force(tmp_path: Path) -> None:
    async def work(vault: Vault) -> None:
        with pytest.raises(ValidationFailed) as refused:
            await vault.rules.policies.save_access_policy(OWNER_CALL, desk('{"opens":"8"}'))
        assert {error.field for error in refused.value.errors} == {
            "parameters.timezone",
            "parameters.days",
            "parameters.opens",
            "parameters.closes",
        }
        (row,) = await denials(vault)
        assert row.status == 422
        assert "desk" not in {policy.name for policy in await vault.rules.policies.access_policies(OWNER_CALL)}

    in_a_vault(tmp_path, work)


def test_stored_parameters_that_cannot_be_read_deny_everything(tmp_path: Path) -> None:
    async def work(vault: Vault) -> None:
        await fill(vault, OPEN)
        unreadable = AccessPolicy("desk", 2, "office-hours", RULES, "{}", None, "till", datetime.now(UTC))
        await vault.queue.commit(Write((), changes=(SaveAccessPolicy(unreadable),)))
        for attempt in (vault.entries.retrieve, vault.entries.inspect):
            with pytest.raises(PluginFailed):
                await attempt(SUPPORT_CALL, P1)

    in_a_vault(tmp_path, work)
