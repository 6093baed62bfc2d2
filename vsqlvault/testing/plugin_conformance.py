"""What every plugin promises, as tests of an installed distribution: its entry points, hooks, settings and process needs.

Example:
    class TestMyPlugin(PluginConformance, distribution="my-vault-plugin"):
        settings = {"plugins": {"my-table": {"path": "/var/lib/my-plugin"}}}
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, distribution, entry_points
from typing import Any, ClassVar

import pytest

from vsqlvault.config import PluginSettings, Settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.hookspecs import ENTRY_POINT_GROUP, OFFERS
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.operations.plugin_pages import page_operations
from vsqlvault.interfaces.page import PageRequest
from vsqlvault.model.control import Check
from vsqlvault.model.principal import Role
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import open_vault
from vsqlvault.testing.driving import LoopKit, driven
from vsqlvault.testing.samples import T0, a_call, a_purge_record, a_retention_policy, an_access_record
from vsqlvault.testing.vaults import built_in_plugins

IMPORT_SECONDS = 60
_COUNT_THREADS = """
import sys, threading
from importlib.metadata import entry_points
(point,) = entry_points(group=sys.argv[1], name=sys.argv[2])
point.load()
print(threading.active_count())
"""


class PluginConformance(LoopKit):
    """Subclass it with ``distribution``, the name of your installed distribution.

    ``settings`` are the tables of the settings file that your plugin needs; by default it needs none.
    """

    distribution: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, Any]] = {}

    def __init_subclass__(cls, *, distribution: str | None = None, **more: Any) -> None:
        """Take the distribution as an argument of the class."""
        super().__init_subclass__(**more)
        if distribution is not None:
            cls.distribution = distribution

    @property
    def points(self) -> list[EntryPoint]:
        """The plugins of the distribution."""
        found = distribution(self.distribution).entry_points
        return [point for point in found if point.group == ENTRY_POINT_GROUP]

    def checked_settings(self, **tables: Any) -> Settings:
        """Return settings with the built-in plugins and those of the distribution, on SQLite in the test's directory."""
        tree: dict[str, Any] = {name: dict(table) for name, table in self.settings.items()}
        for name, table in tables.items():
            tree[name] = {**tree.get(name, {}), **table}
        allow = [*built_in_plugins(), *(point.name for point in self.points)]
        tree["plugins"] = {**tree.get("plugins", {}), "allow": allow}
        url = f"sqlite:///{self.directory / 'vault.db'}"
        tree["storage"] = {"database_url": url, **tree.get("storage", {})}
        return Settings.model_validate(tree)

    def offers(self) -> Iterator[tuple[str, Any]]:
        """Give each hook with each object that the distribution offers under it."""
        plugins, usual = Plugins(self.checked_settings()), Plugins(_usual())
        for hook in OFFERS:
            built_in = set(usual.offers(hook))
            for name, offer in plugins.offers(hook).items():
                if name not in built_in:
                    yield hook, offer

    def test_it_is_installed_with_an_entry_point(self) -> None:
        assert self.distribution, "say which distribution: class TestMine(PluginConformance, distribution='...')"
        assert self.points, f"{self.distribution} has no entry point in the group {ENTRY_POINT_GROUP}"

    def test_no_other_plugin_has_its_name(self) -> None:
        for point in self.points:
            assert len({each.value for each in entry_points(group=ENTRY_POINT_GROUP, name=point.name)}) == 1

    def test_it_loads_beside_the_built_in_plugins(self) -> None:
        loaded = {origin.name: origin.distribution for origin in Plugins(self.checked_settings()).origins}
        assert {point.name for point in self.points} <= set(loaded)

    def test_what_it_offers_has_names_of_its_own_and_every_member(self) -> None:
        assert list(self.offers()) or self._other_hooks(), "it implements no hook"

    def test_importing_it_starts_no_thread(self) -> None:
        for point in self.points:
            command = [sys.executable, "-c", _COUNT_THREADS, ENTRY_POINT_GROUP, point.name]
            ran = subprocess.run(command, capture_output=True, text=True, timeout=IMPORT_SECONDS, check=False)  # noqa: S603
            assert (ran.returncode, ran.stdout.strip()) == (0, "1"), ran.stderr

    def test_it_declares_what_it_reaches_outside_of_the_process(self) -> None:
        plugins = Plugins(self.checked_settings())
        _, undeclared = plugins.process_needs(plugins.settings)
        assert undeclared == [], "implement vault_process_needs: an empty list means that it reaches nothing"

    def test_its_settings_refuse_an_unknown_key(self) -> None:
        for hook, offer in self.offers():
            if hook == "vault_settings" and isinstance(offer, PluginSettings):
                section = offer.section or "plugins"
                table = {"no-plugin-has-this-key": 1}
                tables = {section: table if offer.section else {offer.name: {**self._table(offer), **table}}}
                with pytest.raises(SettingsInvalid, match="expected a known key"):
                    Plugins(self.checked_settings(**tables))

    @driven
    async def test_a_vault_starts_serves_and_stops_with_it(self) -> None:
        admin = a_call("vault-admin", Role.ADMIN)
        plugins = Plugins(self.checked_settings())
        async with open_vault(plugins.settings, plugins=plugins) as vault:
            await vault.rules.policies.save_retention_policy(admin, a_retention_policy())
            assert {point.name for point in self.points} <= {each.name for each in vault.plugins}
        assert await plugins.stop() == []

    @driven
    async def test_its_objects_do_what_the_vault_asks_of_them_beside_requests(self) -> None:
        for hook, offer in self.offers():
            if hook == "vault_controls":
                assert isinstance(await offer.check(T0), Check)
            elif hook == "vault_observers":
                for _ in range(2):  # a batch may be delivered again
                    await offer.access((an_access_record(),))
                    await offer.purges((a_purge_record(),))
            elif hook == "vault_purge_methods":
                for _ in range(2):
                    await offer.purged((a_purge_record(method=offer.name),))
            elif hook == "vault_anchors":
                assert isinstance(await offer.newest(), (str, type(None)))
                assert isinstance(offer.failure(), (str, type(None)))
            elif hook == "vault_pages":
                page_operations([offer], OPERATIONS)
                caller = a_call("vault-admin", Role.ADMIN).principal
                assert isinstance(await offer.show(PageRequest(caller)), Mapping)
            elif hook == "vault_commands":
                assert isinstance(offer.help, str)
                offer.add_arguments(ArgumentParser())
        await asyncio.sleep(0)

    def _other_hooks(self) -> bool:
        plugins = [point.load() for point in self.points]
        return any(hasattr(plugin, hook) for plugin in plugins for hook in ("vault_startup", "vault_shutdown"))

    def _table(self, offer: PluginSettings) -> Mapping[str, Any]:
        table: Mapping[str, Any] = self.settings.get("plugins", {}).get(offer.name, {})
        return table


def _usual() -> Settings:
    return Settings.model_validate({"plugins": {"allow": [*built_in_plugins()]}})
