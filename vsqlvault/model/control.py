"""Controls: continuous checks of the vault's compliance functions."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from types import MappingProxyType

from vsqlvault.quick_dataclass import dataclass


class ControlState(StrEnum):
    """The state of a control. ``NOT_IN_USE``: nothing is configured that it could check."""

    OK = "ok"
    FAILING = "failing"
    NOT_IN_USE = "not_in_use"


@dataclass(frozen=True, slots=True)
class Check:
    """The result of checking a control. ``detail`` is a sentence without secrets and without ages."""

    state: ControlState
    detail: str


@dataclass(frozen=True, slots=True)
class Control:
    """The current state of one control. ``requirements`` are ids of ``vsqlvault.model.pci_dss``."""

    name: str
    state: ControlState
    since: datetime
    detail: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ControlChange:
    """A recorded change of a control: its state from ``at`` on. ``number`` counts a control's changes from 1."""

    name: str
    number: int
    state: ControlState
    at: datetime
    detail: str


@dataclass(frozen=True, slots=True)
class Acknowledgement:
    """The cause and the remedy of a failure that began at ``failed_at``, as an admin recorded them at ``at``."""

    control: str
    failed_at: datetime
    cause: str
    remedy: str
    at: datetime
    app: str
    identity: str | None


CONTROLS: Mapping[str, tuple[str, ...]] = MappingProxyType({
    "sweep_ran": ("3.2.1",),
    "nothing_overdue": ("3.2.1",),
    "attestation_current": ("3.2.1",),
    "log_signed": ("10.3.4", "10.7.2"),
    "log_consistent": ("10.3.4", "10.7.2"),
    "log_verified": ("10.3.4", "10.7.2"),
    "anchor_fresh": ("10.3.4", "10.7.2"),
    "deliveries_current": ("10.7.2",),
    "export_current": ("10.3.3", "10.7.2"),
    "storage_durable": (),
    "storage_has_room": ("10.7.2",),
    "values_intact": ("10.3.4", "10.7.2"),
    "clock_sane": ("10.6.3", "10.7.2"),
    "certificates_valid": ("2.2.7", "4.2.1"),
})  # fmt: skip
"""Every control of the core by name, in the order in which they are shown, with the requirements that it serves.

Plugins add others (``vsqlvault.interfaces.control``), which follow these.
"""

CONTROL_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}", re.ASCII)
