"""A running vault: what the outside may ask of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.hardening import StepState
from vsqlvault.model.plugins import PluginOrigin
from vsqlvault.service.api_keys import ApiKeys
from vsqlvault.service.attestations import Attestations
from vsqlvault.service.audit import Auditor
from vsqlvault.service.clock import StorageClock
from vsqlvault.service.clock_watch import ClockWatch
from vsqlvault.service.commit_queue import CommitQueue
from vsqlvault.service.controls import Controls
from vsqlvault.service.credentials import Credentials
from vsqlvault.service.entries import Entries
from vsqlvault.service.evidence import Evidence
from vsqlvault.service.explain import Explain
from vsqlvault.service.failing_sources import FailingSources
from vsqlvault.service.gaps import Gaps
from vsqlvault.service.held_entries import HeldEntries
from vsqlvault.service.history import History
from vsqlvault.service.holds import Holds
from vsqlvault.service.key_refs import KeyRefs
from vsqlvault.service.logs import Logs
from vsqlvault.service.policies import Policies
from vsqlvault.service.purge_gauges import PurgeGauges
from vsqlvault.service.quarantine import Quarantine
from vsqlvault.service.refusals import Refusals
from vsqlvault.service.reloading import Reloading
from vsqlvault.service.replay import Replay
from vsqlvault.service.report import Report
from vsqlvault.service.restore import Restore
from vsqlvault.service.scrubber import Scrubber
from vsqlvault.service.sequencer import Sequencer
from vsqlvault.service.sweeper import Sweeper
from vsqlvault.service.transparency import Transparency


@dataclass(frozen=True, slots=True, kw_only=True)
class Vault:
    """Everything that runs, put together by ``vsqlvault.runtime``."""

    entries: Entries
    policies: Policies
    api_keys: ApiKeys
    credentials: Credentials
    holds: Holds
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
    refusals: Refusals
    failing_sources: FailingSources
    auditor: Auditor
    gaps: Gaps
    queue: CommitQueue
    clock: StorageClock
    clock_watch: ClockWatch
    scrubber: Scrubber
    purge_gauges: PurgeGauges
    controls: Controls
    attestations: Attestations
    evidence: Evidence
    storage: Storage
    authenticators: Sequence[Authenticator]
    reloading: Reloading
    plugins: Sequence[PluginOrigin]
    hardening: Sequence[StepState]

    def describe_storage(self) -> Mapping[str, Any]:
        """Return what an operator should know of the storage, without secrets."""
        return self.storage.describe()
