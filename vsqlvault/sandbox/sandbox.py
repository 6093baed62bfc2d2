"""The steps in their order, and what became of each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from vsqlvault.config import HardeningSettings, Settings
from vsqlvault.errors import HardeningUnavailable, SettingsInvalid
from vsqlvault.model.sandbox import StepState
from vsqlvault.sandbox import landlock, limits, memory_lock, privileges, seccomp
from vsqlvault.sandbox.kernel import Kernel, StepUnavailable
from vsqlvault.sandbox.landlock import Reach
from vsqlvault.sandbox.reach import RequestedAccess, beyond, reach_of

MEMORY_LOCK = "memory_lock"
STEPS = ("limits", MEMORY_LOCK, "no_new_privileges", "landlock", "seccomp")
NOT_APPLIED: Sequence[StepState] = tuple(
    StepState(name, "off", "only a server that vsql-vault starts locks itself in") for name in STEPS
)
_IMPORTED_LATE = (
    "concurrent.futures.thread", "encodings.idna", "encodings.utf_16_be", "pydantic._internal._dataclasses",
    "pydantic.type_adapter", "stringprep", "zoneinfo",
)  # fmt: skip


def import_early() -> None:
    """Import what the standard library and the frameworks would import only when a request first needs it."""
    for name in _IMPORTED_LATE:
        with suppress(ImportError):
            importlib.import_module(name)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """What became of each step, and what stays reachable because it was asked for."""

    states: tuple[StepState, ...]
    asked: RequestedAccess
    reach: Reach

    def in_child(self, settings: HardeningSettings, kernel: Kernel | None = None) -> Sandbox:
        """Take the one step that a forked child does not inherit, and return what holds in it.

        Raises:
            HardeningUnavailable: it is required and unavailable.
        """
        again = _taken(MEMORY_LOCK, settings.memory_lock, kernel or _kernel(), memory_lock.apply)
        return replace(self, states=tuple(again if state.name == MEMORY_LOCK else state for state in self.states))

    def check(self, asked: RequestedAccess) -> None:
        """Refuse what can no longer be reached, so that new settings don't fail at some later moment.

        Raises:
            SettingsInvalid: something is asked for that was closed at start.
        """
        closed = any(state.name == "landlock" and state.state == "on" for state in self.states)
        if closed and (found := beyond(self.reach, self.asked, asked)):
            raise SettingsInvalid(f"hardening.landlock: {found} is closed since the start; a restart opens it")


def apply_sandbox(
    settings: Settings, asked: RequestedAccess, *, undeclared: Sequence[str] = (), kernel: Kernel | None = None
) -> Sandbox:
    """Take every step that the settings ask for, and return what became of each. There is no way back.

    It comes after settings, plugins and secrets are read, and before a thread is started: Landlock would leave it out.
    ``undeclared`` are the plugins that do not say what they need: because of them Landlock is not on by itself.

    Raises:
        HardeningUnavailable: a step that is required is unavailable.
        SettingsInvalid: a path listed under ``[hardening]`` does not exist.
    """
    kernel = kernel or _kernel()
    reach = reach_of(settings, asked)
    states = (
        _taken("limits", settings.hardening.limits, kernel, limits.apply),
        _taken(MEMORY_LOCK, settings.hardening.memory_lock, kernel, memory_lock.apply),
        _taken("no_new_privileges", settings.hardening.no_new_privileges, kernel, privileges.apply),
        _off_for_plugins(undeclared)
        if undeclared and settings.hardening.landlock == "auto"
        else _taken("landlock", settings.hardening.landlock, kernel, lambda kernel: landlock.apply(kernel, reach)),
        _taken("seccomp", settings.hardening.seccomp, kernel, seccomp.apply),
    )
    return Sandbox(states, asked, reach)


def _taken(name: str, switch: str, kernel: Kernel | None, step: Callable[[Kernel], str]) -> StepState:
    if switch == "off":
        return StepState(name, "off", "the settings say so")
    try:
        if kernel is None:
            raise StepUnavailable("only Linux has it")
        return StepState(name, "on", step(kernel))
    except StepUnavailable as unavailable:
        if switch == "required":
            raise HardeningUnavailable(f"hardening.{name}: expected it to be available, found: {unavailable}") from None
        return StepState(name, "unavailable", str(unavailable))


def _off_for_plugins(undeclared: Sequence[str]) -> StepState:
    names = ", ".join(undeclared)
    return StepState(
        "landlock",
        "off",
        f'not said by these plugins, what they need: {names}. List it under [hardening] and set landlock = "required"',
    )


def _kernel() -> Kernel | None:
    return Kernel() if sys.platform == "linux" else None
