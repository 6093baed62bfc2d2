"""A running vault, by the areas of its services."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.page import Page
from vsqlvault.interfaces.request_observer import RequestObserver
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.sandbox import StepState
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.explain import Explain
from vsqlvault.service.access.replay import Replay
from vsqlvault.service.audit.auth_failures import AuthFailureLog
from vsqlvault.service.audit.log_reader import Logs
from vsqlvault.service.audit.recorder import Auditor
from vsqlvault.service.audit.unaudited import UnauditedRequests
from vsqlvault.service.commit.fair_queue import FairQueue
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.compliance.access_reviews import AccessReviews
from vsqlvault.service.compliance.acknowledgements import Acknowledgements
from vsqlvault.service.compliance.attestations import Attestations
from vsqlvault.service.compliance.controls import Controls
from vsqlvault.service.compliance.evidence import Evidence
from vsqlvault.service.compliance.process_log import ProcessLog
from vsqlvault.service.compliance.report import Report
from vsqlvault.service.credentials.api_keys import ApiKeys
from vsqlvault.service.credentials.inventory import Credentials
from vsqlvault.service.credentials.ledger import CredentialLedger
from vsqlvault.service.credentials.rate_limit import AuthRateLimiter
from vsqlvault.service.credentials.reload import CredentialReload
from vsqlvault.service.credentials.sessions import BrowserSessions
from vsqlvault.service.entries.held_entries import HeldEntries
from vsqlvault.service.entries.importer import Importer
from vsqlvault.service.entries.key_refs import KeyRefs
from vsqlvault.service.entries.key_usage import KeyUsage
from vsqlvault.service.entries.service import EntryService
from vsqlvault.service.log.observers import Observers
from vsqlvault.service.log.quarantine import Quarantine
from vsqlvault.service.log.reader import Transparency
from vsqlvault.service.log.restore import Restore
from vsqlvault.service.log.restored_rules import RestoredRules
from vsqlvault.service.log.sequencer import Sequencer
from vsqlvault.service.log.verifier import LogVerifier
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.gauges import PurgeGauges
from vsqlvault.service.purge.scrubber import Scrubber
from vsqlvault.service.purge.sweeper import Sweeper
from vsqlvault.service.rules.history import History
from vsqlvault.service.rules.legal_holds import LegalHolds
from vsqlvault.service.rules.policies import Policies


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessServices:
    """Questions about access: what a policy allows, and what another policy would have allowed."""

    explain: Explain
    replay: Replay


@dataclass(frozen=True, slots=True, kw_only=True)
class RuleServices:
    """Access policies, retention policies and legal holds."""

    policies: Policies
    legal_holds: LegalHolds
    held_entries: HeldEntries
    history: History


@dataclass(frozen=True, slots=True, kw_only=True)
class PurgeServices:
    """Sweeps, scrubs, and the clock that they go by."""

    sweeper: Sweeper
    scrubber: Scrubber
    gauges: PurgeGauges
    clock_guard: ClockGuard


@dataclass(frozen=True, slots=True, kw_only=True)
class LogServices:
    """The transparency log, and the deliveries of its rows."""

    sequencer: Sequencer
    observers: Observers
    reader: Transparency
    quarantine: Quarantine
    verifier: LogVerifier
    restore: Restore
    restored_rules: RestoredRules


@dataclass(frozen=True, slots=True, kw_only=True)
class ComplianceServices:
    """Report, evidence bundle, controls with acknowledgements of their failures, attestations, and access reviews."""

    report: Report
    evidence: Evidence
    controls: Controls
    attestations: Attestations
    access_reviews: AccessReviews
    acknowledgements: Acknowledgements


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialServices:
    """Credentials, and the authenticators that check them, in the order in which they are asked."""

    authenticators: Sequence[Authenticator]
    api_keys: ApiKeys
    inventory: Credentials
    rate_limiter: AuthRateLimiter
    reload: CredentialReload
    ledger: CredentialLedger
    sessions: BrowserSessions


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditServices:
    """The access log and the purge log."""

    recorder: Auditor
    log_reader: Logs
    auth_failures: AuthFailureLog
    process_log: ProcessLog
    unaudited: UnauditedRequests


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """A running vault. ``vsqlvault.runtime.assembly`` builds it."""

    entries: EntryService
    importer: Importer
    key_refs: KeyRefs
    key_usage: KeyUsage
    access: AccessServices
    rules: RuleServices
    purge: PurgeServices
    log: LogServices
    compliance: ComplianceServices
    credentials: CredentialServices
    audit: AuditServices
    storage: Storage
    queue: CommitQueue
    fair_queue: FairQueue
    clock: StorageClock
    plugins: Sequence[PluginOrigin]
    hardening: Sequence[StepState]
    pages: Sequence[Page] = ()
    request_observers: Sequence[RequestObserver] = ()

    def describe_storage(self) -> Mapping[str, Any]:
        """Return the storage's description for operators, without secrets."""
        return self.storage.describe()
