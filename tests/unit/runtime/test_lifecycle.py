"""Opening a vault, and closing it without losing work in progress."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.config import Settings, load_settings
from vsqlvault.errors import CredentialRefused, SchemaTooNew, SettingsInvalid, StartUpRefused, StorageUnavailable
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.storage import LogQuery
from vsqlvault.model.access import Action
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import Role
from vsqlvault.runtime import open_vault
from vsqlvault.runtime.lifecycle import settle
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.testing import a_call, a_retention_policy, an_access_policy

ADMIN = a_call("vault-admin", Role.ADMIN)
OWNER = a_call("payments")
KEY = EntryKey("card", "pay-1")


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "vault.db"


@pytest.fixture
def settings(path) -> Settings:
    return load_settings(None, {"VSQL_VAULT_STORAGE__DATABASE_URL": f"sqlite:///{path}"})


def count(path: Path, table: str) -> int:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


async def test_a_vault_opens_on_a_new_file_and_again_on_the_old_one(settings, a_wish) -> None:
    async with open_vault(settings) as vault:
        await vault.rules.policies.save_retention_policy(ADMIN, a_retention_policy())
        await vault.entries.store(OWNER, KEY, a_wish())
    async with open_vault(settings) as vault:
        assert (await vault.entries.retrieve(OWNER, KEY)).value == b"cipher"


async def test_after_its_end_the_storage_is_closed(settings) -> None:
    async with open_vault(settings) as vault:
        pass
    with pytest.raises(StorageUnavailable):
        await vault.storage.policy_snapshot()


async def test_rows_that_the_storage_does_not_take_delay_the_end_by_the_time_limit_only(settings, caplog) -> None:
    async with open_vault(settings) as vault:
        vault.queue.drain = asyncio.Event().wait  # type: ignore[method-assign]
        await asyncio.wait_for(settle(vault, 0.01), 5)
        del vault.queue.drain
    assert "the storage did not answer in time: the last rows may be missing" in caplog.messages


async def test_a_storage_that_cannot_be_closed_ends_nothing(settings, caplog) -> None:
    async with open_vault(settings) as vault:
        close = vault.storage.close

        async def closed_and_failed() -> None:
            await close()
            raise StorageUnavailable

        vault.storage.close = closed_and_failed  # type: ignore[method-assign]
    assert "the storage was not closed" in caplog.messages


async def test_what_is_under_way_at_the_end_is_done_whole(settings, path, a_wish) -> None:
    async with open_vault(settings) as vault:
        await vault.rules.policies.save_retention_policy(ADMIN, a_retention_policy())
        callers = [
            asyncio.create_task(
                vault.audit.recorder.shielded(vault.entries.store(OWNER, EntryKey("card", f"e{n}"), a_wish()))
            )
            for n in range(50)
        ]
        await asyncio.sleep(0)
    results = await asyncio.gather(*callers)
    assert all(result.created for result in results)
    assert count(path, "entries") == 50


async def test_refusals_that_are_still_counted_are_committed_at_the_end(settings, path) -> None:
    async with open_vault(settings) as vault:
        for _ in range(9):
            await vault.audit.auth_failures.record(CredentialRefused("bad_key"), "r", "192.0.2.7")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT sum(count) FROM access_log").fetchone() == (9,)


async def test_a_newer_schema_stops_the_start_and_the_file_is_let_go(settings, path) -> None:
    async with open_vault(settings):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE schema_version SET version = 999")
    with pytest.raises(SchemaTooNew):
        async with open_vault(settings):
            pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        assert connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


@pytest.mark.parametrize(("mode", "is_replaced"), [("manual", False), ("auto", True)])
async def test_functions_of_another_text_stop_no_start_and_are_replaced_unless_that_is_left_to_the_command(
    settings, path, mode: str, is_replaced: bool
) -> None:
    async with open_vault(settings):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("UPDATE schema_version SET functions = 'of another text'")
    storage = settings.storage.model_copy(update={"migrate": mode})
    async with open_vault(settings.model_copy(update={"storage": storage})):
        pass
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        (functions,) = connection.execute("SELECT functions FROM schema_version").fetchone()
    assert (functions != "of another text") == is_replaced


async def test_two_plugins_that_bring_one_built_in_policy_stop_the_start(settings, install, offering) -> None:
    class Evaluator(PolicyEvaluator):
        name = "mine"

        def built_in_policies(self) -> list[Any]:
            return [an_access_policy("owner-only", evaluator="mine", built_in=True)]

    install(alpha=offering("vault_access_policies", Evaluator()))
    with pytest.raises(SettingsInvalid, match="owner-only"):
        async with open_vault(settings):
            pass


async def test_a_vault_without_the_storage_plugin_does_not_start(path) -> None:
    settings = load_settings(
        None, {"VSQL_VAULT_STORAGE__DATABASE_URL": f"sqlite:///{path}", "VSQL_VAULT_PLUGINS__ALLOW": "['access-rules']"}
    )
    with pytest.raises(StartUpRefused, match="plugin installed"):
        async with open_vault(settings):
            pass
    assert not path.exists()


async def test_plugins_stop_before_the_storage_closes_and_after_the_last_commit(settings, install, a_wish) -> None:
    log: list[str] = []

    class Plugin:
        vault: Any = None

        @hookimpl
        async def vault_shutdown(self) -> None:
            rows = await self.vault.storage.access_log(LogQuery(limit=10, oldest_first=True))
            log.extend(row.record.operation for row in rows)
            log.append("stopped")

    plugin = Plugin()
    install(alpha=plugin)
    async with open_vault(settings) as vault:
        plugin.vault = vault
        await vault.rules.policies.save_retention_policy(ADMIN, a_retention_policy())
        storing = asyncio.create_task(vault.audit.recorder.shielded(vault.entries.store(OWNER, KEY, a_wish())))
        await asyncio.sleep(0)
    await storing
    assert log == ["change-retention-policy", "store", "stopped"]


async def test_two_vaults_on_one_file_obey_one_another(settings, a_wish) -> None:
    async with open_vault(settings) as one, open_vault(settings) as other:
        await one.rules.policies.save_retention_policy(ADMIN, a_retention_policy())
        await other.entries.store(OWNER, KEY, a_wish())
        results = await asyncio.gather(
            *(vault.entries.purge(OWNER, KEY, Preconditions()) for vault in (one, other) * 5), return_exceptions=True
        )
        assert sum(not isinstance(result, BaseException) for result in results) == 1


async def test_a_limit_is_kept_exactly_by_two_vaults_on_one_file(settings, a_wish) -> None:
    policy = an_access_policy(rules={Action.STORE: Rule(), Action.RETRIEVE: Rule(max_retrievals=10)})
    async with open_vault(settings) as one, open_vault(settings) as other:
        await one.rules.policies.save_retention_policy(ADMIN, a_retention_policy())
        await one.rules.policies.save_access_policy(ADMIN, policy)
        await one.entries.store(OWNER, KEY, a_wish(access_policy="tellers"))
        results = await asyncio.gather(
            *(vault.entries.retrieve(OWNER, KEY) for vault in (one, other) * 20), return_exceptions=True
        )
        assert sum(getattr(result, "value", None) == b"cipher" for result in results) == 10


async def test_a_sweep_of_one_vault_keeps_the_other_from_sweeping(settings) -> None:
    async with open_vault(settings) as one, open_vault(settings) as other:
        results = await asyncio.gather(
            one.purge.sweeper.sweep(ADMIN), other.purge.sweeper.sweep(ADMIN), return_exceptions=True
        )
        assert any(not isinstance(result, BaseException) for result in results)
        assert {type(result).__name__ for result in results} <= {"SweepCount", "SweepRunning"}
