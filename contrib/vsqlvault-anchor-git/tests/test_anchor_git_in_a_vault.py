"""A vault whose checkpoints go to git, and that asks there at start whether its database is the newest there was."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from git_site import KEY, Bare, Site, served
from vsqlvault_anchor_git import plugin
from vsqlvault_anchor_git.repository import LocalRepository

from vsqlvault.config import load_settings
from vsqlvault.errors import Quarantined, SettingsInvalid
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.principal import Call, Principal, Role
from vsqlvault.plugin_loader import Plugins
from vsqlvault.proof.checkpoint import open_checkpoint
from vsqlvault.runtime import open_vault
from vsqlvault.service.tasks import running
from vsqlvault.service.vault import Vault

ADMIN = Call(Principal("till", "api-key", "key-1", roles=frozenset({Role.ADMIN})), "request-1", "127.0.0.1")
EXAMPLE = '[storage]\ndatabase_url = "sqlite:///vault.db"\n[plugins]\nallow = ["storage-sqlite", "anchor-git"]\n'


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", KEY.reveal())
    monkeypatch.setenv("TOKEN", "sesame")


def in_a_vault(settings: Any, work: Callable[[Vault], Awaitable[Any]]) -> None:
    async def run() -> None:
        async with (
            open_vault(settings) as vault,
            running(*vault.log.observers.tasks),
            running(vault.log.sequencer.task),
        ):
            await work(vault)

    asyncio.run(asyncio.wait_for(run(), 30))


async def rows(vault: Vault) -> None:
    for _ in range(3):
        await vault.rules.policies.access_policies(ADMIN)


async def newest_of(vault: Vault) -> str | None:
    newest = await vault.storage.newest_checkpoint()
    return newest.note if newest else None


def newest(bare: Bare) -> str | None:
    return LocalRepository(str(bare.path), "main").newest()


def test_the_vault_loads_the_plugin_from_its_distribution_and_needs_no_settings(site: Site) -> None:
    (site.directory / "vault.toml").write_text(EXAMPLE)
    plugins = Plugins(load_settings(site.directory / "vault.toml", {}))
    assert PluginOrigin("anchor-git", "vsqlvault-anchor-git", "0.1.0") in plugins.origins
    assert plugins.offers("vault_anchors") == {}


def test_what_was_signed_is_in_the_repository_when_the_vault_has_ended(site: Site) -> None:
    in_a_vault(site.settings(interval_seconds=3600), rows)
    note = newest(site.bare)
    assert note is not None
    assert open_checkpoint(note, [KEY.verifier]).size >= 3

    async def same(vault: Vault) -> None:
        assert await newest_of(vault) == note
        assert vault.log.quarantine.notes == ()

    in_a_vault(site.settings(), same)


def test_a_database_that_is_older_than_the_repository_is_in_quarantine(site: Site) -> None:
    in_a_vault(site.settings(), rows)
    shutil.copyfile(site.directory / "vault.db", site.directory / "old.db")
    in_a_vault(site.settings(), rows)
    for left in site.directory.glob("vault.db*"):
        left.unlink()
    shutil.copyfile(site.directory / "old.db", site.directory / "vault.db")

    async def refused(vault: Vault) -> None:
        with pytest.raises(Quarantined):
            await vault.log.quarantine.check()

    in_a_vault(site.settings(), refused)


def test_a_server_that_is_gone_breaks_no_request_and_is_seen(site: Site, git_bare: Bare) -> None:
    with served(git_bare, "sesame") as server:
        remote = {"repository": server.url, "token_env": "TOKEN", "deadline_seconds": 0.3}

        async def work(vault: Vault) -> None:
            (anchor,) = vault.log.quarantine.anchors
            await rows(vault)
            server.answers.clear()
            async with asyncio.timeout(20):
                while anchor.failure() is None:
                    await rows(vault)
                    await asyncio.sleep(0.01)

        in_a_vault(site.settings(**remote), work)
        server.answers.set()
        in_a_vault(site.settings(**{**remote, "deadline_seconds": 10}), rows)
    assert git_bare.git("fsck", "--strict", "--full") == ""
    assert newest(git_bare) is not None


@pytest.mark.parametrize(
    "table",
    [
        {"repository": "checkpoints.git"},
        {"repository": "ssh://git@example.com/checkpoints.git"},
        {"repository": "http://example.com/checkpoints.git"},
        {"repository": "https://user:secret@example.com/checkpoints.git"},
        {"repository": "https://example.com/c.git", "token_env": "NOT_SET"},
        {"repository": "/no/such/directory"},
        {"branch": "../main"},
        {"branch": "main.lock/../x"},
        {"interval_seconds": -1},
        {"deadline_seconds": 0},
        {"more": 1},
    ],
)
def test_settings_that_cannot_be_meant_are_refused(site: Site, table: dict[str, Any]) -> None:
    with pytest.raises(SettingsInvalid) as refused:
        Plugins(site.settings(**table)).offers("vault_anchors")
    assert "secret" not in str(refused.value)


def test_a_repository_that_is_none_stops_the_start(site: Site) -> None:
    site.bare.path.rename(site.directory / "moved")
    site.bare.path.mkdir()

    async def never(_: Vault) -> None:
        raise AssertionError

    with pytest.raises(SettingsInvalid, match="repository"):
        in_a_vault(site.settings(), never)


def test_it_asks_for_its_directory_or_its_port_and_nothing_else(site: Site) -> None:
    (local,) = plugin.vault_process_needs(_with(site, repository=str(site.bare.path)))
    assert (local.writable, local.connect_ports) == ((str(site.bare.path),), ())
    (remote,) = plugin.vault_process_needs(_with(site, repository="https://git.example.com/c.git"))
    assert (remote.writable, remote.connect_ports) == ((), (443,))
    (other,) = plugin.vault_process_needs(_with(site, repository="https://git.example.com:8443/c.git"))
    assert other.connect_ports == (8443,)


def _with(site: Site, **table: Any) -> Any:
    return Plugins(site.settings(**table)).settings
