"""How far a process is locked in, and what it must still reach once it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class StepState:
    """What became of one step of process hardening.

    ``on`` is said only of what the process has seen to hold; ``detail`` says what exactly is in force, or why nothing is.
    """

    name: str
    state: Literal["on", "off", "unavailable"]
    detail: str

    def __str__(self) -> str:
        return f"{self.state}: {self.detail}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessNeeds:
    """What a plugin has to reach while the vault serves: everything else may be closed to the process.

    Paths are taken from the working directory where they are not absolute; one that does not exist is left out.
    """

    readable: tuple[str, ...] = ()
    """Directories, with all below them, and files. A file may be replaced by a new one of its name: its directory is opened."""

    writable: tuple[str, ...] = ()
    """Directories in which it makes, writes, renames and removes files; they are readable, too."""

    connect_ports: tuple[int, ...] | None = ()
    """TCP ports that it connects to, on any host; None: any port. Unix sockets and UDP are not closed to anybody."""
