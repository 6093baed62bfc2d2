"""Credentials: what is known of them, and that their uses cost a request nothing."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault import runtime
from vsqlvault.errors import StorageUnavailable
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.interfaces.writes import SaveApiKey, SaveRetentionPolicy, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.credential import CredentialName, CredentialUse, KnownCredential
from vsqlvault.service.credentials.api_keys import created_document
from vsqlvault.service.credentials.inventory import Credentials
from vsqlvault.service.tasks import running
from vsqlvault.testing import T0, a_principal, a_retention_policy, a_write, an_access_record, an_api_key

LISTED = KnownCredential(credential_id="b1", app="payments", source="settings")
NAME = CredentialName("badge", "b1")
USER = a_principal(method="badge", credential_id="b1")


class Badges:
    name = "badge"
    credential_headers = ("x-badge",)

    def __init__(self, *listed: Any) -> None:
        self.listed = listed

    def credentials(self) -> list[Any]:
        if isinstance(self.listed[0], Exception):
            raise self.listed[0]
        return list(self.listed)


class Unlisted:
    name = "unlisted"


class Uses:
    """A storage of uses, which can be away."""

    def __init__(self) -> None:
        self.notes: list[dict[CredentialName, Any]] = []
        self.uses: dict[CredentialName, CredentialUse] = {}
        self.is_away = False

    async def record_usages(self, uses: Any) -> None:
        if self.is_away:
            raise StorageUnavailable
        self.notes.append(dict(uses))

    async def credential_uses(self) -> Any:
        if self.is_away:
            raise StorageUnavailable
        return self.uses


class Dial:
    def __init__(self) -> None:
        self.at, self.age, self.reads = T0, 0.0, 0
        self.was_read = asyncio.Event()

    def now(self) -> Any:
        return self.at

    def age_seconds(self) -> float:
        return self.age

    async def read(self) -> None:
        self.reads += 1
        self.was_read.set()


@pytest.fixture
def dial() -> Dial:
    return Dial()


@pytest.fixture
def uses() -> Uses:
    return Uses()


@pytest.fixture
def make(dial, uses):
    def made(*listed: Any, **options: Any) -> Credentials:
        badges: Any = [Badges(*(listed or (LISTED,))), Unlisted()]
        return Credentials(uses, dial, badges, dial.read, **options)

    return made


async def test_many_uses_are_one_note_with_the_time_of_the_last(make, dial, uses) -> None:
    credentials = make()
    for _ in range(1000):
        credentials.record_usage(USER)
    credentials.tick()
    dial.at += timedelta(seconds=30)
    credentials.record_usage(USER)
    await credentials.flush()
    assert uses.notes == [{NAME: dial.at}]
    await credentials.flush()
    assert len(uses.notes) == 1


async def test_a_use_does_nothing_but_remember(make, uses) -> None:
    make().record_usage(USER)
    assert uses.notes == []


async def test_credentials_that_nobody_lists_are_not_remembered(make, uses) -> None:
    """They may be as many as there are tokens."""
    credentials = make()
    credentials.record_usage(a_principal(method="unlisted", credential_id="token-1"))
    await credentials.flush()
    assert uses.notes == []


async def test_what_is_remembered_has_an_end(make, uses) -> None:
    credentials = make(max_used=3)
    for number in range(10):
        credentials.record_usage(replace(USER, credential_id=f"b{number}"))
    await credentials.flush()
    assert len(uses.notes[0]) == 3


async def test_uses_that_the_storage_does_not_take_are_kept_for_the_next_time(make, dial, uses) -> None:
    credentials = make()
    credentials.record_usage(USER)
    uses.is_away = True
    await credentials.flush()
    uses.is_away = False
    credentials.record_usage(replace(USER, credential_id="b2"))
    dial.at += timedelta(minutes=1)
    await credentials.flush()
    assert uses.notes == [{NAME: T0, CredentialName("badge", "b2"): dial.at}]


async def test_the_uses_of_all_processes_and_of_this_one_are_combined(make, dial, uses) -> None:
    credentials = make()
    early, late = T0 - timedelta(days=1), T0 + timedelta(days=1)
    (told,) = await credentials.inventory()
    assert (told.method, told.first_used_at, told.last_used_at) == ("badge", None, None)
    credentials.record_usage(USER)
    uses.uses = {NAME: CredentialUse(early, early)}
    (told,) = await credentials.inventory()
    assert (told.first_used_at, told.last_used_at) == (early, T0)
    uses.uses = {NAME: CredentialUse(early, late)}
    (told,) = await credentials.inventory()
    assert (told.first_used_at, told.last_used_at) == (early, late)
    assert credentials.known() == [told]


@pytest.mark.parametrize(
    "listed",
    [
        [ValueError("secret")],
        ["b1"],
        [replace(LISTED, created_at=T0.replace(tzinfo=None))],
        [replace(LISTED, app=None)],  # type: ignore[arg-type]
        [replace(LISTED, roles="admin")],  # type: ignore[arg-type]
    ],
    ids=["raises", "texts", "a time without a zone", "no app", "roles in a text"],
)
async def test_a_plugin_that_lists_what_cannot_be_is_left_out(make, listed, caplog) -> None:
    assert make(*listed).known() == []
    assert "plugin failed" in caplog.text
    assert "secret" not in caplog.text


async def test_the_storage_is_read_only_if_no_request_reads_it(make, dial) -> None:
    credentials = make()
    await credentials.follow()
    assert dial.reads == 0
    dial.age = 1.0
    await credentials.follow()
    assert dial.reads == 1


async def test_it_runs_until_it_is_stopped_through_whatever_the_storage_does(make, dial, uses) -> None:
    uses.is_away, dial.age = True, 1.0
    credentials = make(tick_seconds=0.001)
    async with running(credentials.task):
        for _ in range(3):
            dial.was_read.clear()
            await dial.was_read.wait()


async def test_an_idle_vault_hears_of_rules_and_keys_that_another_process_has_changed(scene) -> None:
    key = an_api_key()
    row = an_access_record(
        operation=Operation.CREATE_API_KEY, at=key.created_at, new_value=json.dumps(created_document(key))
    )
    made = Write((row,), changes=(SaveApiKey(key), SaveRetentionPolicy(a_retention_policy("ach"))))
    await scene.storage.inner.commit([made])
    scene.vault.clock._asked_at = float("-inf")  # as it is once nobody has asked for a second
    await scene.vault.credentials.inventory.follow()
    assert [each.credential_id for each in scene.vault.credentials.inventory.known()] == [an_api_key().key_id]
    scene.storage.arm()
    assert isinstance(await scene.vault.rules.policies.policy_snapshot(), PolicySnapshot)
    assert scene.storage.calls == ["read"]


async def test_a_use_makes_no_call_and_a_vault_that_ends_brings_it_to_the_storage(scene) -> None:
    await scene.storage.inner.commit([a_write(SaveApiKey(an_api_key()))])
    principal = a_principal(credential_id=an_api_key().key_id)
    scene.storage.arm()
    scene.vault.credentials.inventory.record_usage(principal)
    assert scene.storage.calls == []
    await runtime.lifecycle.settle(scene.vault)
    (use,) = (await scene.storage.inner.credential_uses()).values()
    assert use.first_used_at == use.last_used_at
