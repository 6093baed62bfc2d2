"""The hooks a plugin may implement.

Offering hooks are called once at start and return objects. The vault then calls these objects directly. A plugin is a
module, or an object, under the entry-point group ``vsqlvault.plugins``:

    [project.entry-points."vsqlvault.plugins"]
    my-plugin = "my_package.my_module"

Implement a hook with the marker ``hookimpl``. An implementation may omit arguments that it does not need.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import field
from types import MappingProxyType
from typing import Any

import pluggy

from vsqlvault.config import PluginSettings, Settings
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.command import VaultCommand
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.log_sink import LogSinkKind
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.page import Page
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.report_section import ReportSection
from vsqlvault.interfaces.request_observer import RequestObserver
from vsqlvault.interfaces.storage import StorageFactory
from vsqlvault.interfaces.stored_keys import StoredKeys
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.quick_dataclass import dataclass

PROJECT = "vsqlvault"
ENTRY_POINT_GROUP = "vsqlvault.plugins"

__all__ = ["OFFERS", "PluginSettings", "hookimpl", "hookspec"]

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class OfferKind:
    """What a hook offers: the word for it in messages, and the protocol that every object must have all members of."""

    word: str
    protocol: type | None
    names: Callable[[Any], Iterable[str]] = field(default=lambda offer: (offer.name,))
    """The names that an offer claims; no other plugin may claim them."""


OFFERS: Mapping[str, OfferKind] = MappingProxyType({
    "vault_settings": OfferKind("settings table", None),
    "vault_authenticators": OfferKind("authenticator", Authenticator),
    "vault_storages": OfferKind("URL scheme", StorageFactory, lambda factory: factory.schemes),
    "vault_access_policies": OfferKind("policy evaluator", PolicyEvaluator),
    "vault_purge_methods": OfferKind("purge method", PurgeMethod),
    "vault_report_sections": OfferKind("report section", ReportSection),
    "vault_anchors": OfferKind("anchor", Anchor),
    "vault_observers": OfferKind("observer", Observer),
    "vault_log_sinks": OfferKind("log sink", LogSinkKind),
    "vault_request_observers": OfferKind("request observer", RequestObserver),
    "vault_controls": OfferKind("control", VaultControl),
    "vault_commands": OfferKind("command", VaultCommand),
    "vault_pages": OfferKind("page", Page),
})  # fmt: skip
"""The hooks that offer objects with a name."""


@hookspec
def vault_settings() -> Iterable[PluginSettings]:  # type: ignore[empty-body]
    """Return the plugin's settings models. In the hooks below, ``settings.plugin("<name>")`` is the validated model.

    Example:
        class Hours(BaseModel, extra="forbid"):
            opens: int = 8
            closes: int = 18

        @hookimpl
        def vault_settings():
            return [PluginSettings("hours", Hours)]
    """


@hookspec
def vault_authenticators(  # type: ignore[empty-body]
    settings: Settings, stored_keys: StoredKeys
) -> Iterable[Authenticator]:
    """Return authenticators. ``stored_keys`` gives access to the API keys in the storage.

    Example:
        class BadgeAuthenticator(Authenticator):
            name = "badge"
            credential_headers = ("x-badge",)

            def authenticate(self, presented):
                badge = presented.headers.get("x-badge")
                if badge is None:
                    return None
                if badge != "badge-7":
                    raise CredentialRefused("bad_badge")
                return Principal(app="front-desk", method=self.name, credential_id="badge-7")

        @hookimpl
        def vault_authenticators(settings, stored_keys):
            return [BadgeAuthenticator()]
    """


@hookspec
def vault_storages(settings: Settings) -> Iterable[StorageFactory]:  # type: ignore[empty-body]
    """Return storages, each with its own URL schemes.

    Example:
        class ExampleStorage(StorageFactory):
            name = "example"
            schemes = ("example",)

            async def open(self, url):
                raise StorageUnavailable("not implemented")

        @hookimpl
        def vault_storages(settings):
            return [ExampleStorage()]
    """


@hookspec
def vault_access_policies(settings: Settings) -> Iterable[PolicyEvaluator]:  # type: ignore[empty-body]
    """Return policy evaluators, which access policies select with ``evaluator``.

    Example:
        class DenyAll(PolicyEvaluator):
            name = "deny-all"

            def built_in_policies(self):
                return []

            def check(self, policy):
                pass

            async def evaluate(self, request, policy):
                return Deny("always-denied")

        @hookimpl
        def vault_access_policies(settings):
            return [DenyAll()]
    """


@hookspec
def vault_purge_methods(settings: Settings) -> Iterable[PurgeMethod]:  # type: ignore[empty-body]
    """Return purge methods, which retention policies select with ``purge_method``.

    Example:
        class ZeroFill(PurgeMethod):
            name = "zero-fill"
            retires_id = True

            async def plan(self, request):
                return PurgePlan(Overwrite(b"0" * request.entry.value_size), request.reason)

        @hookimpl
        def vault_purge_methods(settings):
            return [ZeroFill()]
    """


@hookspec
def vault_report_sections(settings: Settings) -> Iterable[ReportSection]:  # type: ignore[empty-body]
    """Return sections of the compliance report.

    Example:
        class Purposes(ReportSection):
            name = "purposes"

            async def write(self, context):
                return {"with_policy": sorted(context.retention_policies)}

        @hookimpl
        def vault_report_sections(settings):
            return [Purposes()]
    """


@hookspec
def vault_controls(settings: Settings) -> Iterable[VaultControl]:  # type: ignore[empty-body]
    """Offer controls: continuous checks of something the vault's compliance depends on.

    Example:
        class DiskFree(VaultControl):
            name = "disk_free"
            requirements = ("10.7.2",)

            async def check(self, now):
                return Check(ControlState.OK, "the disk has room")

        @hookimpl
        def vault_controls(settings):
            return [DiskFree()]
    """


@hookspec
def vault_commands() -> Iterable[VaultCommand]:  # type: ignore[empty-body]
    """Offer subcommands of ``vsql-vault``.

    Example:
        class Hello(VaultCommand):
            name = "hello"
            help = "print the address of the server"

            def run(self, options, settings):
                print(settings.server.listen_addr)
                return 0

        @hookimpl
        def vault_commands():
            return [Hello()]
    """


@hookspec
def vault_pages(settings: Settings) -> Iterable[Page]:  # type: ignore[empty-body]
    """Offer pages for browsers that are signed in.

    Example:
        class Hello(Page):
            name = "hello"
            path = "/hello"
            title = "Hello"
            template = "<p>You are {{ caller.app }}, on {{ product }}.</p>"

            async def show(self, request):
                return {"product": "VibeSQL Vault"}

        @hookimpl
        def vault_pages(settings):
            return [Hello()]
    """


@hookspec
def vault_process_needs(settings: Settings) -> Iterable[ProcessNeeds]:  # type: ignore[empty-body]
    """Declare what the plugin accesses outside of the process while the vault serves. An empty list means nothing.

    Landlock (``hardening.landlock``) denies everything else before the storage is opened. If any plugin does not implement
    this hook, Landlock is not applied.

    Example:
        @hookimpl
        def vault_process_needs(settings):
            return [ProcessNeeds(writable=("/var/spool/purged",), connect_ports=(6514,))]
    """


@hookspec
def vault_anchors(settings: Settings) -> Iterable[Anchor]:  # type: ignore[empty-body]
    """Return anchors, which read the newest checkpoint outside of the vault. At start the database is compared with it.

    Example:
        class ExampleAnchor(Anchor):
            name = "example"

            async def newest(self):
                return None

        @hookimpl
        def vault_anchors(settings):
            return [ExampleAnchor()]
    """


@hookspec
async def vault_startup(settings: Settings, storage: Mapping[str, Any]) -> None:
    """Called after the storage is opened and migrated, before anything is served. ``storage`` describes the storage.

    Plugins are called in loading order. An exception stops the start. The message of a ``StartUpRefused`` is shown. Must be
    ``async def``.

    Example:
        @hookimpl
        async def vault_startup(settings, storage):
            print("on", storage["product"])
    """


@hookspec
async def vault_shutdown() -> None:
    """Called after the last request, while the storage is still open. Must be ``async def``.

    Plugins are called in reverse order of the start. A plugin whose ``vault_startup`` failed or was not reached is skipped.

    Example:
        @hookimpl
        async def vault_shutdown():
            print("done")
    """


@hookspec
def vault_observers(settings: Settings) -> Iterable[Observer]:  # type: ignore[empty-body]
    """Return observers of committed rows and checkpoints.

    Example:
        class Denials(Observer):
            name = "denials"

            async def access(self, records):
                for record in records:
                    if record.outcome == "denied":
                        print("denied:", record.reason)

        @hookimpl
        def vault_observers(settings):
            return [Denials()]
    """


@hookspec
def vault_log_sinks(settings: Settings) -> Iterable[LogSinkKind]:  # type: ignore[empty-body]
    """Return kinds of destinations for ``[[export]]``.

    Example:
        class Printed(LogSink):
            async def deliver(self, rows):
                for row in rows:
                    print(row.line().decode())

        class Printer(LogSinkKind):
            name = "print"
            model = Section

            def open(self, name, chosen):
                return Printed()

        @hookimpl
        def vault_log_sinks(settings):
            return [Printer()]
    """


@hookspec
def vault_request_observers(settings: Settings) -> Iterable[RequestObserver]:  # type: ignore[empty-body]
    """Return observers of answered requests.

    Example:
        class Slow(RequestObserver):
            name = "slow"

            def answered(self, request):
                if request.seconds > 1:
                    print("slow:", request.method, request.route)

        @hookimpl
        def vault_request_observers(settings):
            return [Slow()]
    """
