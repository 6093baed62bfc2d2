"""A whole vault for a test, composed like ``vsqlvault.runtime`` does, on SQLite or on the test's storage."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any
from unittest import mock

from vsqlvault import plugin_loader as plugin_manager
from vsqlvault import runtime
from vsqlvault.config import Settings
from vsqlvault.hookspecs import ENTRY_POINT_GROUP, hookimpl
from vsqlvault.interfaces.storage import Storage
from vsqlvault.plugin_loader import OWN_DISTRIBUTION, Plugins
from vsqlvault.service.vault import Vault

UNDER_TEST = "plugin-under-test"
Opener = Callable[[Path], Awaitable[Storage]]
Wrapper = Callable[[Storage], Storage]


@dataclass(frozen=True, slots=True)
class _Distribution:
    name: str = UNDER_TEST
    version: str = "0"


@dataclass(frozen=True, slots=True)
class _Installed:
    """An entry point that loads an object."""

    plugin: object
    name: str
    dist: _Distribution = _Distribution()

    @property
    def value(self) -> str:
        return f"{UNDER_TEST}:{self.name}"

    def load(self) -> object:
        return self.plugin


def offering(hook: str, *offers: object) -> object:
    """Return a plugin that returns these objects for ``hook`` (``vault_purge_methods``)."""

    def implementation() -> list[object]:
        return list(offers)

    plugin = type("Plugin", (), {})()
    setattr(plugin, hook, hookimpl(specname=hook)(implementation))
    return plugin


@cache
def installed_plugins() -> tuple[EntryPoint, ...]:
    """Return the entry points of the installed plugins. They are read once a process: reading takes 20 ms.

    Name and version of their distributions are read once as well: a distribution parses its metadata each time.
    """
    points = tuple(entry_points(group=ENTRY_POINT_GROUP))
    for point in points:
        if point.dist:
            vars(point).update(dist=_Distribution(point.dist.name, point.dist.version))
    return points


@cache
def built_in_plugins() -> tuple[str, ...]:
    """Return the names of the built-in plugins."""
    return tuple(point.name for point in installed_plugins() if point.dist and point.dist.name == OWN_DISTRIBUTION)


def settings_for(
    directory: Path,
    *,
    plugins: Sequence[object] = (),
    block: Sequence[str] = (),
    extra: Mapping[str, Any] | None = None,
) -> Settings:
    """Return settings for a vault on ``directory/vault.db``. ``extra`` overrides them, section by section."""
    names = [*built_in_plugins(), *(_name(number) for number in range(len(plugins)))]
    tree: dict[str, Any] = {
        "storage": {"database_url": f"sqlite:///{directory / 'vault.db'}"},
        "plugins": {"allow": [name for name in names if name not in block]},
    }
    for section, values in (extra or {}).items():
        tree[section] = {**tree.get(section, {}), **values} if isinstance(values, Mapping) else values
    return Settings.model_validate(tree)


@asynccontextmanager
async def a_vault(
    directory: Path,
    *,
    plugins: Sequence[object] = (),
    block: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    open_storage: Opener | None = None,
    wrap: Wrapper | None = None,
) -> AsyncIterator[Vault]:
    """Run a vault for the length of the block, with the built-in plugins except those in ``block``, and with
    ``plugins``.

    Its storage is ``open_storage(directory)``, or SQLite in ``directory``. ``wrap`` may wrap it, for example in
    ``FaultyStorage``. Two vaults must not be opened at the same time.

    Raises:
        StartUpRefused: as ``vsqlvault.runtime.open_vault``.
    """
    found: list[EntryPoint | _Installed] = [*installed_plugins()]
    found += [_Installed(plugin, _name(number)) for number, plugin in enumerate(plugins)]
    usual = runtime.open_storage

    async def opened(loaded: Plugins, *, creates: bool = True) -> Storage:
        storage = await (open_storage(directory) if open_storage else usual(loaded, creates=creates))
        return wrap(storage) if wrap else storage

    chosen = settings_for(directory, plugins=plugins, block=block, extra=settings)
    async with AsyncExitStack() as stack:
        with (
            mock.patch.object(plugin_manager, "entry_points", return_value=found),
            mock.patch.object(runtime.lifecycle, "open_storage", opened),
        ):
            vault = await stack.enter_async_context(runtime.open_vault(chosen))
        yield vault


def _name(number: int) -> str:
    return f"{UNDER_TEST}-{number}"
