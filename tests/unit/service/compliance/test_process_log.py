"""Rows of the life of a server: start, stop, an unclean stop, what it loaded, and settings that are read again."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.config import load_settings
from vsqlvault.config.changes import changed_keys
from vsqlvault.errors import SettingsInvalid
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.times import format_time
from vsqlvault.testing import T0, Fault

SERVER = "host 0.0.0.0:8443"
LIFE = (
    Operation.SCHEMA_MIGRATED, Operation.PLUGINS_LOADED, Operation.SERVER_STARTED, Operation.SERVER_STOPPED,
    Operation.SETTINGS_RELOADED,
)  # fmt: skip


async def lived(scene: Any) -> list[tuple[str, str | None]]:
    return [(row.operation, row.detail) for row in await scene.access_rows() if row.operation in LIFE]


async def test_a_start_and_a_stop_are_rows(scene) -> None:
    async with scene.vault.audit.process_log.running(SERVER):
        started = [operation for operation, _ in await lived(scene)]
    assert started == [Operation.SCHEMA_MIGRATED, Operation.PLUGINS_LOADED, Operation.SERVER_STARTED]
    assert (await lived(scene))[-1] == (Operation.SERVER_STOPPED, f"{SERVER}, worker 0, stopped")


@pytest.mark.parametrize("microseconds", [0, 1])
async def test_a_stop_is_recorded_at_any_time(scene, microseconds: int) -> None:
    scene.clock.at += timedelta(microseconds=microseconds)
    for _ in range(2):
        async with scene.vault.audit.process_log.running(SERVER):
            pass
    assert not [detail for _, detail in await lived(scene) if "unclean" in (detail or "")]


async def test_the_schema_has_one_row_for_each_version(scene) -> None:
    version = scene.storage.describe()["schema_version"]
    for _ in range(2):
        async with scene.vault.audit.process_log.running(SERVER):
            pass
    rows = await scene.access_rows(operation=Operation.SCHEMA_MIGRATED)
    assert [json.loads(row.new_value) for row in rows] == [{"before": 0, "after": version}]
    assert [row.detail for row in rows] == [f"version {version}"]


async def test_a_start_names_each_plugin_with_its_version(scene) -> None:
    async with scene.vault.audit.process_log.running(SERVER):
        (row,) = await scene.access_rows(operation=Operation.PLUGINS_LOADED)
    shown = json.loads(row.new_value)["plugins"]
    assert {each["name"] for each in shown} == {each.name for each in scene.vault.plugins}
    assert all(each["version"] for each in shown)


async def test_a_server_that_was_killed_gets_the_row_of_its_stop_at_the_next_start(scene) -> None:
    killed = scene.vault.audit.process_log.running(SERVER)
    await killed.__aenter__()
    scene.clock.advance(seconds=5)
    async with scene.vault.audit.process_log.running(SERVER):
        found = await lived(scene)
    (_, detail) = next(each for each in found if each[0] == Operation.SERVER_STOPPED)
    assert detail == f"{SERVER}, worker 0, unclean: no stop was recorded after the start at {format_time(T0)}"
    assert [operation for operation, _ in found].count(Operation.SERVER_STARTED) == 2


async def test_after_a_recorded_stop_the_next_start_finds_nothing_unclean(scene) -> None:
    for _ in range(3):
        async with scene.vault.audit.process_log.running(SERVER):
            scene.clock.advance(seconds=1)
    assert not [detail for _, detail in await lived(scene) if "unclean" in (detail or "")]


@pytest.mark.parametrize("other", [("host 0.0.0.0:9443", 0), (SERVER, 1)])
async def test_another_server_or_worker_that_runs_is_not_unclean(scene, other: tuple[str, int]) -> None:
    async with scene.vault.audit.process_log.running(SERVER), scene.vault.audit.process_log.running(*other):
        assert Operation.SERVER_STOPPED not in [operation for operation, _ in await lived(scene)]


async def test_a_server_that_ends_by_an_error_names_it(scene) -> None:
    with pytest.raises(ZeroDivisionError):
        async with scene.vault.audit.process_log.running(SERVER):
            raise ZeroDivisionError
    assert (await lived(scene))[-1][1] == f"{SERVER}, worker 0, stopped by ZeroDivisionError"


async def test_a_stop_whose_row_cannot_be_committed_is_unclean_at_the_next_start(scene) -> None:
    async with scene.vault.audit.process_log.running(SERVER):
        scene.storage.arm(always=True, methods={"commit"})
    scene.storage.disarm()
    async with scene.vault.audit.process_log.running(SERVER):
        assert "unclean" in next(detail for operation, detail in await lived(scene) if operation == "server-stopped")


async def test_a_reload_names_the_keys_and_no_value(scene) -> None:
    before = load_settings(None, {"VSQL_VAULT_PURGE__SWEEP_BATCH": "500", "VSQL_VAULT_AUTH__API_KEY_APP": "boss"})
    after = load_settings(None, {"VSQL_VAULT_PURGE__SWEEP_BATCH": "600", "VSQL_VAULT_AUTH__API_KEY_APP": "queen"})
    await scene.vault.audit.process_log.reloaded(changed_keys(before, after))
    (row,) = await scene.access_rows(operation=Operation.SETTINGS_RELOADED)
    assert row.detail == "auth.api_key_app, purge.sweep_batch"
    assert "queen" not in row.new_value


async def test_a_reload_that_changes_nothing_says_so(scene) -> None:
    settings = load_settings(None, {})
    await scene.vault.audit.process_log.reloaded(changed_keys(settings, load_settings(None, {})))
    assert (await lived(scene))[-1][1] == "no setting has another value"


async def test_a_refused_reload_is_a_denied_row(scene) -> None:
    await scene.vault.audit.process_log.reload_refused(SettingsInvalid("auth: a secret in a sentence"))
    row = await scene.last_row()
    assert (row.operation, row.outcome, row.reason) == (
        Operation.SETTINGS_RELOADED,
        Outcome.DENIED,
        "start-up-refused",
    )
    assert "secret" not in str(row)


async def test_a_row_that_cannot_be_committed_is_committed_later(scene) -> None:
    scene.storage.arm(1, methods={"commit"}, fault=Fault.BEFORE)
    await scene.vault.audit.process_log.reloaded([])
    assert await lived(scene) == []
    await scene.vault.audit.process_log.flush()
    assert len(await lived(scene)) == 1


async def test_the_report_counts_starts_and_stops(scene) -> None:
    async with scene.vault.audit.process_log.running(SERVER):
        pass
    scene.clock.at += timedelta(seconds=1)
    report = await scene.vault.compliance.report.write(scene.admin)
    assert report["audit_coverage"]["figures"]["by_class"]["10.2.1.6"]["rows"] == 4
