"""A plugin of every kind that does a bad thing where a file tells it to: ``<object>.<method> <bad thing>``."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from vsqlvault.hookspecs import hookimpl
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.observer import Observer
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.report_section import ReportSection
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
    if how in RAISED:
        raise RAISED[how]
    if how in {"hang", "block", "swallow cancellation"}:
        time.sleep(float(os.environ.get("ROGUE_BLOCK_SECONDS", BLOCK_SECONDS)))
    if how == "mutate":
        for argument in arguments:
            _mutate(argument)
    return {"None": None, "wrong type": object()}.get(how or "", good)


async def waiting(where: str, good: Any, *arguments: Any) -> Any:
    """Return the good answer, or do a bad thing."""
    how = ordered(where)
    await asyncio.sleep(0)
    while how in {"hang", "swallow cancellation"}:
        try:
            await asyncio.sleep(FOR_EVER)
        except asyncio.CancelledError:
            if how == "hang":
                raise
    return plainly(where, good, *arguments)


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


@hookimpl
def vault_settings() -> Any:
    return plainly("hook.vault_settings", [])


@hookimpl
async def vault_startup(settings: Any, storage: Any) -> None:
    await waiting("hook.vault_startup", None, settings.plugins, storage)


@hookimpl
async def vault_shutdown() -> None:
    await waiting("hook.vault_shutdown", None)
