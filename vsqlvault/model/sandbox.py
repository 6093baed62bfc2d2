"""The state of the process sandbox, and what a plugin needs to access in it."""

from __future__ import annotations

from typing import Literal

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class StepState:
    """The result of one step of process hardening.

    ``on`` is used only after the process has tested the step. ``detail`` contains what is in force, or why the step is
    off.
    """

    name: str
    state: Literal["on", "off", "unavailable"]
    detail: str

    def __str__(self) -> str:
        return f"{self.state}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessNeeds:
    """What a plugin needs to access while the vault serves. Everything else may be denied to the process.

    Relative paths are resolved from the working directory. A path that does not exist is ignored.
    """

    readable: tuple[str, ...] = ()
    """Directories, with everything below them, and files. A file may be replaced: its directory is made readable."""

    writable: tuple[str, ...] = ()
    """Directories in which the plugin creates, writes, renames and deletes files. They are also readable."""

    connect_ports: tuple[int, ...] | None = ()
    """TCP ports that the plugin connects to, on any host; None: any port. Unix sockets and UDP are not restricted."""
