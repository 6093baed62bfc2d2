"""The hooks a plugin may implement.

Offering hooks are called once, when the vault is put together, and return objects; the vault then calls those objects
directly. A plugin is a module, or an object, under the entry-point group ``vsqlvault.plugins``:

    [project.entry-points."vsqlvault.plugins"]
    my-plugin = "my_package.my_module"

Implement a hook with the marker ``hookimpl``. Of the arguments of an offering hook or a lifecycle hook take those you need.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pluggy
from pydantic import BaseModel

from vsqlvault.config import Settings
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.report_section import ReportSection
from vsqlvault.interfaces.storage import StorageFactory
from vsqlvault.interfaces.stored_keys import StoredKeys
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.purge import PurgeRecord
from vsqlvault.model.sandbox import ProcessNeeds
from vsqlvault.model.transparency import Checkpoint

PROJECT = "vsqlvault"
ENTRY_POINT_GROUP = "vsqlvault.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@dataclass(frozen=True, slots=True)
class PluginSettings:
    """The table ``[plugins.<name>]`` and the pydantic model it must fit. The model should forbid extra fields."""

    name: str
    model: type[BaseModel]


@hookspec
def vault_settings() -> Iterable[PluginSettings]:  # type: ignore[empty-body]
    """Offer settings of your own. The checked model arrives as ``settings.plugin("<name>")`` in the hooks below.

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
    """Offer ways to recognise a caller. ``stored_keys`` are the API keys that the storage keeps.

    Example:
        class StaffBadge:
            name = "badge"
            credential_headers = ("x-badge",)

            def authenticate(self, presented):
                badge = presented.headers.get("x-badge")
                if badge is None:
                    return None
                if badge != "badge-7":
                    raise CredentialRefused("bad_badge")
                return Principal(app="front-desk", method=self.name, credential_id="badge-7")

            async def reload(self, settings):
                pass

        @hookimpl
        def vault_authenticators(settings, stored_keys):
            return [StaffBadge()]
    """


@hookspec
def vault_storages(settings: Settings) -> Iterable[StorageFactory]:  # type: ignore[empty-body]
    """Offer places to keep things, each under URL schemes of its own.

    Example:
        class Drawers:
            name = "drawers"
            schemes = ("drawer",)

            async def open(self, url):
                raise StorageUnavailable("the drawer is locked")

        @hookimpl
        def vault_storages(settings):
            return [Drawers()]
    """


@hookspec
def vault_access_policies(settings: Settings) -> Iterable[PolicyEvaluator]:  # type: ignore[empty-body]
    """Offer ways to decide, for policies that name them in ``evaluator``.

    Example:
        class Nobody:
            name = "nobody"

            def built_in_policies(self):
                return []

            def check(self, policy):
                pass

            async def evaluate(self, request, policy):
                return Deny("nobody-may")

        @hookimpl
        def vault_access_policies(settings):
            return [Nobody()]
    """


@hookspec
def vault_purge_methods(settings: Settings) -> Iterable[PurgeMethod]:  # type: ignore[empty-body]
    """Offer ways to destroy, for retention policies that name them in ``purge_method``.

    Example:
        class Noughts:
            name = "noughts"
            retires_id = True

            async def plan(self, request):
                return PurgePlan(Overwrite(b"0" * request.entry.value_size), request.reason)

        @hookimpl
        def vault_purge_methods(settings):
            return [Noughts()]
    """


@hookspec
def vault_report_sections(settings: Settings) -> Iterable[ReportSection]:  # type: ignore[empty-body]
    """Offer members of the compliance report.

    Example:
        class Purposes:
            name = "purposes"

            async def write(self, context):
                return {"with_policy": sorted(context.retention_policies)}

        @hookimpl
        def vault_report_sections(settings):
            return [Purposes()]
    """


@hookspec
def vault_process_needs(settings: Settings) -> Iterable[ProcessNeeds]:  # type: ignore[empty-body]
    """Say what you reach outside of the process while the vault serves; an empty list says: nothing.

    Everything else is closed before the storage is opened (``hardening.landlock``), unless a plugin is loaded that does not
    implement this hook, for nobody knows what that one would miss.

    Example:
        @hookimpl
        def vault_process_needs(settings):
            return [ProcessNeeds(writable=("/var/spool/purged",), connect_ports=(6514,))]
    """


@hookspec
def vault_anchors(settings: Settings) -> Iterable[Anchor]:  # type: ignore[empty-body]
    """Offer places outside the vault that know the newest checkpoint, against which the database is held at start.

    Example:
        class Noticeboard:
            name = "noticeboard"

            async def newest(self):
                return None

            def failure(self):
                return None

        @hookimpl
        def vault_anchors(settings):
            return [Noticeboard()]
    """


@hookspec
async def vault_startup(settings: Settings, storage: Mapping[str, Any]) -> None:
    """Begin: the storage is open and the schema is there, nothing is served yet. ``storage`` describes it.

    Plugins start in the order in which they were loaded. An exception stops the start-up; the sentence of a
    ``StartUpRefused`` is shown. Must be ``async def``.

    Example:
        @hookimpl
        async def vault_startup(settings, storage):
            print("on", storage["product"])
    """


@hookspec
async def vault_shutdown() -> None:
    """End: nothing is served any more, the storage is still open. Reverse order of start-up. Must be ``async def``.

    It is not called for a plugin whose own ``vault_startup`` failed or was not reached.

    Example:
        @hookimpl
        async def vault_shutdown():
            print("done")
    """


@hookspec
def vault_access_decided(record: AccessRecord) -> None:
    """Watch: this row of the access log is committed. It runs before the answer leaves: be quick, and do not block.

    An exception is logged and changes nothing.

    Example:
        @hookimpl
        def vault_access_decided(record):
            if record.outcome == "denied":
                print("denied:", record.reason)
    """


@hookspec
def vault_entry_purged(record: PurgeRecord) -> None:
    """Watch: this row of the purge log is committed. As for ``vault_access_decided``.

    Example:
        @hookimpl
        def vault_entry_purged(record):
            print("gone:", record.proof_hash)
    """


@hookspec
def vault_checkpoint_signed(record: Checkpoint) -> None:
    """Watch: this checkpoint of the transparency log is signed and committed. As for ``vault_access_decided``.

    Only the process that sequences is told. It is the way to take a checkpoint to where nobody of the vault can change it.

    Example:
        @hookimpl
        def vault_checkpoint_signed(record):
            print(record.size, record.note)
    """
