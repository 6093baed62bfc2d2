"""Controls: what has to work for the vault to be what it says it is, and whether it does."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class ControlState(StrEnum):
    """How a control stands. ``NOT_IN_USE``: nothing is set up that it could watch over."""

    OK = "ok"
    FAILING = "failing"
    NOT_IN_USE = "not_in_use"


@dataclass(frozen=True, slots=True)
class Check:
    """What a look at a control has found. ``detail`` is a sentence without secrets, and without ages: it changes with the facts."""

    state: ControlState
    detail: str


@dataclass(frozen=True, slots=True)
class Control:
    """One control as it stands. ``requirements`` are ids of ``vsqlvault.model.pci_dss``."""

    name: str
    state: ControlState
    since: datetime
    detail: str
    requirements: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ControlChange:
    """What was put on record of a control: from ``at`` on it stood so. ``number`` counts a control's changes from 1."""

    name: str
    number: int
    state: ControlState
    at: datetime
    detail: str
