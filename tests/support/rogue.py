"""A plugin of every kind that does a bad thing where a file tells it to: ``<object>.<method> <bad thing>``."""

from __future__ import annotations

import asyncio
import inspect
import os
import time
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from vsqlvault.config import Section, Settings
from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.log_sink import LogSink, LogSinkKind
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.report_section import ReportSection
from vsqlvault.interfaces.request_observer import RequestObserver
from vsqlvault.interfaces.storage import Storage, StorageFactory
from vsqlvault.model.access import Allow
from vsqlvault.model.control import Check, ControlState
from vsqlvault.model.principal import Principal
from vsqlvault.model.purge import PurgePlan, Remove

RAISED: dict[str, type[BaseException]] = {
    "raise Exception": Exception,
    "raise SystemExit": SystemExit,
    "raise CancelledError": asyncio.CancelledError,
    "raise GeneratorExit": GeneratorExit,
    "raise KeyboardInterrupt": KeyboardInterrupt,
}
OTHERS = ("hang", "block", "None", "wrong type", "mutate", "swallow cancellation")
BLOCK_SECONDS = 2.5
FOR_EVER = 3600


def ordered(where: str) -> str | None:
    orders = Path(os.environ["ROGUE"])
    place, _, how = orders.read_text("utf-8").partition(" ")
    if place != where:
        return None
    orders.with_suffix(".reached").write_text(f"{place} {how}", "utf-8")
    return how


def plainly(where: str, good: Any, *arguments: Any) -> Any:
    """Return the good answer, or do a bad thing that needs no waiting."""
    how = ordered(where)
    if how in {"hang", "block", "swallow cancellation"}:
        _block()
    return _misdone(how, good, *arguments)


def _block() -> None:
    time.sleep(float(os.environ.get("ROGUE_BLOCK_SECONDS", BLOCK_SECONDS)))


def _misdone(how: str | None, good: Any, *arguments: Any) -> Any:
    """Return the good answer or a bad one, or raise, or change the arguments."""
    if how in RAISED:
        raise RAISED[how]
    if how == "mutate":
        for argument in arguments:
            _mutate(argument)
    return {"None": None, "wrong type": object()}.get(how or "", good)


async def waiting(where: str, good: Any, *arguments: Any) -> Any:
    """Return the good answer, or do a bad thing."""
    how = ordered(where)
    await asyncio.sleep(0)
    await _misspent(how)
    return _misdone(how, good, *arguments)


async def _misspent(how: str | None) -> None:
    """Take for ever, or block the event loop, where that is ordered."""
    while how in {"hang", "swallow cancellation"}:
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            if how == "hang":
                raise
    if how == "block":
        _block()


def _mutate(argument: Any) -> None:
    """Empty every mapping and list that can be reached, as far as that is allowed."""
    names = getattr(argument, "__dataclass_fields__", ())
    for member in (argument, *(getattr(argument, name) for name in names)):
        if hasattr(member, "clear"):
            member.clear()


class RogueAuthenticator(Authenticator):
    name = "rogue"
    credential_headers = ("x-rogue",)

    async def _answer(self, presented: Any) -> Any:
        good = Principal("rogue-app", self.name, "rogue", purposes=frozenset({"card"}))
        return await waiting("authenticator.authenticate", good, presented, presented.headers)

    def authenticate(self, presented: Any) -> Any:
        return self._answer(presented) if "x-rogue" in presented.headers else None

    async def reload(self, settings: Any) -> None:
        await waiting("authenticator.reload", None, settings)

    def credentials(self) -> Any:
        return plainly("authenticator.credentials", ())


class RogueEvaluator(PolicyEvaluator):
    name = "rogue"

    def built_in_policies(self) -> Any:
        return []

    def check(self, policy: Any) -> None:
        plainly("evaluator.check", None, policy)

    async def evaluate(self, request: Any, policy: Any) -> Any:
        return await waiting("evaluator.evaluate", Allow(), request, policy)


class RogueMethod(PurgeMethod):
    name = "rogue"
    retires_id = False

    async def plan(self, request: Any) -> Any:
        return await waiting("method.plan", PurgePlan(Remove(), request.reason), request)

    async def purged(self, records: Any) -> None:
        await waiting("method.purged", None, records)


class RogueSection(ReportSection):
    name = "rogue"

    async def write(self, context: Any) -> Any:
        return await waiting("section.write", {"good": True}, context)


class RogueAnchor(Anchor):
    name = "rogue"

    def keep(self, checkpoint: Any) -> None:
        plainly("anchor.keep", None, checkpoint)

    async def newest(self) -> Any:
        return await waiting("anchor.newest", None)

    def failure(self) -> Any:
        return plainly("anchor.failure", None)


class RogueControl(VaultControl):
    name = "rogue"

    async def check(self, now: Any) -> Any:
        return await waiting("control.check", Check(ControlState.OK, "fine"))


STORAGE_METHODS = [
    name
    for name, member in inspect.getmembers(Storage)
    if not name.startswith("_") and (inspect.isfunction(member) or isinstance(member, property))
]
"""Every method and property of the protocol, so that a new one is in the table without a change here."""


def ordered_once(where: str) -> str | None:
    """Return what to do now. Orders that end with ``once`` are followed once: other callers get good answers."""
    trace = Path(os.environ["ROGUE"]).with_suffix(".trace")
    if trace.exists():
        with trace.open("a", encoding="utf-8") as lines:
            lines.write(f"{where}\n")
    how = ordered(where)
    if how is None or not how.endswith(" once"):
        return how
    Path(os.environ["ROGUE"]).write_text("nothing", "utf-8")
    return how.removesuffix(" once")


class RogueStorage:
    """Calls another storage, and does a bad thing in place of a call, or with its answer."""

    def __init__(self, inner: Any) -> None:
        self.flights = inner.flights
        self._inner = inner
        for name in STORAGE_METHODS:
            member = getattr(Storage, name)
            if not isinstance(member, property):
                setattr(self, name, self._waiting(name) if inspect.iscoroutinefunction(member) else self._plain(name))

    def _plain(self, name: str) -> Any:
        return lambda: _done_at_once(name, getattr(self._inner, name)())

    def _waiting(self, name: str) -> Any:
        async def call(*arguments: Any, **named: Any) -> Any:
            how = ordered_once(f"storage.{name}")
            await _misspent(how)
            answer = await getattr(self._inner, name)(*arguments, **named)
            return _misdone(how, answer, *arguments, *named.values())

        return call


def _done_at_once(name: str, good: Any) -> Any:
    how = ordered_once(f"storage.{name}")
    if how in {"hang", "block", "swallow cancellation"}:
        _block()
    return _misdone(how, good)


def _rogue_property(name: str) -> property:
    return property(lambda storage: _done_at_once(name, getattr(storage._inner, name)))


for _name in STORAGE_METHODS:
    if isinstance(getattr(Storage, _name), property):
        setattr(RogueStorage, _name, _rogue_property(_name))


class RogueFactory(StorageFactory):
    name = "rogue"
    schemes = ("rogue",)

    async def open(self, url: str) -> Any:
        (point,) = entry_points(group="vsqlvault.plugins", name="storage-sqlite")
        factory = point.load().vault_storages(Settings())[0]
        return RogueStorage(await factory.open(f"sqlite:{url.partition(':')[2]}"))


_started: list[asyncio.Task[None]] = []


def start_a_task() -> None:
    """Start a task that nobody waits for, as a plugin may."""
    task = asyncio.ensure_future(waiting("task.step", None))
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    _started[:] = [each for each in _started if not each.done()] + [task]
    asyncio.get_running_loop().call_soon(plainly, "callback.call", None)


class RogueObserver(Observer):
    name = "rogue"

    async def access(self, records: Any) -> None:
        start_a_task()
        await waiting("observer.access", None, records)

    async def purges(self, records: Any) -> None:
        await waiting("observer.purges", None, records)

    async def checkpoints(self, records: Any) -> None:
        await waiting("observer.checkpoints", None, records)


@hookimpl
def vault_authenticators(settings: Any) -> Any:
    return plainly("hook.vault_authenticators", [RogueAuthenticator()], settings, settings.plugins)


@hookimpl
def vault_access_policies() -> Any:
    return plainly("hook.vault_access_policies", [RogueEvaluator()])


@hookimpl
def vault_purge_methods() -> Any:
    return plainly("hook.vault_purge_methods", [RogueMethod()])


@hookimpl
def vault_report_sections() -> Any:
    return plainly("hook.vault_report_sections", [RogueSection()])


@hookimpl
def vault_anchors() -> Any:
    return plainly("hook.vault_anchors", [RogueAnchor()])


@hookimpl
def vault_controls() -> Any:
    return plainly("hook.vault_controls", [RogueControl()])


@hookimpl
def vault_observers() -> Any:
    return plainly("hook.vault_observers", [RogueObserver()])


class RogueSink(LogSink):
    async def deliver(self, rows: Any) -> None:
        await waiting("sink.deliver", None, rows)


class RogueSinks(LogSinkKind):
    name = "rogue"
    model = Section

    def open(self, name: str, chosen: Any) -> Any:
        return plainly("sinks.open", RogueSink(), chosen)


@hookimpl
def vault_log_sinks(settings: Any) -> Any:
    return plainly("hook.vault_log_sinks", [RogueSinks()], settings.export)


class RogueRequestObserver(RequestObserver):
    name = "rogue"

    def answered(self, request: Any) -> None:
        plainly("request_observer.answered", None, request)


@hookimpl
def vault_request_observers() -> Any:
    return plainly("hook.vault_request_observers", [RogueRequestObserver()])


@hookimpl
def vault_storages() -> Any:
    return plainly("hook.vault_storages", [RogueFactory()])


@hookimpl
def vault_settings() -> Any:
    return plainly("hook.vault_settings", [])


@hookimpl
async def vault_startup(settings: Any, storage: Any) -> None:
    await waiting("hook.vault_startup", None, settings.plugins, storage)


@hookimpl
async def vault_shutdown() -> None:
    await waiting("hook.vault_shutdown", None)
