"""A running vault: what the outside may ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.model.sandbox import StepState
from vsqlvault.service.access.explain import Explain
from vsqlvault.service.access.replay import Replay
from vsqlvault.service.audit.auth_failures import AuthFailureLog
from vsqlvault.service.audit.log_reader import Logs
from vsqlvault.service.audit.recorder import Auditor
from vsqlvault.service.audit.unaudited import UnauditedRequests
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.compliance.attestations import Attestations
from vsqlvault.service.compliance.controls import Controls
from vsqlvault.service.compliance.evidence import Evidence
from vsqlvault.service.compliance.report import Report
from vsqlvault.service.credentials.api_keys import ApiKeys
from vsqlvault.service.credentials.inventory import Credentials
from vsqlvault.service.credentials.rate_limit import AuthRateLimiter
from vsqlvault.service.credentials.reload import CredentialReload
from vsqlvault.service.entries.key_refs import KeyRefs
from vsqlvault.service.entries.service import EntryService
from vsqlvault.service.log.quarantine import Quarantine
from vsqlvault.service.log.reader import Transparency
from vsqlvault.service.log.restore import Restore
from vsqlvault.service.log.sequencer import Sequencer
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.gauges import PurgeGauges
from vsqlvault.service.purge.scrubber import Scrubber
from vsqlvault.service.purge.sweeper import Sweeper
from vsqlvault.service.rules.held_entries import HeldEntries
from vsqlvault.service.rules.history import History
from vsqlvault.service.rules.legal_holds import LegalHolds
from vsqlvault.service.rules.policies import Policies


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Everything that runs, put together by ``vsqlvault.runtime``."""

    entries: EntryService
    policies: Policies
    api_keys: ApiKeys
    credentials: Credentials
    holds: LegalHolds
    held_entries: HeldEntries
    history: History
    explain: Explain
    replay: Replay
    logs: Logs
    key_refs: KeyRefs
    sweeper: Sweeper
    sequencer: Sequencer
    transparency: Transparency
    quarantine: Quarantine
    restore: Restore
    report: Report
    refusals: AuthFailureLog
    auth_rate_limiter: AuthRateLimiter
    auditor: Auditor
    gaps: UnauditedRequests
    queue: CommitQueue
    clock: StorageClock
    clock_guard: ClockGuard
    scrubber: Scrubber
    purge_gauges: PurgeGauges
    controls: Controls
    attestations: Attestations
    evidence: Evidence
    storage: Storage
    authenticators: Sequence[Authenticator]
    credential_reload: CredentialReload
    plugins: Sequence[PluginOrigin]
    hardening: Sequence[StepState]

    def describe_storage(self) -> Mapping[str, Any]:
        """Return what an operator should know of the storage, without secrets."""
        return self.storage.describe()
