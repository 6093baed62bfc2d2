"""Keeping what watching has found: the changes of controls, and attestations. Both only grow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from vsqlvault.model.attestation import Attestation
from vsqlvault.model.control import ControlChange
from vsqlvault.model.purge import PurgeRecord


@dataclass(frozen=True, slots=True)
class NewestControlChangeIs:
    """The newest change on record of this control has this number; 0: there is none."""

    name: str
    number: int


@dataclass(frozen=True, slots=True)
class NewestAttestationIs:
    """The newest attestation has this number; 0: there is none."""

    number: int


@dataclass(frozen=True, slots=True)
class SaveControlChange:
    """Add the change; older ones stay."""

    change: ControlChange


@dataclass(frozen=True, slots=True)
class SaveAttestation:
    """Add the attestation; older ones stay."""

    attestation: Attestation


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgesByIdQuery:
    """Rows of the purge log whose time is in ``[since, until)``, in the order of their ids, from ``first_id`` on."""

    first_id: str
    since: datetime
    until: datetime
    limit: int


class WatchStorage(Protocol):
    """The part of a storage that controls and attestations stand on. Errors are as for ``Storage``."""

    async def control_states(self) -> Sequence[ControlChange]:
        """Return the newest change of every control, by name."""
        ...

    async def control_changes(self, since: datetime, until: datetime, limit: int) -> Sequence[ControlChange]:
        """Return changes whose time is in ``[since, until)``, the oldest first."""
        ...

    async def attestations(self, before: int | None, limit: int) -> Sequence[Attestation]:
        """Return attestations, the newest first: those numbered below ``before``, where it is given."""
        ...

    async def purges_by_id(self, query: PurgesByIdQuery) -> Sequence[PurgeRecord]:
        """Return rows of the purge log in the order of their ids, byte by byte; ids are random, so it says nothing else."""
        ...
