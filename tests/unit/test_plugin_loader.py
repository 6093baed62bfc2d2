"""Plugins: what is loaded, in which order, and what stops the start."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pluggy
import pytest
from pydantic import BaseModel

from vsqlvault.config import Settings, load_settings
from vsqlvault.errors import PluginClash, PluginUnusable, SettingsInvalid, StartUpRefused
from vsqlvault.hookspecs import OFFERS, PluginSettings, hookimpl
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime import open_storage

BUILT_IN = [
    "access-rules",
    "anchor-file",
    "auth-api-key",
    "auth-jwt",
    "auth-mtls",
    "log-sinks",
    "purge-methods",
    "report-evidence",
    "storage-postgresql",
    "storage-sqlite",
    "telemetry-otel",
]


class Distribution:
    def __init__(self, name: str, version: str = "1.0") -> None:
        self.name = name
        self.version = version


class Point:
    """An entry point that loads an object made by a test, or raises it."""

    def __init__(self, name: str, plugin: Any, distribution: str = "acme-plugins") -> None:
        self.name = name
        self.value = f"{distribution}.{name}"
        self.plugin = plugin
        self.dist = Distribution(distribution)

    def load(self) -> Any:
        if isinstance(self.plugin, BaseException):
            raise self.plugin
        return self.plugin


class Named(PurgeMethod):
    retires_id = False

    def __init__(self, name: Any) -> None:
        self.name = name


class Nothing:
    """A plugin that implements nothing."""


def load(**environment: str) -> Plugins:
    return Plugins(load_settings(None, {f"VSQL_VAULT_{name.upper()}": text for name, text in environment.items()}))


def names(plugins: Plugins) -> list[str]:
    return [origin.name for origin in plugins.origins]


class TestLoading:
    def test_the_built_ins_are_there_in_the_order_of_their_names(self) -> None:
        plugins = load()
        assert names(plugins)[: len(BUILT_IN)] == BUILT_IN
        assert {origin.distribution for origin in plugins.origins[: len(BUILT_IN)]} == {"vsqlvault"}

    def test_others_come_after_the_built_ins_in_the_order_of_their_names(self, install) -> None:
        install(Point("zeta", Nothing()), Point("alpha", Nothing()), Point("aaa", Nothing(), "other"))
        assert names(load()) == [*BUILT_IN, "aaa", "alpha", "zeta"]

    def test_an_origin_names_distribution_and_version(self, install) -> None:
        install(Point("alpha", Nothing()))
        origin = load().origins[-1]
        assert (origin.name, origin.distribution, origin.version) == ("alpha", "acme-plugins", "1.0")

    def test_an_entry_point_that_is_listed_twice_is_loaded_once(self, install) -> None:
        plugin = Nothing()
        install(Point("alpha", plugin), Point("alpha", plugin))
        assert names(load()) == [*BUILT_IN, "alpha"]

    def test_one_name_from_two_distributions_is_a_clash_that_names_both(self, install) -> None:
        install(Point("alpha", Nothing(), "one"), Point("alpha", Nothing(), "two"))
        with pytest.raises(PluginClash, match=r"alpha.*one.*two"):
            load()

    @pytest.mark.parametrize(
        "error",
        [
            ImportError("no module"),
            SyntaxError("bad"),
            RuntimeError("boom"),
            SystemExit(3),
            AttributeError("x"),
            ZeroDivisionError(),
        ],
        ids=lambda error: type(error).__name__,
    )
    def test_a_plugin_that_cannot_be_loaded_stops_the_start_and_is_named(self, install, error) -> None:
        install(Point("broken", error))
        with pytest.raises(PluginUnusable, match=r"broken \(acme-plugins 1.0\)"):
            load()

    def test_one_object_under_two_names_is_refused(self, install) -> None:
        plugin = Nothing()
        install(Point("one", plugin), Point("two", plugin))
        with pytest.raises(PluginUnusable, match="two"):
            load()


class TestAllowAndBlock:
    def test_only_what_is_allowed_is_loaded(self, install) -> None:
        install(Point("alpha", RuntimeError("must not be loaded")))
        assert names(load(plugins__allow='["storage-sqlite", "access-rules"]')) == ["access-rules", "storage-sqlite"]

    def test_a_plugin_that_is_allowed_and_missing_stops_the_start(self) -> None:
        with pytest.raises(PluginUnusable, match="gamma"):
            load(plugins__allow='["storage-sqlite", "gamma"]')

    def test_an_allowed_plugin_that_is_misspelled_comes_with_the_nearest(self) -> None:
        with pytest.raises(
            PluginUnusable, match=r"storage-sqlit to be installed, .* \(did you mean storage-sqlite\?\)"
        ):
            load(plugins__allow='["storage-sqlit"]')

    def test_a_blocked_plugin_that_is_misspelled_stops_the_start_with_the_nearest(self) -> None:
        with pytest.raises(PluginUnusable, match=r"plugins.block: expected auth-jwtt .* \(did you mean auth-jwt\?\)"):
            load(plugins__block='["auth-jwtt"]')

    def test_nothing_allowed_is_nothing_loaded(self) -> None:
        assert names(load(plugins__allow="[]")) == []

    def test_what_is_blocked_is_not_loaded(self, install) -> None:
        install(Point("broken", RuntimeError("must not be loaded")))
        assert names(load(plugins__block='["broken", "report-evidence"]')) == [
            n for n in BUILT_IN if n != "report-evidence"
        ]

    def test_what_is_allowed_and_blocked_is_not_loaded(self) -> None:
        assert names(load(plugins__allow='["storage-sqlite"]', plugins__block='["storage-sqlite"]')) == []

    def test_a_clash_ends_when_one_is_blocked(self, install, offering) -> None:
        install(mine=offering("vault_purge_methods", Named("crypto-shred")))
        with pytest.raises(PluginClash):
            load().offers("vault_purge_methods")
        assert set(load(plugins__block='["purge-methods"]').offers("vault_purge_methods")) == {"crypto-shred"}


class TestHooks:
    def test_a_hook_that_does_not_exist_stops_the_start(self, install) -> None:
        class Plugin:
            @hookimpl
            def vault_does_not_exist(self) -> None: ...

        install(alpha=Plugin())
        with pytest.raises(PluginUnusable, match="vault_does_not_exist"):
            load()

    def test_an_argument_that_the_hook_does_not_have_stops_the_start(self, install) -> None:
        class Plugin:
            @hookimpl
            def vault_purge_methods(self, settings: Any, other: Any) -> list[Any]:
                return []

        install(alpha=Plugin())
        with pytest.raises(PluginUnusable, match="alpha"):
            load()

    @pytest.mark.parametrize("kind", ["wrapper", "hookwrapper"])
    def test_a_wrapper_is_refused(self, install, kind) -> None:
        class Plugin:
            @pluggy.HookimplMarker("vsqlvault")(**{kind: True})
            def vault_purge_methods(self) -> Any:
                return (yield)

        install(alpha=Plugin())
        with pytest.raises(PluginUnusable, match=r"alpha \(acme-plugins 1.0\).*wrapper"):
            load()

    @pytest.mark.parametrize("hook", ["vault_startup", "vault_shutdown"])
    def test_a_lifecycle_hook_that_is_not_async_is_refused(self, install, offering, hook) -> None:
        install(alpha=offering(hook))
        with pytest.raises(PluginUnusable, match=f"alpha.*{hook} must be async def"):
            load()

    @pytest.mark.parametrize("hook", ["vault_purge_methods", "vault_settings"])
    def test_any_other_hook_that_is_async_is_refused(self, install, hook) -> None:
        async def offer() -> list[Any]:
            return []

        plugin = Nothing()
        setattr(plugin, hook, hookimpl(specname=hook)(offer))
        install(alpha=plugin)
        with pytest.raises(PluginUnusable, match=f"alpha.*{hook} must be a plain def"):
            load()

    def test_a_hook_that_is_optional_may_be_unknown(self, install) -> None:
        class Plugin:
            @hookimpl(optionalhook=True)
            def vault_of_a_later_version(self) -> None: ...

        install(alpha=Plugin())
        assert names(load())[-1] == "alpha"


class TestOffers:
    def test_offers_come_by_name_in_the_order_of_loading(self, install, offering) -> None:
        install(
            zeta=offering("vault_purge_methods", Named("a")),
            alpha=offering("vault_purge_methods", Named("z"), Named("b")),
        )
        found = load().offers("vault_purge_methods")
        assert list(found) == ["physical-delete", "crypto-shred", "retention-expire", "z", "b", "a"]

    def test_one_name_offered_twice_is_a_clash_that_names_both(self, install, offering) -> None:
        install(one=offering("vault_purge_methods", Named("burn")), two=offering("vault_purge_methods", Named("burn")))
        with pytest.raises(PluginClash, match=r"burn.*one \(acme-plugins 1.0\).*two \(acme-plugins 1.0\)"):
            load().offers("vault_purge_methods")

    @pytest.mark.parametrize("name", [None, "", 7, ["x"]])
    def test_an_offer_without_a_name_stops_the_start(self, install, offering, name) -> None:
        install(alpha=offering("vault_purge_methods", Named(name)))
        with pytest.raises(PluginUnusable, match=r"alpha \(acme-plugins 1.0\)"):
            load().offers("vault_purge_methods")

    def test_an_offer_that_has_no_name_at_all_stops_the_start(self, install, offering) -> None:
        install(alpha=offering("vault_purge_methods", object()))
        with pytest.raises(PluginUnusable, match="alpha"):
            load().offers("vault_purge_methods")

    async def test_a_storage_without_schemes_stops_the_start(self, install, offering) -> None:
        install(alpha=offering("vault_storages", Named("drawers")))
        with pytest.raises(PluginUnusable, match="alpha"):
            await open_storage(load())

    async def test_a_scheme_that_two_storages_claim_is_a_clash(self, install, offering) -> None:
        factory = Named("drawers")
        factory.schemes = ("sqlite",)
        install(alpha=offering("vault_storages", factory))
        with pytest.raises(PluginClash, match="sqlite"):
            await open_storage(load())

    async def test_a_scheme_that_nobody_claims_is_said_without_the_rest_of_the_url(self) -> None:
        with pytest.raises(SettingsInvalid, match=r"sqlite:.*found drawer:") as refused:
            await open_storage(load(storage__database_url="drawer://jane:hunter2@host/db"))
        assert "hunter2" not in str(refused.value)

    @pytest.mark.parametrize(
        "error",
        [
            TypeError("x"),
            KeyError("x"),
            OSError("x"),
            ValueError("x"),
            RuntimeError("x"),
            ZeroDivisionError(),
            SystemExit(0),
        ],
        ids=lambda error: type(error).__name__,
    )
    @pytest.mark.parametrize("hook", ["vault_purge_methods", "vault_settings"])
    def test_a_hook_that_raises_stops_the_start_with_a_sentence(self, install, hook, error) -> None:
        def implementation() -> list[Any]:
            raise error

        plugin = Nothing()
        setattr(plugin, hook, hookimpl(specname=hook)(implementation))
        install(alpha=plugin)
        with pytest.raises(PluginUnusable, match=r"alpha \(acme-plugins 1.0\)"):
            load().offers(hook)

    @pytest.mark.parametrize("given", [7, "text", Named("x")], ids=["a number", "a text", "one object"])
    def test_a_hook_that_returns_no_list_stops_the_start(self, install, given) -> None:
        plugin = Nothing()
        plugin.vault_purge_methods = hookimpl(specname="vault_purge_methods")(lambda: given)
        install(alpha=plugin)
        with pytest.raises(PluginUnusable, match="alpha"):
            load().offers("vault_purge_methods")

    def test_an_error_of_the_vault_comes_as_it_is(self, install) -> None:
        def implementation() -> list[Any]:
            raise SettingsInvalid("auth.x: expected one thing, found another")

        plugin = Nothing()
        plugin.vault_authenticators = hookimpl(specname="vault_authenticators")(implementation)
        install(alpha=plugin)
        with pytest.raises(SettingsInvalid, match=r"auth\.x"):
            load().offers("vault_authenticators", stored_keys=NoStoredKeys())

    @pytest.mark.parametrize("hook", [name for name, kind in OFFERS.items() if kind.protocol])
    def test_an_offer_that_lacks_a_member_of_its_protocol_stops_the_start(self, install, offering, hook) -> None:
        class Bare:
            name = "bare"
            schemes = ("bare",)

        install(alpha=offering(hook, Bare()))
        protocol = OFFERS[hook].protocol
        with pytest.raises(
            PluginUnusable, match=rf"alpha .*: expected \w+ on the .*{protocol.__name__} for the defaults"
        ):
            load().offers(hook)

    def test_a_hook_that_offers_nothing_offers_nothing(self, install) -> None:
        plugin = Nothing()
        plugin.vault_purge_methods = hookimpl(specname="vault_purge_methods")(lambda: None)
        install(alpha=plugin)
        assert len(load().offers("vault_purge_methods")) == 3


class TestProcessNeeds:
    def test_every_built_in_says_what_it_needs(self) -> None:
        plugins = load()
        needs, undeclared = plugins.process_needs(plugins.settings)
        assert undeclared == []
        assert {path for need in needs for path in need.writable} == {str(Path.cwd())}

    def test_a_plugin_that_says_nothing_is_named(self, install) -> None:
        class Frugal:
            @hookimpl
            def vault_process_needs(self) -> list[ProcessNeeds]:
                return []

        class Online:
            @hookimpl
            def vault_process_needs(self, settings: Settings) -> list[ProcessNeeds]:
                return [ProcessNeeds(connect_ports=(settings.storage.max_batch,))]

        install(frugal=Frugal(), online=Online(), silent=Nothing())
        plugins = load(plugins__allow='["frugal", "online", "silent"]')
        needs, undeclared = plugins.process_needs(plugins.settings)
        assert (needs, undeclared) == ([ProcessNeeds(connect_ports=(256,))], ["silent"])

    def test_needs_of_another_type_stop_the_start(self, install) -> None:
        class Vague:
            @hookimpl
            def vault_process_needs(self) -> list[str]:
                return ["everything"]

        install(Point("vague", Vague()))
        plugins = load(plugins__allow='["vague"]')
        with pytest.raises(PluginUnusable, match=r"vague \(acme-plugins 1.0\): vault_process_needs returned str"):
            plugins.process_needs(plugins.settings)


class Hours(BaseModel, extra="forbid", strict=True):
    opens: int = 8
    password: str = ""


class TestSettings:
    @pytest.fixture
    def hours(self, install, offering) -> None:
        install(hours=offering("vault_settings", PluginSettings("hours", Hours)))

    def test_a_table_arrives_as_its_checked_model(self, hours) -> None:
        assert load(plugins__hours="{opens = 9}").settings.plugin("hours") == Hours(opens=9)

    def test_a_table_that_is_left_out_is_its_defaults(self, hours) -> None:
        assert load().settings.plugin("hours") == Hours()

    @pytest.mark.parametrize(("table", "named"), [("{opens = 'x'}", "opens"), ("{closes = 9}", "closes")])
    def test_a_table_that_does_not_fit_is_one_sentence(self, hours, table, named) -> None:
        with pytest.raises(SettingsInvalid, match=rf"^plugins\.hours\.{named}: expected .*, found "):
            load(plugins__hours=table)

    def test_a_password_in_a_table_is_not_shown(self, hours) -> None:
        with pytest.raises(SettingsInvalid, match="password") as refused:
            load(plugins__hours="{password = 11223344}")
        assert "11223344" not in str(refused.value)

    def test_a_table_of_nobody_is_refused(self) -> None:
        with pytest.raises(SettingsInvalid, match=r"plugins\.gamma"):
            load(plugins__gamma="{}")


class TestLifecycle:
    def plugin(self, log: list[str], name: str, *, fail: str = "") -> Any:
        class Plugin:
            @hookimpl
            async def vault_startup(self, storage: Any) -> None:
                log.append(f"start {name} on {storage['product']}")
                if fail == "start":
                    raise RuntimeError("secret words")

            @hookimpl
            async def vault_shutdown(self) -> None:
                log.append(f"stop {name}")
                if fail == "stop":
                    raise RuntimeError

        return Plugin()

    async def test_plugins_start_in_order_and_stop_in_reverse(self, install) -> None:
        log: list[str] = []
        install(beta=self.plugin(log, "beta"), alpha=self.plugin(log, "alpha"))
        plugins = load()
        await plugins.start({"product": "SQLite"})
        assert await plugins.stop() == []
        assert log == ["start alpha on SQLite", "start beta on SQLite", "stop beta", "stop alpha"]

    async def test_a_plugin_that_does_not_start_stops_the_start_and_is_named(self, install) -> None:
        install(alpha=self.plugin([], "alpha", fail="start"))
        with pytest.raises(PluginUnusable, match=r"alpha \(acme-plugins 1.0\).*RuntimeError") as refused:
            await load().start({"product": "x"})
        assert "secret" not in str(refused.value)

    async def test_a_plugin_that_does_not_stop_does_not_keep_the_others_from_it(self, install) -> None:
        log: list[str] = []
        install(alpha=self.plugin(log, "alpha"), beta=self.plugin(log, "beta", fail="stop"))
        plugins = load()
        await plugins.start({"product": "x"})
        log.clear()
        assert await plugins.stop() == ["beta"]
        assert log == ["stop beta", "stop alpha"]

    async def test_a_plugin_whose_start_was_not_reached_or_failed_is_not_stopped(self, install) -> None:
        log: list[str] = []
        install(
            alpha=self.plugin(log, "alpha"),
            beta=self.plugin(log, "beta", fail="start"),
            gamma=self.plugin(log, "gamma"),
        )
        plugins = load()
        with pytest.raises(PluginUnusable):
            await plugins.start({"product": "x"})
        log.clear()
        await plugins.stop()
        assert log == ["stop alpha"]

    async def test_a_plugin_takes_only_the_arguments_it_needs(self, install) -> None:
        log: list[str] = []

        class Plugin:
            @hookimpl
            async def vault_startup(self) -> None:
                log.append("started")

        install(alpha=Plugin())
        await load().start({"product": "x"})
        assert log == ["started"]

    async def test_in_the_vault_plugins_run_from_start_to_end(self, install, make_vault, runner) -> None:
        log: list[str] = []
        install(alpha=self.plugin(log, "alpha"))
        await make_vault()
        assert log == ["start alpha on SQLite"]

    async def test_a_vault_whose_plugin_does_not_start_does_not_start(self, install, make_vault) -> None:
        install(alpha=self.plugin([], "alpha", fail="start"))
        with pytest.raises(StartUpRefused):
            await make_vault()
