"""The record of the credentials of the settings: a row for each that a start or reload adds, changes or removes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from vsqlvault.config.auth import ApiKeySettings
from vsqlvault.model.audit import Operation
from vsqlvault.proof.credential_replay import VaultReplay
from vsqlvault.proof.leaf import row_leaf
from vsqlvault.service.log.state_check import check_state
from vsqlvault.service.log.verification import StorageSource

CHANGES = (Operation.CREDENTIAL_ADDED, Operation.CREDENTIAL_CHANGED, Operation.CREDENTIAL_REMOVED)
SECRET = "a-secret-that-no-row-may-have-0123"


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def an_app_key(app: str = "teller", text: str = SECRET, **fields: Any) -> ApiKeySettings:
    return ApiKeySettings(app=app, key_sha256=digest(text), **fields)


async def give(scene: Any, *keys: ApiKeySettings) -> None:
    """Reload the settings with these keys, as SIGHUP does."""
    settings = scene.vault.credentials.reload.settings
    auth = settings.auth.model_copy(update={"api_keys": keys})
    await scene.vault.credentials.reload.reload(settings.model_copy(update={"auth": auth}))
    await scene.vault.audit.process_log.reloaded(["auth.api_keys"])


async def changes(scene: Any) -> list[tuple[str, str]]:
    return [(row.operation, row.detail) for row in await scene.access_rows() if row.operation in CHANGES]


async def test_a_key_that_a_reload_adds_is_a_row_with_roles_and_id(scene) -> None:
    await give(scene, an_app_key("boss", purposes=("*",), roles=("admin",)))
    (row,) = await scene.access_rows(operation=Operation.CREDENTIAL_ADDED)
    shown = json.loads(row.new_value)
    assert (shown["app"], shown["roles"], shown["purposes"]) == ("boss", ["admin"], ["*"])
    assert row.detail == shown["credential_id"] == f"sha256:{digest(SECRET)[:12]}"


async def test_without_the_row_of_the_last_record_each_credential_is_added(scene) -> None:
    await scene.storage.save_cursor("credential record", 1)
    await give(scene, an_app_key())
    assert (Operation.CREDENTIAL_ADDED, f"sha256:{digest(SECRET)[:12]}") in await changes(scene)


async def test_no_row_has_the_secret_or_its_digest(scene) -> None:
    await give(scene, an_app_key())
    assert await changes(scene)
    assert SECRET not in str(await scene.access_rows())
    assert digest(SECRET) not in str(await scene.access_rows())


async def test_a_key_that_a_reload_removes_is_a_row(scene) -> None:
    await give(scene, an_app_key())
    await give(scene)
    assert [operation for operation, _ in await changes(scene)] == [
        Operation.CREDENTIAL_ADDED,
        Operation.CREDENTIAL_REMOVED,
    ]


async def test_a_key_with_other_roles_is_a_row_with_both(scene) -> None:
    await give(scene, an_app_key())
    await give(scene, an_app_key(roles=("auditor",)))
    (row,) = await scene.access_rows(operation=Operation.CREDENTIAL_CHANGED)
    assert (json.loads(row.old_value)["roles"], json.loads(row.new_value)["roles"]) == ([], ["auditor"])


async def test_a_start_compares_with_what_the_last_start_recorded(open_scene, monkeypatch) -> None:
    monkeypatch.setenv("BOSS_KEY", SECRET)
    for _ in range(2):
        scene = await open_scene(auth__api_key_env="BOSS_KEY")
        async with scene.vault.audit.process_log.running(None):
            assert await changes(scene) == [(Operation.CREDENTIAL_ADDED, "env:BOSS_KEY")]


async def test_another_secret_in_the_same_variable_is_a_change(open_scene, monkeypatch) -> None:
    for secret in (SECRET, SECRET + "-renewed"):
        monkeypatch.setenv("BOSS_KEY", secret)
        scene = await open_scene(auth__api_key_env="BOSS_KEY")
        async with scene.vault.audit.process_log.running(None):
            pass
    assert await changes(scene) == [
        (Operation.CREDENTIAL_ADDED, "env:BOSS_KEY"),
        (Operation.CREDENTIAL_CHANGED, "env:BOSS_KEY"),
    ]


async def test_a_reload_without_a_change_leaves_no_row(scene) -> None:
    for _ in range(2):
        await give(scene, an_app_key())
    assert len(await changes(scene)) == 1
    assert len(await scene.access_rows(operation=Operation.CREDENTIALS_LOADED)) == 1


async def test_a_change_that_cannot_be_recorded_now_is_recorded_later(scene) -> None:
    scene.storage.arm(always=True, methods={"commit"})
    await give(scene, an_app_key())
    scene.storage.disarm()
    assert await changes(scene) == []
    await scene.vault.credentials.ledger._retry()
    assert len(await changes(scene)) == 1


async def test_while_another_process_records_its_own_nothing_is_compared(scene) -> None:
    assert await scene.storage.inner.acquire_lease("credential record", "another", 60)
    scene.vault.credentials.ledger._waits = 1
    await give(scene, an_app_key())
    assert await changes(scene) == []


async def replayed(scene: Any) -> VaultReplay:
    source, replay = StorageSource(scene.storage.inner), VaultReplay()
    assert (await check_state(scene.storage.inner, source, replay)).findings == []
    return replay


async def test_verify_replays_the_credentials(scene) -> None:
    await give(scene, an_app_key("one", "1" * 32))
    await give(scene, an_app_key("one", "1" * 32), an_app_key("two", "2" * 32))
    await give(scene, an_app_key("two", "2" * 32, roles=("admin",)))
    replay = (await replayed(scene)).credentials
    assert replay.findings == []
    assert [each["app"] for each in replay.inventory.values()] == ["two"]


@pytest.mark.parametrize("left_out", CHANGES)
async def test_a_log_without_one_of_the_rows_does_not_replay(scene, left_out: Operation) -> None:
    await give(scene, an_app_key("one", "1" * 32), an_app_key("two", "2" * 32))
    await give(scene, an_app_key("two", "2" * 32, roles=("admin",)))
    replay = VaultReplay()
    for index, row in enumerate(await scene.access_rows()):
        if row.operation is not left_out:
            replay.take(index, row_leaf(row))
    assert next(what for _, what in replay.credentials.findings).endswith("do not follow from the rows before")


async def test_a_crash_between_the_rows_and_the_cursor_replays(scene) -> None:
    scene.storage.arm(1, methods={"save_cursor"})
    await give(scene, an_app_key("one", "1" * 32))
    scene.storage.disarm()
    await give(scene, an_app_key("two", "2" * 32))
    assert (await replayed(scene)).credentials.findings == []


async def test_more_credentials_than_a_leaf_can_hold_replay(scene) -> None:
    keys = [an_app_key(f"app-{number}", f"{number:032}", roles=("auditor",)) for number in range(400)]
    await give(scene, *keys)
    await give(scene, *keys[1:])
    replay = (await replayed(scene)).credentials
    assert (replay.findings, len(replay.inventory)) == ([], 399)
