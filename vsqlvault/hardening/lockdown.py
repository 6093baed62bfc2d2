"""The steps in their order, and what became of each."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress

from vsqlvault.config import HardeningSettings
from vsqlvault.errors import HardeningUnavailable
from vsqlvault.hardening import landlock, limits, memory_lock, privileges, seccomp
from vsqlvault.hardening.kernel import Kernel, StepUnavailable
from vsqlvault.hardening.landlock import Reach
from vsqlvault.model.hardening import StepState

MEMORY_LOCK = "memory_lock"
STEPS = ("limits", MEMORY_LOCK, "no_new_privileges", "landlock", "seccomp")
NOT_APPLIED: Sequence[StepState] = tuple(
    StepState(name, "off", "only a server that vsql-vault starts locks itself in") for name in STEPS
)
_IMPORTED_LATE = ("concurrent.futures.thread", "encodings.idna", "encodings.utf_16_be", "stringprep", "zoneinfo")


def import_early() -> None:
    """Import what the standard library and the frameworks would import only when a request first needs it."""
    for name in _IMPORTED_LATE:
        with suppress(ImportError):
            importlib.import_module(name)


def lock_down(
    settings: HardeningSettings, reach: Reach, *, undeclared: Sequence[str] = (), kernel: Kernel | None = None
) -> tuple[StepState, ...]:
    """Take every step that the settings ask for, and return what became of each. There is no way back.

    It comes after settings, plugins and secrets are read, and before a thread is started: Landlock would leave it out.
    ``undeclared`` are the plugins that do not say what they need: because of them Landlock is not on by itself.

    Raises:
        HardeningUnavailable: a step that is required is unavailable.
    """
    kernel = kernel or _kernel()
    return (
        _taken("limits", settings.limits, kernel, limits.apply),
        _taken(MEMORY_LOCK, settings.memory_lock, kernel, memory_lock.apply),
        _taken("no_new_privileges", settings.no_new_privileges, kernel, privileges.apply),
        _off_for_plugins(undeclared)
        if undeclared and settings.landlock == "auto"
        else _taken("landlock", settings.landlock, kernel, lambda kernel: landlock.apply(kernel, reach)),
        _taken("seccomp", settings.seccomp, kernel, seccomp.apply),
    )


def lock_down_again(
    settings: HardeningSettings, states: Sequence[StepState], kernel: Kernel | None = None
) -> tuple[StepState, ...]:
    """Take the one step that a forked child does not inherit, and return the states that hold in it.

    Raises:
        HardeningUnavailable: it is required and unavailable.
    """
    again = _taken(MEMORY_LOCK, settings.memory_lock, kernel or _kernel(), memory_lock.apply)
    return tuple(again if state.name == MEMORY_LOCK else state for state in states)


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
