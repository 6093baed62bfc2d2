"""Builds a vault from its parts."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from vsqlvault.config import Settings
from vsqlvault.errors import PluginFailed, PluginUnusable, SettingsInvalid
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.control import VaultControl
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model import pci_dss
from vsqlvault.model.control import CONTROL_NAME, CONTROLS
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.model.sandbox import StepState
from vsqlvault.model.transparency import Checkpoint
from vsqlvault.plugin_loader import Plugins
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.runtime.exports import log_sinks
from vsqlvault.runtime.tuning import DEFAULT_TUNING, Tuning
from vsqlvault.service.access.authorizer import Authorizer
from vsqlvault.service.access.explain import Explain
from vsqlvault.service.access.replay import Replay
from vsqlvault.service.audit.auth_failures import AuthFailureLog
from vsqlvault.service.audit.log_reader import Logs
from vsqlvault.service.audit.recorder import Auditor
from vsqlvault.service.audit.unaudited import UnauditedRequests
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.compliance.acknowledgements import Acknowledgements
from vsqlvault.service.compliance.attestation_schedule import AttestationSchedule
from vsqlvault.service.compliance.attestations import Attestations
from vsqlvault.service.compliance.control_checks import ControlChecks
from vsqlvault.service.compliance.controls import Controls
from vsqlvault.service.compliance.evidence import Evidence
from vsqlvault.service.compliance.process_log import ProcessLog
from vsqlvault.service.compliance.report import Report
from vsqlvault.service.credentials.api_key_cache import ApiKeyCache
from vsqlvault.service.credentials.api_keys import ApiKeys
from vsqlvault.service.credentials.inventory import Credentials
from vsqlvault.service.credentials.key_origins import KeyOrigins
from vsqlvault.service.credentials.ledger import CredentialLedger
from vsqlvault.service.credentials.rate_limit import AuthRateLimiter
from vsqlvault.service.credentials.reload import CredentialReload
from vsqlvault.service.credentials.sessions import BrowserSessions
from vsqlvault.service.entries.held_entries import HeldEntries
from vsqlvault.service.entries.key_refs import KeyRefs
from vsqlvault.service.entries.key_usage import KeyUsage
from vsqlvault.service.entries.service import EntryService
from vsqlvault.service.entries.value_integrity import ValueIntegrity
from vsqlvault.service.log.checkpoint_pruning import Thinning
from vsqlvault.service.log.continuity import Continuity
from vsqlvault.service.log.delivery_watch import DeliveryWatch
from vsqlvault.service.log.observers import Observers
from vsqlvault.service.log.quarantine import Quarantine
from vsqlvault.service.log.reader import Transparency
from vsqlvault.service.log.restore import Restore
from vsqlvault.service.log.sequencer import Sequencer, Signing
from vsqlvault.service.log.verifier import LogVerifier
from vsqlvault.service.plugin_calls import call_plain
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.gauges import PurgeGauges
from vsqlvault.service.purge.purger import Purger
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
    core = _core(plugins, storage, hardening, signing, tuning)
    log_services, credentials = _log(core), _credentials(core)
    return Vault(
        entries=_entries(core),
        key_refs=KeyRefs(storage=storage, queue=core.queue, policy_cache=core.policy_cache, auditor=core.auditor),
        key_usage=core.key_usage,
        access=_access(core),
        rules=_rules(core),
        purge=_purge(core),
        log=log_services,
        compliance=_compliance(core, log_services),
        credentials=credentials,
        audit=_audit(core, credentials.ledger),
        storage=storage,
        queue=core.queue,
        clock=core.clock,
        plugins=plugins.origins,
        hardening=hardening,
        pages=list(plugins.offers("vault_pages").values()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Core:
    """The parts that services of several areas share."""

    settings: Settings
    plugins: Plugins
    storage: Storage
    hardening: Sequence[StepState]
    signing: Signing
    tuning: Tuning
    clock: StorageClock
    queue: CommitQueue
    policy_cache: PolicyCache
    auditor: Auditor
    authorizer: Authorizer
    purger: Purger
    purge_methods: Mapping[str, PurgeMethod]
    clock_guard: ClockGuard
    anchors: Sequence[Anchor]
    authenticators: Sequence[Authenticator]
    controls: Sequence[VaultControl]
    inventory: Credentials
    integrity: ValueIntegrity
    key_usage: KeyUsage


def _core(
    plugins: Plugins, storage: Storage, hardening: Sequence[StepState], signing: Signing, tuning: Tuning
) -> _Core:
    timeout = plugins.settings.access.plugin_timeout_seconds
    clock = StorageClock()
    evaluators = plugins.offers("vault_access_policies")
    policy_cache = PolicyCache(storage, _built_in_policies(evaluators), KeyOrigins(storage).unlogged)
    queue = _queue(plugins, storage, clock, policy_cache)
    purge_methods = plugins.offers("vault_purge_methods")
    purger = Purger(purge_methods, timeout)
    api_key_cache = ApiKeyCache(policy_cache, queue.read, clock)
    authenticators = _authenticators(plugins, api_key_cache)
    return _Core(
        settings=plugins.settings,
        plugins=plugins,
        storage=storage,
        hardening=hardening,
        signing=signing,
        tuning=tuning,
        clock=clock,
        queue=queue,
        policy_cache=policy_cache,
        auditor=Auditor(queue, clock, api_key_cache.revalidate),
        authorizer=Authorizer(evaluators, timeout, purger.retires_id),
        purger=purger,
        purge_methods=purge_methods,
        clock_guard=ClockGuard(storage, queue, interval_seconds=tuning.clock_check_seconds),
        anchors=list(plugins.offers("vault_anchors").values()),
        authenticators=authenticators,
        controls=_controls_of_plugins(plugins),
        inventory=Credentials(storage, clock, authenticators, queue.read, tick_seconds=tuning.credential_tick_seconds),
        integrity=ValueIntegrity(),
        key_usage=KeyUsage(
            storage=storage,
            queue=queue,
            cryptoperiod_days=plugins.settings.compliance.cryptoperiod_days,
            refuses_stale=plugins.settings.compliance.refuse_stale_keys,
        ),
    )


def _queue(plugins: Plugins, storage: Storage, clock: StorageClock, policy_cache: PolicyCache) -> CommitQueue:
    return CommitQueue(
        storage,
        clock,
        max_batch=plugins.settings.storage.max_batch,
        max_waiting=plugins.settings.storage.max_waiting_requests,
        batch_seconds=plugins.settings.storage.timeout_seconds,
        follow=policy_cache.at,
    )


def _authenticators(plugins: Plugins, api_key_cache: ApiKeyCache) -> list[Authenticator]:
    stored_keys = api_key_cache if plugins.settings.auth.stored_keys else NoStoredKeys()
    return list(plugins.offers("vault_authenticators", stored_keys=stored_keys).values())


def _controls_of_plugins(plugins: Plugins) -> list[VaultControl]:
    """Return the controls that plugins add. Raises PluginUnusable for a name or a requirement that cannot be shown."""
    found: list[VaultControl] = list(plugins.offers("vault_controls").values())
    for control in found:
        if not CONTROL_NAME.fullmatch(control.name) or control.name in CONTROLS:
            raise PluginUnusable(
                f"control {control.name!r}: expected lower-case words with _, and none of the vault's own"
            )
        if unknown := pci_dss.unknown_ids(control.requirements):
            raise PluginUnusable(f"control {control.name!r}: expected ids of PCI DSS, found {unknown[0]!r}")
    return found


def _entries(core: _Core) -> EntryService:
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


def _access(core: _Core) -> AccessServices:
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


def _rules(core: _Core) -> RuleServices:
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


def _purge(core: _Core) -> PurgeServices:
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


def _log(core: _Core) -> LogServices:
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
    observers = Observers(
        core.storage,
        list(core.plugins.offers("vault_observers").values()),
        core.purge_methods,
        log_sinks(core.plugins),
        batch=core.tuning.observer_batch,
    )
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
            keys=[each.verifier for each in (signer, core.signing.previous) if each],
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
    )


def _compliance(core: _Core, log_services: LogServices) -> ComplianceServices:
    schedule = AttestationSchedule(core.storage, core.settings.compliance.attestation_interval_days)
    report = _report(core, log_services)
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
        controls=_controls(core, schedule, log_services),
        acknowledgements=Acknowledgements(storage=core.storage, queue=core.queue, auditor=core.auditor),
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


def _report(core: _Core, log_services: LogServices) -> Report:
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


def _controls(core: _Core, schedule: AttestationSchedule, log_services: LogServices) -> Controls:
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


def _credentials(core: _Core) -> CredentialServices:
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


def _audit(core: _Core, ledger: CredentialLedger) -> AuditServices:
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


def _built_in_policies(evaluators: dict[str, Any]) -> dict[str, AccessPolicy]:
    policies: dict[str, AccessPolicy] = {}
    for evaluator in evaluators.values():
        try:
            brought = list(evaluator.built_in_policies())
        except BaseException as error:
            raise PluginUnusable(f"policy evaluator {evaluator.name}: {type(error).__name__}: {error}") from error
        for policy in brought:
            if policy.name in policies:
                raise SettingsInvalid(f"two plugins bring a built-in access policy called {policy.name}: block one")
            policies[policy.name] = policy
    return policies


def _keep(anchor: Anchor, checkpoint: Checkpoint) -> None:
    with suppress(PluginFailed):  # it is logged; the control anchor_fresh fails
        call_plain(anchor, lambda: anchor.keep(checkpoint))
