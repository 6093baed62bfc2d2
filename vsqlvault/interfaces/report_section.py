"""One member of the compliance report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from vsqlvault.interfaces.storage import Census
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.hardening import StepState
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import SweepRecord


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a section is written from: one instant, one count of the vault, the last sweep, the rules in force.

    ``credentials`` are those that are known beforehand, as they are now, with the last use of each.
    """

    as_of: datetime
    census: Census
    last_sweep: SweepRecord | None
    retention_policies: Mapping[str, RetentionPolicy]
    access_policies: Mapping[str, AccessPolicy]
    credentials: Sequence[KnownCredential] = ()
    hardening: Sequence[StepState] = field(default=(), kw_only=True)
    """How far the process that writes the report is locked in: not of that instant, but of now."""
    legal_holds: Mapping[str, LegalHold] = field(default_factory=dict, kw_only=True)
    """Those in force now, by name, but for those placed after ``as_of``."""


class ReportSection(Protocol):
    """Writes one top-level member of ``GET /compliance/report``."""

    name: str
    """The member's name; unique among the plugins loaded."""

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Return the member: JSON types only, the same for the same context.

        A section that raises is shown as ``{"failed": true}``; the rest of the report is served.
        """
        ...
