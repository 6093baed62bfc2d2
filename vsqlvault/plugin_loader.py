"""Loads plugins, orders them, and rejects conflicts."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from importlib.metadata import EntryPoint, entry_points
from types import FunctionType, MappingProxyType, ModuleType
from typing import Any, TypeVar

import pluggy

from vsqlvault import hookspecs
from vsqlvault.config import PluginSettings, Settings, settings_schema, with_plugin_settings
from vsqlvault.errors import PluginClash, PluginFailed, PluginUnusable, StartUpRefused
from vsqlvault.errors.suggestions import did_you_mean
from vsqlvault.hookspecs import ENTRY_POINT_GROUP, OFFERS, PROJECT, OfferKind
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.service.plugin_calls import call_plugin

OWN_DISTRIBUTION = "vsqlvault"
START_SECONDS = 60.0
STOP_SECONDS = 5.0
_LIFECYCLE = ("vault_startup", "vault_shutdown")
Offer = TypeVar("Offer")


class _Manager(pluggy.PluginManager):
    """Examines only the functions of a module: its other names, mostly imports, would take a large part of a start."""

    def parse_hookimpl_opts(self, plugin: Any, name: str) -> Any:
        members = vars(plugin) if isinstance(plugin, ModuleType) else {}
        if name in members and not isinstance(members[name], FunctionType):
            return None
        return super().parse_hookimpl_opts(plugin, name)


class Plugins:
    """The plugins of one vault. Each hook is called once, and the names it provides must be unique."""

    def __init__(self, settings: Settings) -> None:
        """Load the installed plugins that are not blocked, and are in ``plugins.allow`` if it is set.

        Raises:
            PluginUnusable: a plugin in ``plugins.allow`` is missing, or one cannot be loaded.
            SettingsInvalid: a plugin's table in the settings is invalid.
        """
        self._manager = _Manager(PROJECT)
        self._manager.add_hookspecs(hookspecs)
        self._origins: dict[str, PluginOrigin] = {}
        self._started: set[str] = set()
        for entry_point, origin in _chosen(settings):
            self._load(entry_point, origin)
        self._check_hooks()
        self._offered_settings: list[PluginSettings] = list(self.offers("vault_settings").values())
        self.settings = self.check(settings)

    def check(self, settings: Settings) -> Settings:
        """Return the settings with the tables of these plugins validated.

        Raises:
            SettingsInvalid: a table is invalid, or belongs to no loaded plugin.
        """
        return with_plugin_settings(settings, self._offered_settings)

    def settings_schema(self) -> dict[str, Any]:
        """Return the JSON Schema of the settings, with the tables and keys of these plugins."""
        return settings_schema(self._offered_settings)

    @property
    def origins(self) -> Sequence[PluginOrigin]:
        """Every loaded plugin, in order, with its distribution."""
        return tuple(self._origins.values())

    def offers(self, hook: str, **offered: Any) -> dict[str, Any]:
        """Return what the plugins offer under ``hook``, by name, in the order of loading.

        ``offered`` are arguments of the hook besides the settings; without ``stored_keys`` there are no stored keys.

        Raises:
            PluginClash: two plugins claim one name.
            PluginUnusable: the hook raised, or offered an object without a name or without a member of its protocol.
        """
        kind = OFFERS[hook]
        found: dict[str, tuple[Any, str]] = {}
        for plugin_name, offer in self._offered(hook, offered):
            called = self._called(plugin_name)
            for name in _names(offer, kind):
                if not isinstance(name, str) or not name:
                    raise PluginUnusable(f"{called}: {hook} returned a {kind.word} without a name")
                if name in found:
                    first = self._called(found[name][1])
                    raise PluginClash(f"{kind.word} {name!r} is provided by {first} and by {called}: block one of them")
                found[name] = (offer, plugin_name)
            if missing := missing_members(offer, kind.protocol):
                raise PluginUnusable(f"{called}: {_lacks(kind, missing)}")
        return {name: offer for name, (offer, _) in found.items()}

    def process_needs(self, settings: Settings) -> tuple[list[ProcessNeeds], list[str]]:
        """Return what the plugins need outside of the process, and the names of plugins that do not declare it.

        ``settings`` are those of ``check``.

        Raises:
            PluginUnusable: the hook raised, or returned something else.
        """
        needs: list[ProcessNeeds] = []
        for plugin_name, need in self._offered("vault_process_needs", {"settings": settings}):
            if not isinstance(need, ProcessNeeds):
                found = type(need).__name__
                raise PluginUnusable(
                    f"{self._called(plugin_name)}: vault_process_needs returned {found}, not ProcessNeeds"
                )
            needs.append(need)
        told = {each.plugin_name for each in self._manager.hook.vault_process_needs.get_hookimpls()}
        return needs, [name for name in self._origins if name not in told]

    async def start(self, storage: Mapping[str, Any]) -> None:
        """Run ``vault_startup`` in the order of loading, each for at most ``START_SECONDS``."""
        offered = {"settings": self.settings, "storage": MappingProxyType(dict(storage))}
        for name, function, arguments in self._lifecycle("vault_startup"):
            given = {argument: offered[argument] for argument in arguments}
            try:
                await call_plugin(name, partial(function, **given), object, START_SECONDS, passes=(StartUpRefused,))
            except StartUpRefused as error:
                raise PluginUnusable(f"{self._called(name)}: {error}") from error
            except PluginFailed as failed:
                cause = failed.__cause__ or failed
                raise PluginUnusable(f"{self._called(name)}: vault_startup failed: {type(cause).__name__}") from cause
            self._started.add(name)

    async def stop(self) -> list[str]:
        """Run ``vault_shutdown`` in reverse order; return the plugins whose shutdown failed or took ``STOP_SECONDS``.

        A plugin with a ``vault_startup`` that was not reached, or failed, is not shut down.
        """
        failed = []
        starters = {name for name, _, _ in self._lifecycle("vault_startup")}
        for name, function, _ in reversed(self._lifecycle("vault_shutdown")):
            if name in starters - self._started:
                continue
            try:
                await call_plugin(name, function, object, STOP_SECONDS)
            except PluginFailed:  # the other plugins are stopped as well
                failed.append(name)
        return failed

    def _load(self, entry_point: EntryPoint, origin: PluginOrigin) -> None:
        if clash := self._origins.get(entry_point.name):
            raise PluginClash(
                f"plugin {entry_point.name!r} comes from {clash.distribution} and from {origin.distribution}"
            )
        self._origins[entry_point.name] = origin
        try:
            self._manager.register(entry_point.load(), name=entry_point.name)
        except BaseException as error:
            raise PluginUnusable(f"{self._called(entry_point.name)}: {type(error).__name__}: {error}") from error

    def _check_hooks(self) -> None:
        """Reject unknown hooks, wrappers, and lifecycle hooks that are not ``async def``."""
        try:
            self._manager.check_pending()
        except pluggy.PluginValidationError as error:
            raise PluginUnusable(str(error)) from error
        for hook in vars(self._manager.hook).values():
            for implementation in hook.get_hookimpls():
                called = self._called(implementation.plugin_name)
                if implementation.hookwrapper or implementation.wrapper:
                    raise PluginUnusable(f"{called}: {hook.name} must not be a hook wrapper")
                is_async = inspect.iscoroutinefunction(implementation.function)
                if is_async != (hook.name in _LIFECYCLE):
                    expected = "async def" if hook.name in _LIFECYCLE else "a plain def"
                    raise PluginUnusable(f"{called}: {hook.name} must be {expected}")

    def _offered(self, hook: str, more: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        """Call each implementation separately, in loading order, so that each object is attributed to its plugin."""
        offered = {"settings": getattr(self, "settings", None), "stored_keys": NoStoredKeys(), **more}
        order = {name: place for place, name in enumerate(self._origins)}
        implementations = getattr(self._manager.hook, hook).get_hookimpls()
        for implementation in sorted(implementations, key=lambda found: order[found.plugin_name]):
            arguments = {name: offered[name] for name in implementation.argnames}
            try:
                offers = list(implementation.function(**arguments) or ())
            except StartUpRefused:
                raise
            except BaseException as error:
                called = self._called(implementation.plugin_name)
                raise PluginUnusable(f"{called}: {hook} failed: {type(error).__name__}: {error}") from error
            for offer in offers:
                yield implementation.plugin_name, offer

    def _lifecycle(self, hook: str) -> list[tuple[str, Callable[..., Any], Sequence[str]]]:
        order = {name: place for place, name in enumerate(self._origins)}
        found = getattr(self._manager.hook, hook).get_hookimpls()
        return [
            (implementation.plugin_name, implementation.function, implementation.argnames)
            for implementation in sorted(found, key=lambda each: order[each.plugin_name])
        ]

    def _called(self, name: str) -> str:
        origin = self._origins.get(name)
        return f"{name} ({origin.distribution} {origin.version})" if origin else name


def missing_members(offer: Any, protocol: type | None) -> list[str]:
    """Return the members of a protocol that an object lacks, sorted."""
    if protocol is None:
        return []
    expected: set[str] = set()
    for part in protocol.__mro__:
        if part.__module__ not in {"typing", "builtins"}:
            expected |= {name for name in (*vars(part), *vars(part).get("__annotations__", ())) if name[0] != "_"}
    return sorted(name for name in expected if not _has(offer, name))


def _has(offer: Any, name: str) -> bool:
    try:
        return hasattr(offer, name)
    except BaseException:  # noqa: BLE001 - a property of the plugin
        return False


def _lacks(kind: OfferKind, missing: Sequence[str]) -> str:
    protocol = kind.protocol
    where = f"{protocol.__module__}.{protocol.__qualname__}" if protocol else ""
    return f"expected {missing[0]} on the {kind.word} (subclass {where} for the defaults), found none"


def _names(offer: Any, kind: OfferKind) -> Iterable[Any]:
    """Return the names an offer claims; (None,) where it has nothing to claim by."""
    try:
        return tuple(kind.names(offer))
    except BaseException:  # noqa: BLE001 - a property of the plugin
        return (None,)


def _installed() -> dict[tuple[str, str], EntryPoint]:
    return {(point.name, point.value): point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _chosen(settings: Settings) -> list[tuple[EntryPoint, PluginOrigin]]:
    """Return the entry points to load: the built-in ones first, then the others, each group by name."""
    origins = _origins(_installed().values())
    found = sorted(origins, key=lambda each: (each[1].distribution != OWN_DISTRIBUTION, each[1].name))
    allowed = settings.allowed_plugins
    names = [origin.name for _, origin in found]
    for key, listed in (("allow", allowed or ()), ("block", settings.blocked_plugins)):
        if missing := sorted(set(listed) - set(names)):
            hint = did_you_mean(missing[0], names)
            raise PluginUnusable(f"plugins.{key}: expected {missing[0]} to be installed, found no such plugin{hint}")
    if allowed is not None:
        found = [each for each in found if each[1].name in allowed]
    return [each for each in found if each[1].name not in settings.blocked_plugins]


def _origins(points: Iterable[EntryPoint]) -> list[tuple[EntryPoint, PluginOrigin]]:
    """Return each entry point with its origin.

    A distribution parses its metadata, which contain its whole README, each time that its name or version is read.
    """
    read: dict[int, tuple[str, str]] = {id(None): ("unknown", "unknown")}
    found = []
    for point in points:
        distribution = point.dist
        if distribution is not None and id(distribution) not in read:
            read[id(distribution)] = (distribution.name, distribution.version)
        found.append((point, PluginOrigin(point.name, *read[id(distribution)])))
    return found
