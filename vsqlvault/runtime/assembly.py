"""Builds a vault from its parts."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import TypeVar

from vsqlvault.errors import PluginFailed
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.storage import Storage
from vsqlvault.model.control import CONTROLS
from vsqlvault.model.sandbox import StepState
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.plugin_loader import Plugins
from vsqlvault.runtime.exports import log_sinks
from vsqlvault.runtime.shared_parts import Core, shared_parts
from vsqlvault.runtime.tuning import DEFAULT_TUNING, Tuning
from vsqlvault.service.access.explain import Explain
from vsqlvault.service.access.replay import Replay
from vsqlvault.service.audit.auth_failures import AuthFailureLog
from vsqlvault.service.audit.log_reader import Logs
from vsqlvault.service.audit.unaudited import UnauditedRequests
from vsqlvault.service.compliance.access_reviews import AccessReviews
from vsqlvault.service.compliance.acknowledgements import Acknowledgements
from vsqlvault.service.compliance.attestation_schedule import AttestationSchedule
from vsqlvault.service.compliance.attestations import Attestations
from vsqlvault.service.compliance.control_checks import ControlChecks
from vsqlvault.service.compliance.controls import Controls
from vsqlvault.service.compliance.evidence import Evidence
from vsqlvault.service.compliance.process_log import ProcessLog
from vsqlvault.service.compliance.report import Report
from vsqlvault.service.credentials.api_keys import ApiKeys
from vsqlvault.service.credentials.ledger import CredentialLedger
from vsqlvault.service.credentials.rate_limit import AuthRateLimiter
from vsqlvault.service.credentials.reload import CredentialReload
from vsqlvault.service.credentials.sessions import BrowserSessions
from vsqlvault.service.entries.held_entries import HeldEntries
from vsqlvault.service.entries.importer import Importer
from vsqlvault.service.entries.key_refs import KeyRefs
from vsqlvault.service.entries.service import EntryService
from vsqlvault.service.log.checkpoint_pruning import Thinning
from vsqlvault.service.log.continuity import Continuity
from vsqlvault.service.log.delivery_watch import DeliveryWatch
from vsqlvault.service.log.observers import Observers
from vsqlvault.service.log.quarantine import Quarantine
from vsqlvault.service.log.reader import Transparency
from vsqlvault.service.log.restore import Restore
from vsqlvault.service.log.restored_rules import RestoredRules
from vsqlvault.service.log.sequencer import Sequencer, Signing
from vsqlvault.service.log.verifier import LogVerifier
from vsqlvault.service.plugin_calls import call_plain
from vsqlvault.service.purge.gauges import PurgeGauges
from vsqlvault.service.purge.scrubber import Scrubber
from vsqlvault.service.purge.sweeper import Sweeper
from vsqlvault.service.rules.history import History
from vsqlvault.service.rules.legal_holds import LegalHolds
from vsqlvault.service.rules.policies import Policies
from vsqlvault.service.vault import (
    AccessServices,
    AuditServices,
    ComplianceServices,
    CredentialServices,
    LogServices,
    PurgeServices,
    RuleServices,
    Vault,
)

log = logging.getLogger(__name__)
Record = TypeVar("Record")


def assemble(
    plugins: Plugins,
    storage: Storage,
    hardening: Sequence[StepState],
    signing: Signing,
    tuning: Tuning = DEFAULT_TUNING,
) -> Vault:
    """Build the vault: first the parts that several services share, then each area's services."""
    core = shared_parts(plugins, storage, hardening, signing, tuning)
    rules, credentials = _rules(core), _credentials(core)
    log_services = _log(core, rules, credentials)
    return Vault(
        entries=_entries(core),
        importer=Importer(
            storage=storage,
            queue=core.queue,
            policy_cache=core.policy_cache,
            purges=core.purger,
            require_defined_policy=core.settings.access.require_defined_policy,
        ),
        key_refs=KeyRefs(storage=storage, queue=core.queue, policy_cache=core.policy_cache, auditor=core.auditor),
        key_usage=core.key_usage,
        access=_access(core),
        rules=rules,
        purge=_purge(core, log_services.quarantine),
        log=log_services,
        compliance=_compliance(core, log_services),
        credentials=credentials,
        audit=_audit(core, credentials.ledger),
        storage=storage,
        queue=core.queue,
        fair_queue=core.fair_queue,
        clock=core.clock,
        plugins=plugins.origins,
        hardening=hardening,
        pages=list(plugins.offers("vault_pages").values()),
        request_observers=list(plugins.offers("vault_request_observers").values()),
    )


def _entries(core: Core) -> EntryService:
    return EntryService(
        storage=core.storage,
        queue=core.queue,
        policy_cache=core.policy_cache,
        authorizer=core.authorizer,
        purges=core.purger,
        auditor=core.auditor,
        watch=core.clock_guard,
        require_defined_policy=core.settings.access.require_defined_policy,
        scan_limits=core.tuning.scan_limits,
        max_clock_age_seconds=core.tuning.max_clock_age_seconds,
        integrity=core.integrity,
        key_usage=core.key_usage,
    )


def _access(core: Core) -> AccessServices:
    return AccessServices(
        explain=Explain(
            storage=core.storage,
            queue=core.queue,
            policy_cache=core.policy_cache,
            authorizer=core.authorizer,
            auditor=core.auditor,
        ),
        replay=Replay(
            storage=core.storage,
            queue=core.queue,
            policy_cache=core.policy_cache,
            authorizer=core.authorizer,
            auditor=core.auditor,
        ),
    )


def _rules(core: Core) -> RuleServices:
    return RuleServices(
        policies=Policies(
            storage=core.storage,
            queue=core.queue,
            policy_cache=core.policy_cache,
            authorizer=core.authorizer,
            purges=core.purger,
            auditor=core.auditor,
        ),
        legal_holds=LegalHolds(queue=core.queue, policy_cache=core.policy_cache, auditor=core.auditor),
        held_entries=HeldEntries(
            storage=core.storage,
            queue=core.queue,
            policy_cache=core.policy_cache,
            auditor=core.auditor,
            watch=core.clock_guard,
            limits=core.tuning.scan_limits,
            scan_page=core.tuning.held_entries_page,
        ),
        history=History(storage=core.storage, queue=core.queue, policy_cache=core.policy_cache, auditor=core.auditor),
    )


def _purge(core: Core, quarantine: Quarantine) -> PurgeServices:
    scrubber = Scrubber(
        storage=core.storage,
        queue=core.queue,
        auditor=core.auditor,
        mode=core.settings.purge.scrub,
        lock_seconds=core.settings.purge.scrub_lock_seconds,
    )
    sweeper = Sweeper(
        storage=core.storage,
        queue=core.queue,
        auditor=core.auditor,
        policy_cache=core.policy_cache,
        purges=core.purger,
        watch=core.clock_guard,
        scrubber=scrubber,
        batch=core.settings.purge.sweep_batch,
        pause_seconds=core.settings.purge.sweep_pause_seconds,
        interval_hours=core.settings.purge.sweep_interval_hours,
        retry_seconds=core.tuning.sweep_retry_seconds,
        renew_seconds=core.tuning.sweep_lease_renewal_seconds,
        alone_seconds=core.tuning.sweep_alone_seconds,
        require_continuity=quarantine.check,
    )
    return PurgeServices(
        sweeper=sweeper,
        scrubber=scrubber,
        gauges=PurgeGauges(
            core.storage,
            core.queue,
            core.policy_cache,
            core.clock_guard,
            interval_seconds=core.tuning.purge_gauge_seconds,
        ),
        clock_guard=core.clock_guard,
    )


def _log(core: Core, rules: RuleServices, credentials: CredentialServices) -> LogServices:
    signer = core.signing.current
    continuity = Continuity(core.storage, [partial(_keep, anchor) for anchor in core.anchors])
    origin = signer.verifier.name if signer else None
    quarantine = Quarantine(
        core.storage,
        core.anchors,
        origin,
        continuity=continuity,
        queue=core.queue,
        look_seconds=core.tuning.log_check_seconds,
        anchor_seconds=core.tuning.anchor_seconds,
    )
    pruning = Thinning(
        core.storage, core.clock, page=core.tuning.pruning_page, rest_seconds=core.tuning.pruning_rest_seconds
    )
    observers = _observers(core)
    sequencer = Sequencer(
        storage=core.storage,
        queue=core.queue,
        clock=core.clock,
        signing=core.signing,
        interval_seconds=core.settings.audit.checkpoint_interval_seconds,
        observers=[continuity.remember],
        on_growth=observers.wake,
        may_grow=quarantine.is_lifted,
        require_continuity=quarantine.require,
        pruning=pruning,
        batch=core.tuning.sequencer_batch,
        lease_seconds=core.tuning.sequencer_lease_seconds,
    )
    return LogServices(
        sequencer=sequencer,
        observers=observers,
        reader=Transparency(
            storage=core.storage,
            queue=core.queue,
            auditor=core.auditor,
            continuity=continuity,
            verifier=sequencer.verifier,
        ),
        quarantine=quarantine,
        verifier=LogVerifier(
            storage=core.storage,
            queue=core.queue,
            keys=core.signing.verifiers,
            interval_hours=core.settings.audit.verify_interval_hours,
            check_seconds=core.tuning.log_verification_check_seconds,
        ),
        restore=Restore(
            queue=core.queue,
            auditor=core.auditor,
            policy_cache=core.policy_cache,
            purges=core.purger,
            quarantine=quarantine,
        ),
        restored_rules=RestoredRules(
            core.storage, core.queue, core.policy_cache, rules.legal_holds, credentials.api_keys.revoke
        ),
    )


def _observers(core: Core) -> Observers:
    return Observers(
        core.storage,
        list(core.plugins.offers("vault_observers").values()),
        core.purge_methods,
        log_sinks(core.plugins),
        batch=core.tuning.observer_batch,
    )


def _compliance(core: Core, log_services: LogServices) -> ComplianceServices:
    schedule = AttestationSchedule(core.storage, core.settings.compliance.attestation_interval_days)
    report = _report(core, log_services)
    controls = _controls(core, schedule, log_services)
    return ComplianceServices(
        report=report,
        evidence=Evidence(
            settings=core.settings,
            storage=core.storage,
            queue=core.queue,
            auditor=core.auditor,
            policy_cache=core.policy_cache,
            report=report,
            plugins=core.plugins.origins,
            signer=core.signing.current,
            max_log_members=core.tuning.evidence_max_log_members,
        ),
        controls=controls,
        access_reviews=AccessReviews(
            storage=core.storage,
            queue=core.queue,
            auditor=core.auditor,
            report=report,
            signer=core.signing.current,
            interval_days=core.settings.compliance.access_review_interval_days,
        ),
        acknowledgements=Acknowledgements(
            storage=core.storage,
            queue=core.queue,
            auditor=core.auditor,
            controls=controls.checks.requirements,
        ),
        attestations=Attestations(
            storage=core.storage,
            queue=core.queue,
            auditor=core.auditor,
            policy_cache=core.policy_cache,
            beginning=schedule,
            signer=core.signing.current,
            sweep_interval_hours=core.settings.purge.sweep_interval_hours,
            interval_seconds=core.tuning.attestation_check_seconds,
            max_listed=core.tuning.attestation_max_listed,
            expired_page=core.tuning.expired_page,
        ),
    )


def _report(core: Core, log_services: LogServices) -> Report:
    return Report(
        settings=core.settings,
        storage=core.storage,
        queue=core.queue,
        auditor=core.auditor,
        policy_cache=core.policy_cache,
        authorizer=core.authorizer,
        credentials=core.inventory,
        verifier=log_services.verifier,
        key_usage=core.key_usage,
        plugins=core.plugins.origins,
        sections=list(core.plugins.offers("vault_report_sections").values()),
        hardening=core.hardening,
        controls={**CONTROLS, **{each.name: each.requirements for each in core.controls}},
        section_seconds=core.tuning.report_section_seconds,
        probe_seconds=core.tuning.report_probe_seconds,
    )


def _controls(core: Core, schedule: AttestationSchedule, log_services: LogServices) -> Controls:
    checks = ControlChecks(
        settings=core.settings,
        storage=core.storage,
        queue=core.queue,
        policy_cache=core.policy_cache,
        watch=core.clock_guard,
        beginning=schedule,
        quarantine=log_services.quarantine,
        verifier=log_services.verifier,
        deliveries=DeliveryWatch(
            core.storage, log_services.observers.to_plugins, unmoved_seconds=core.tuning.delivery_unmoved_seconds
        ),
        exports=DeliveryWatch(core.storage, log_services.observers.exports),
        anchors=core.anchors,
        offered=core.controls,
        is_signed=log_services.sequencer.verifier is not None,
        is_inconsistent=lambda: log_services.sequencer.state.is_inconsistent,
        corrupt_values=lambda: core.integrity.count,
        max_overdue_read=core.tuning.control_max_overdue_read,
        expired_page=core.tuning.expired_page,
        min_unanchored_seconds=core.tuning.min_unanchored_seconds,
    )
    controls = Controls(
        storage=core.storage,
        queue=core.queue,
        auditor=core.auditor,
        checks=checks,
        interval_seconds=core.tuning.control_check_seconds,
    )
    log_services.quarantine.on_change = controls.task.wake
    log_services.verifier.on_result = controls.task.wake
    return controls


def _credentials(core: Core) -> CredentialServices:
    auth = core.settings.auth
    return CredentialServices(
        authenticators=core.authenticators,
        api_keys=ApiKeys(
            queue=core.queue,
            policy_cache=core.policy_cache,
            auditor=core.auditor,
            credentials=core.inventory,
            are_taken=auth.stored_keys,
            max_api_keys=core.tuning.max_api_keys,
        ),
        inventory=core.inventory,
        rate_limiter=AuthRateLimiter(auth.max_failures_per_minute),
        sessions=BrowserSessions(storage=core.storage, queue=core.queue, auditor=core.auditor),
        reload=CredentialReload(core.authenticators, core.settings, core.plugins.check),
        ledger=CredentialLedger(storage=core.storage, queue=core.queue, credentials=core.inventory),
    )


def _audit(core: Core, ledger: CredentialLedger) -> AuditServices:
    return AuditServices(
        recorder=core.auditor,
        log_reader=Logs(
            storage=core.storage,
            queue=core.queue,
            auditor=core.auditor,
            stream_page=core.tuning.log_stream_page,
        ),
        auth_failures=AuthFailureLog(core.queue, core.clock, interval_seconds=core.tuning.auth_failure_flush_seconds),
        process_log=ProcessLog(storage=core.storage, queue=core.queue, ledger=ledger, plugins=core.plugins.origins),
        unaudited=UnauditedRequests(core.queue, core.clock, interval_seconds=core.tuning.unaudited_flush_seconds),
    )


def _keep(anchor: Anchor, checkpoint: Checkpoint) -> None:
    with suppress(PluginFailed):  # it is logged; the control anchor_fresh fails
        call_plain(anchor, lambda: anchor.keep(checkpoint))
