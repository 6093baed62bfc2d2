"""The protocol of sections of the compliance report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any, Protocol

from vsqlvault.interfaces.evidence import Evidence
from vsqlvault.interfaces.statistics import EntryStatistics, KeyRefUse
from vsqlvault.model.access import Action
from vsqlvault.model.access_review import AccessList, AccessReview
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.control import CONTROLS, Acknowledgement, ControlChange
from vsqlvault.model.credential import CredentialUse, KnownCredential
from vsqlvault.model.database_access import DatabaseAccess
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.log_archive import ArchivedRows
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import ScrubRecord, SweepRecord, SweepRuns
from vsqlvault.model.sandbox import StepState
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.model.verification import RecordedVerification
from vsqlvault.quick_dataclass import dataclass

MAX_CONTROL_CHANGES = 1_000
MAX_ATTESTATIONS = 20
RESERVED_MEMBERS = ("as_of", "period", "requirements")
"""Member names reserved for the core."""


@dataclass(frozen=True, slots=True)
class Period:
    """From ``since``, inclusive, to ``until``, exclusive."""

    since: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Probe:
    """The decision of a policy evaluator for one kind of app, under an access policy, for a purpose.

    ``asks`` is ``owner``, ``purpose-holder`` (another app with the purpose), ``outsider`` (an app without any purpose)
    or ``admin`` (another app with that role and the purpose), or ``named``: the app ``app``, which a rule of the policy
    names, with the purpose. ``reason`` is set on a denial. ``new`` means that the request stores under an id without an
    entry.
    """

    purpose: str
    policy: str
    asks: str
    action: Action
    new: bool
    is_allowed: bool
    reason: str | None
    app: str | None = None


@dataclass(frozen=True, slots=True)
class SelfTest:
    """A request that must be denied, and whether it was."""

    name: str
    passed: bool


@dataclass(frozen=True, slots=True)
class LogTree:
    """The number of log rows that are leaves of the transparency log, and its newest signed checkpoint, as of now."""

    size: int
    checkpoint: Checkpoint | None


@dataclass(frozen=True, slots=True)
class HeldOfPurpose:
    """The expired entries of one purpose that legal holds keep, and those of them that would be overdue without a hold.

    ``oldest_due_at`` is the earliest effective expiry of the expired entries without a hold, or None if there are none.
    """

    held: int
    overdue: int
    oldest_due_at: datetime | None


@dataclass(frozen=True, slots=True)
class HeldExpired:
    """The expired entries that legal holds keep, by purpose (if a hold may apply to it) and by hold (if it keeps any).

    An entry under two holds counts with each. If ``is_complete`` is False, there were too many expired entries to
    examine all.
    """

    by_purpose: Mapping[str, HeldOfPurpose] = field(default_factory=dict)
    by_hold: Mapping[str, int] = field(default_factory=dict)
    is_complete: bool = True

    @property
    def held(self) -> int:
        """The number of entries, each counted once."""
        return sum(each.held for each in self.by_purpose.values())


@dataclass(frozen=True, slots=True)
class ReportContext:
    """The input of a section: one time, one count of the vault, the last sweep, and the rules in force.

    ``credentials`` are the known credentials as of now, with the last use of each. ``period`` is that of the log
    figures. It is None only if a section is written by itself.
    """

    as_of: datetime
    entry_statistics: EntryStatistics
    last_sweep: SweepRecord | None
    retention_policies: Mapping[str, RetentionPolicy]
    access_policies: Mapping[str, AccessPolicy]
    credentials: Sequence[KnownCredential] = ()
    hardening: Sequence[StepState] = field(default=(), kw_only=True)
    """The sandbox steps of the process that writes the report, as of now."""
    legal_holds: Mapping[str, LegalHold] = field(default_factory=dict, kw_only=True)
    """The legal holds in force now, by name, except those placed after ``as_of``."""
    held: HeldExpired = field(default_factory=HeldExpired, kw_only=True)
    sweeps: SweepRuns = field(default_factory=SweepRuns, kw_only=True)
    """The sweeps that ended in ``period``."""

    last_scrub: ScrubRecord | None = field(default=None, kw_only=True)
    scrubs: Sequence[ScrubRecord] = field(default=(), kw_only=True)
    """The scrubs that ended since the start of ``period`` and before ``as_of``, newest first."""

    period: Period | None = field(default=None, kw_only=True)
    evidence: Evidence = field(default_factory=Evidence, kw_only=True)
    key_uses: Sequence[tuple[str, KeyRefUse]] = field(default=(), kw_only=True)
    """The entries of each key_ref, with its purpose. ``key_uses_complete`` is False if there are more."""

    key_uses_complete: bool = field(default=True, kw_only=True)
    key_lifetimes: Mapping[str, CredentialUse] = field(default_factory=dict, kw_only=True)
    """The first and the last time that a value was stored under each key_ref, as of now. They stay after the purge."""

    probes: Sequence[Probe] = field(default=(), kw_only=True)
    """``probes_complete`` is False if not every policy could be evaluated in time."""

    probes_complete: bool = field(default=True, kw_only=True)
    self_tests: Sequence[SelfTest] = field(default=(), kw_only=True)
    log_tree: LogTree | None = field(default=None, kw_only=True)
    log_verification: RecordedVerification | None = field(default=None, kw_only=True)
    """The newest result of the verification in the background, as of now. None if there is none."""

    archived: ArchivedRows | None = field(default=None, kw_only=True)
    """The rows that were dropped from the vault and are in archives, as of now. None if there are none."""

    plugins: Sequence[PluginOrigin] = field(default=(), kw_only=True)
    storage: Mapping[str, Any] = field(default_factory=dict, kw_only=True)
    """The result of ``Storage.describe``, as of now, without secrets."""

    control_states: Sequence[ControlChange] = field(default=(), kw_only=True)
    """The newest recorded change of each control, by name."""

    controls: Mapping[str, tuple[str, ...]] = field(default_factory=lambda: dict(CONTROLS), kw_only=True)
    """Every control by name, those of plugins among them, with the requirements that it serves."""

    control_changes: Sequence[ControlChange] = field(default=(), kw_only=True)
    """The first ``MAX_CONTROL_CHANGES`` of the period, oldest first."""

    acknowledgements: Sequence[Acknowledgement] = field(default=(), kw_only=True)
    """The newest ``MAX_CONTROL_CHANGES`` of the period, newest first."""

    attestations: Sequence[Attestation] = field(default=(), kw_only=True)
    """The newest ``MAX_ATTESTATIONS``, up to ``as_of``, newest first."""

    attestation_faults: Mapping[int, str] = field(default_factory=dict, kw_only=True)
    """Why one of ``attestations`` does not verify, by number. An attestation whose ``note`` is None is not signed."""

    access_lists: Mapping[str, AccessList] = field(default_factory=dict, kw_only=True)
    """Who may do what now, and who did what in the period, by purpose."""

    role_list: AccessList = field(default_factory=AccessList, kw_only=True)
    """The known accounts with a role, and who acted with one in the period."""

    access_reviews: Sequence[AccessReview] = field(default=(), kw_only=True)
    """The newest review of each purpose, and of all purposes, up to ``as_of``, by number."""

    review_faults: Mapping[int, str] = field(default_factory=dict, kw_only=True)
    """Why a review of ``access_reviews`` does not verify, by number. A review whose ``note`` is None is not signed."""

    signatures_verified: bool = field(default=True, kw_only=True)
    """False if the writer of the report has no verifier key: then no signature of these documents was verified."""

    database_access: DatabaseAccess | None = field(default=None, kw_only=True)
    """Who can reach the stored tables without the vault, as of now. None if the storage does not know."""


class ReportSection(Protocol):
    """Writes one top-level member of ``GET /compliance/report``."""

    name: str
    """The name of the member, unique among the loaded plugins, and not in ``RESERVED_MEMBERS``."""

    async def write(self, context: ReportContext) -> Mapping[str, Any]:
        """Return the member: JSON types only, and the same for the same context.

        A member may have the shape of ``docs/compliance-report.md``. ``requirements``, if present, is a list of ids of
        ``vsqlvault.model.pci_dss``. A section that raises, or has an unknown id, is shown as ``{"failed": true}``. The
        rest of the report is served.
        """
        ...
