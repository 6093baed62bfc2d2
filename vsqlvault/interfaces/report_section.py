"""One member of the compliance report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from vsqlvault.interfaces.evidence import Evidence
from vsqlvault.interfaces.storage import EntryStatistics, KeyRefUse
from vsqlvault.model.access import Action
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.control import ControlChange
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.model.sandbox import StepState
from vsqlvault.model.transparency import Checkpoint

MAX_CONTROL_CHANGES = 1_000
MAX_ATTESTATIONS = 20
RESERVED_MEMBERS = ("as_of", "period", "requirements")
"""Members that are the core's."""


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since``, inclusive, to ``until``, exclusive."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Probe:
    """What the policy evaluator answers a kind of app that asks to do something under an access policy, of a purpose.

    ``asks`` is ``owner``, ``purpose-holder`` (another app that holds the purpose), ``outsider`` (an app that holds no purpose)
    or ``admin`` (another app with that role that holds the purpose). ``reason`` is set where it is denied. ``new`` says that
    storing was asked of an id that has no entry.
    """

    purpose: str
    policy: str
    asks: str
    action: Action
    new: bool
    is_allowed: bool
    reason: str | None


@dataclass(frozen=True, slots=True)
class SelfTest:
    """One thing that must be denied, and whether it was."""

    name: str
    passed: bool


@dataclass(frozen=True, slots=True)
class LogTree:
    """How many rows of the logs are leaves of the transparency log, and its newest signed checkpoint, as they are now."""

    size: int
    checkpoint: Checkpoint | None


@dataclass(frozen=True, slots=True)
class HeldOfPurpose:
    """Of one purpose: expired entries that legal holds keep, and those of them that would be overdue without.

    ``oldest_due_at`` is the earliest effective expiry among the expired ones that no hold keeps; None: there are none.
    """

    held: int
    overdue: int
    oldest_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class HeldExpired:
    """Expired entries that legal holds keep: by purpose, where a hold may concern it, and by hold, for each that keeps any.

    An entry under two holds counts with each. Where ``is_complete`` is False, there were too many to look at all.
    """

    by_purpose: Mapping[str, HeldOfPurpose] = field(default_factory=dict)
    by_hold: Mapping[str, int] = field(default_factory=dict)
    is_complete: bool = True

    @property
    def held(self) -> int:
        """How many there are, each counted once."""
        return sum(each.held for each in self.by_purpose.values())


@dataclass(frozen=True, slots=True)
class ReportContext:
    """What a section is written from: one instant, one count of the vault, the last sweep, the rules in force.

    ``credentials`` are those that are known beforehand, as they are now, with the last use of each. ``period`` is that of the
    figures from the logs; it is None only where a section is written by itself.
    """

    as_of: datetime
    entry_statistics: EntryStatistics
    last_sweep: SweepRecord | None
    retention_policies: Mapping[str, RetentionPolicy]
    access_policies: Mapping[str, AccessPolicy]
    credentials: Sequence[KnownCredential] = ()
    hardening: Sequence[StepState] = field(default=(), kw_only=True)
    """How far the process that writes the report is locked in: not of that instant, but of now."""
    legal_holds: Mapping[str, LegalHold] = field(default_factory=dict, kw_only=True)
    """Those in force now, by name, but for those placed after ``as_of``."""
    held: HeldExpired = field(default_factory=HeldExpired, kw_only=True)
    sweeps: SweepRuns = field(default_factory=SweepRuns, kw_only=True)
    """Those that ended in ``period``."""

    last_scrub: ScrubRecord | None = field(default=None, kw_only=True)
    scrubs: Sequence[ScrubRecord] = field(default=(), kw_only=True)
    """Those that ended since ``period`` began and before ``as_of``, the newest first."""

    period: Period | None = field(default=None, kw_only=True)
    evidence: Evidence = field(default_factory=Evidence, kw_only=True)
    key_uses: Sequence[tuple[str, KeyRefUse]] = field(default=(), kw_only=True)
    """What lies under each key_ref, with its purpose; ``key_uses_complete`` is False where there are more."""

    key_uses_complete: bool = field(default=True, kw_only=True)
    probes: Sequence[Probe] = field(default=(), kw_only=True)
    """``probes_complete`` is False where not every policy could be asked in time."""

    probes_complete: bool = field(default=True, kw_only=True)
    self_tests: Sequence[SelfTest] = field(default=(), kw_only=True)
    log_tree: LogTree | None = field(default=None, kw_only=True)
    plugins: Sequence[PluginOrigin] = field(default=(), kw_only=True)
    storage: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """What ``Storage.describe`` says: of now, without secrets."""

    control_states: Sequence[ControlChange] = field(default=(), kw_only=True)
    """The newest change on record of each control, by name."""

    control_changes: Sequence[ControlChange] = field(default=(), kw_only=True)
    """The first ``MAX_CONTROL_CHANGES`` of the period, the oldest first."""

    attestations: Sequence[Attestation] = field(default=(), kw_only=True)
    """The newest ``MAX_ATTESTATIONS``, up to ``as_of``, the newest first."""


class ReportSection(Protocol):
    """Writes one top-level member of ``GET /compliance/report``."""

    name: str
    """The member's name; unique among the plugins loaded, and none of ``RESERVED_MEMBERS``."""

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Return the member: JSON types only, the same for the same context.

        A member may have the shape of ``docs/compliance-report.md``. Where it has ``requirements``, that is a list of ids of
        ``vsqlvault.model.pci_dss``. A section that raises, or claims an id that is not there, is shown as
        ``{"failed": true}``; the rest of the report is served.
        """
        ...
