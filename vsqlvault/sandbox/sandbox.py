"""Applies the steps of the sandbox in order, and records the result of each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace

from vsqlvault.config import HardeningSettings, Settings
from vsqlvault.errors import HardeningUnavailable, SettingsInvalid
from vsqlvault.model.sandbox import StepState
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.sandbox import landlock, limits, memory_lock, privileges, seccomp
from vsqlvault.sandbox.kernel import Kernel, StepUnavailable
from vsqlvault.sandbox.landlock import Reach
from vsqlvault.sandbox.reach import RequestedAccess, beyond, reach_of

MEMORY_LOCK = "memory_lock"
STEPS = ("limits", MEMORY_LOCK, "no_new_privileges", "landlock", "seccomp")
NOT_APPLIED: Sequence[StepState] = tuple(
    StepState(name, "off", "only a server started by vsql-vault applies the sandbox") for name in STEPS
)
_IMPORTED_LATE = (
    "concurrent.futures.thread", "encodings.idna", "encodings.utf_16_be", "pydantic._internal._dataclasses",
    "pydantic.type_adapter", "stringprep", "zoneinfo",
)  # fmt: skip


def import_early() -> None:
    """Import the modules that the standard library and the frameworks would import on the first request."""
    for name in _IMPORTED_LATE:
        with suppress(ImportError):
            importlib.import_module(name)


@dataclass(frozen=True, slots=True)
class Sandbox:
    """The result of each step, and what was requested to stay accessible."""

    states: tuple[StepState, ...]
    asked: RequestedAccess
    reach: Reach

    def in_child(self, settings: HardeningSettings, kernel: Kernel | None = None) -> Sandbox:
        """Apply the one step that a forked child does not inherit, and return the state of the child.

        Raises:
            HardeningUnavailable: the step is required and unavailable.
        """
        again = _taken(MEMORY_LOCK, settings.memory_lock, kernel or _kernel(), memory_lock.apply)
        return replace(self, states=tuple(again if state.name == MEMORY_LOCK else state for state in self.states))

    def check(self, asked: RequestedAccess) -> None:
        """Reject settings that need something inaccessible, so that they do not fail later.

        Raises:
            SettingsInvalid: something was denied at start.
        """
        closed = any(state.name == "landlock" and state.state == "on" for state in self.states)
        if closed and (found := beyond(self.reach, self.asked, asked)):
            raise SettingsInvalid(
                f"hardening.landlock: {found} has been inaccessible since the start; restart to allow it"
            )


def apply_sandbox(
    settings: Settings, asked: RequestedAccess, *, undeclared: Sequence[str] = (), kernel: Kernel | None = None
) -> Sandbox:
    """Apply every step in the settings, and return the result of each. The steps cannot be undone.

    Call it after settings, plugins and secrets are read, and before a thread is started, which Landlock would not
    restrict. ``undeclared`` are the plugins that do not declare their needs. Because of them ``auto`` does not apply
    Landlock.

    Raises:
        HardeningUnavailable: a required step is unavailable.
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
        return StepState(name, "off", "disabled by the settings")
    try:
        if kernel is None:
            raise StepUnavailable("available on Linux only")
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
        (
            f"these plugins do not declare their needs: {names}. List the needs under [hardening] and set landlock "
            '= "required"'
        ),
    )


def _kernel() -> Kernel | None:
    return Kernel() if sys.platform == "linux" else None
