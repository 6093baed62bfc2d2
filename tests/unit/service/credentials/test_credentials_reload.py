"""New settings: all authenticators take them, or none."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from vsqlvault.config import Settings, load_settings
from vsqlvault.errors import PluginFailed, SettingsInvalid
from vsqlvault.hookspecs import PluginSettings, hookimpl
from vsqlvault.http import serving
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.service.credentials.reload import CredentialReload


class Doors(BaseModel):
    """The table of a plugin."""

    model_config = {"extra": "forbid"}
    open: int = 0


class Guard(Authenticator):
    """An authenticator that remembers its settings, and refuses those that a test names."""

    credential_headers = ("x-guard",)

    def __init__(self, name: str, refuse: Callable[[Settings], Any] = lambda _: None) -> None:
        self.name = name
        self.settings: Any = "the first"
        self._refuse = refuse

    async def authenticate(self, _: Any) -> None:
        return None

    async def reload(self, settings: Settings) -> None:
        refused = self._refuse(settings)
        if asyncio.iscoroutine(refused):
            await refused
        self.settings = settings


def raising(error: BaseException) -> Callable[[Any], Any]:
    def refuse(settings: Any) -> None:
        if settings != "old":
            raise error

    return refuse


def leave(_: Any) -> None:
    sys.exit(3)


def reloading_of(*guards: Guard, **options: float) -> Any:
    return CredentialReload(guards, "old", lambda settings: settings, **options)  # type: ignore[arg-type]


async def test_all_take_new_settings() -> None:
    guards = Guard("one"), Guard("two")
    await reloading_of(*guards).reload("new")
    assert [guard.settings for guard in guards] == ["new", "new"]


@pytest.mark.parametrize(
    ("refuse", "raised"),
    [
        (raising(SettingsInvalid("no such key")), SettingsInvalid),
        (raising(ZeroDivisionError("marker")), PluginFailed),
        (leave, PluginFailed),
    ],
    ids=["refused", "failed", "sys.exit"],
)
async def test_where_one_refuses_all_have_the_old_ones(refuse, raised) -> None:
    first, second, last = Guard("one"), Guard("two", refuse), Guard("three")
    with pytest.raises(raised):
        await reloading_of(first, second, last).reload("new")
    assert (first.settings, second.settings, last.settings) == ("old", "the first", "the first")


async def test_where_one_is_late_all_have_the_old_ones() -> None:
    first, second = Guard("one"), Guard("two", lambda _: asyncio.sleep(3600))
    with pytest.raises(PluginFailed):
        await reloading_of(first, second, timeout_seconds=0.01).reload("new")
    assert first.settings == "old"


async def test_what_was_taken_is_what_a_later_refusal_goes_back_to() -> None:
    first = Guard("one")
    second = Guard("two", lambda settings: asyncio.sleep(0) if settings == "second" else leave(settings))
    both = reloading_of(first, second)
    await both.reload("second")
    with pytest.raises(PluginFailed):
        await both.reload("third")
    assert (first.settings, second.settings) == ("second", "second")


async def test_two_reloads_at_once_do_not_mix() -> None:
    async def slowly(settings: Any) -> None:
        await asyncio.sleep(0.01 if settings == "second" else 0)

    guards = Guard("one"), Guard("two", slowly)
    both = reloading_of(*guards)
    await asyncio.gather(both.reload("second"), both.reload("third"))
    assert [guard.settings for guard in guards] == ["third", "third"]


async def test_one_that_will_not_go_back_is_on_the_log_and_the_others_do(caplog) -> None:
    first = Guard("one")
    stubborn = Guard("two", lambda settings: leave(settings) if settings == "old" else None)
    with pytest.raises(PluginFailed):
        await reloading_of(first, stubborn, Guard("three", leave)).reload("new")
    assert first.settings == "old"
    assert "an authenticator could not be reverted to the settings in force" in caplog.text


def plugin_of(guard: Guard) -> Any:
    class Plugin:
        @hookimpl
        def vault_settings(self) -> Any:
            return [PluginSettings("doors", Doors)]

        @hookimpl
        def vault_authenticators(self, settings: Settings) -> Any:
            return [guard]

    return Plugin()


async def test_an_authenticator_gets_the_checked_table_of_its_plugin(install, make_vault) -> None:
    guard = Guard("guard")
    install(doors=plugin_of(guard))
    vault = await make_vault(plugins__doors__open="1")
    await vault.credentials.reload.reload(load_settings(None, {"VSQL_VAULT_PLUGINS__DOORS__OPEN": "2"}))
    assert guard.settings.plugin("doors") == Doors(open=2)


async def test_a_table_that_does_not_fit_its_plugin_changes_nothing(install, make_vault) -> None:
    guard = Guard("guard")
    install(doors=plugin_of(guard))
    vault = await make_vault()
    with pytest.raises(SettingsInvalid, match=r"plugins\.doors\.shut: expected a known key"):
        await vault.credentials.reload.reload(load_settings(None, {"VSQL_VAULT_PLUGINS__DOORS__SHUT": "2"}))
    assert guard.settings == "the first"


async def test_the_log_does_not_repeat_what_a_failed_reload_said(scene, caplog) -> None:
    def load() -> Settings:
        raise OSError("marker-of-a-secret")

    with caplog.at_level(logging.ERROR):
        await serving._reload(load, scene.vault, None, None)
    assert "reload refused" in caplog.text
    assert caplog.records[-1].error == "OSError"
