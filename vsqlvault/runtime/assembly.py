"""Builds a vault from its parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from vsqlvault.config import Settings
from vsqlvault.errors import PluginUnusable, SettingsInvalid
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.interfaces.authenticator import Authenticator
from vsqlvault.interfaces.storage import Storage
from vsqlvault.interfaces.stored_keys import NoStoredKeys
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.model.sandbox import StepState
from vsqlvault.plugin_loader import Plugins
from vsqlvault.service.access.decisions import Decisions
from vsqlvault.service.access.explain import Explain
from vsqlvault.service.access.replay import Replay
from vsqlvault.service.audit.auth_failures import AuthFailureLog
from vsqlvault.service.audit.log_reader import Logs
from vsqlvault.service.audit.recorder import Auditor
from vsqlvault.service.audit.unaudited import UnauditedRequests
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.commit.storage_clock import StorageClock
from vsqlvault.service.compliance.attestation_schedule import AttestationSchedule
from vsqlvault.service.compliance.attestations import Attestations
from vsqlvault.service.compliance.control_checks import ControlChecks
from vsqlvault.service.compliance.controls import Controls
from vsqlvault.service.compliance.evidence import Evidence
from vsqlvault.service.compliance.report import Report
from vsqlvault.service.credentials.api_key_cache import ApiKeyCache
from vsqlvault.service.credentials.api_keys import ApiKeys
from vsqlvault.service.credentials.inventory import Credentials
from vsqlvault.service.credentials.rate_limit import AuthRateLimiter
from vsqlvault.service.credentials.reload import CredentialReload
from vsqlvault.service.entries.key_refs import KeyRefs
from vsqlvault.service.entries.service import EntryService
from vsqlvault.service.log.quarantine import Quarantine
from vsqlvault.service.log.reader import Transparency
from vsqlvault.service.log.restore import Restore
from vsqlvault.service.log.sequencer import Sequencer, Signing
from vsqlvault.service.purge.clock_guard import ClockGuard
from vsqlvault.service.purge.gauges import PurgeGauges
from vsqlvault.service.purge.purger import Purger
from vsqlvault.service.purge.scrubber import Scrubber
from vsqlvault.service.purge.sweeper import Sweeper
from vsqlvault.service.rules.held_entries import HeldEntries
from vsqlvault.service.rules.history import History
from vsqlvault.service.rules.legal_holds import LegalHolds
from vsqlvault.service.rules.policies import Policies
from vsqlvault.service.rules.policy_cache import PolicyCache
from vsqlvault.service.vault import Vault

log = logging.getLogger(__name__)


Record = TypeVar("Record")


def assemble(plugins: Plugins, storage: Storage, hardening: Sequence[StepState], signing: Signing) -> Vault:
    """Put the parts together. Nothing is decided here but what is made of what."""
    settings = plugins.settings
    clock = StorageClock()
    evaluators = plugins.offers("vault_access_policies", "policy evaluator")
    policy_cache = PolicyCache(storage, _built_in_policies(evaluators))
    queue = _queue(plugins, storage, clock, policy_cache)
    timeout = settings.access.plugin_timeout_seconds
    decisions = Decisions(evaluators, timeout)
    purges = Purger(plugins.offers("vault_purge_methods", "purge method"), timeout)
    ring = ApiKeyCache(policy_cache, queue.read, clock)
    auditor = Auditor(queue, clock, ring.revalidate)
    authenticators = _authenticators(plugins, ring)
    credentials = Credentials(storage, clock, authenticators, queue.read)
    watch = ClockGuard(storage, queue)
    anchors = list(plugins.offers("vault_anchors", "anchor").values())
    beginning = AttestationSchedule(storage, settings.compliance.attestation_interval_days)
    quarantine = Quarantine(storage, anchors, signing.current.verifier.name if signing.current else None)
    sequencer = _sequencer(plugins, storage, queue, clock, signing, quarantine)
    parts = _Parts(settings, storage, queue, auditor, policy_cache, decisions, credentials, watch)
    report = _report(parts, plugins, hardening)
    scrubber = _scrubber(parts)
    shared: dict[str, Any] = {"queue": queue, "auditor": auditor}
    ruled: dict[str, Any] = {**shared, "storage": storage, "policy_cache": policy_cache}
    return Vault(
        entries=_entries(parts, purges),
        policies=Policies(decisions=decisions, purges=purges, **ruled),
        api_keys=ApiKeys(
            policy_cache=policy_cache, credentials=credentials, are_taken=settings.auth.stored_keys, **shared
        ),
        credentials=credentials,
        holds=LegalHolds(policy_cache=policy_cache, **shared),
        held_entries=HeldEntries(watch=watch, **ruled),
        history=History(**ruled),
        replay=Replay(decisions=decisions, **ruled),
        explain=Explain(decisions=decisions, purges=purges, **ruled),
        logs=Logs(storage=storage, **shared),
        key_refs=KeyRefs(**ruled),
        sweeper=_sweeper(parts, purges, scrubber),
        sequencer=sequencer,
        quarantine=quarantine,
        restore=Restore(policy_cache=policy_cache, purges=purges, quarantine=quarantine, **shared),
        transparency=Transparency(storage=storage, verifier=sequencer.verifier, **shared),
        report=report,
        evidence=_evidence(parts, plugins, report, signing),
        refusals=AuthFailureLog(queue, clock),
        auth_rate_limiter=AuthRateLimiter(settings.auth.max_failures_per_minute),
        auditor=auditor,
        gaps=UnauditedRequests(queue, clock),
        queue=queue,
        clock=clock,
        clock_guard=watch,
        scrubber=scrubber,
        purge_gauges=PurgeGauges(storage, queue, policy_cache, watch),
        controls=_controls(parts, beginning, quarantine, anchors, authenticators, sequencer),
        attestations=_attestations(parts, beginning, signing),
        storage=storage,
        authenticators=authenticators,
        credential_reload=CredentialReload(authenticators, settings, plugins.check),
        plugins=plugins.origins,
        hardening=hardening,
    )


def _authenticators(plugins: Plugins, ring: ApiKeyCache) -> list[Authenticator]:
    stored_keys = ring if plugins.settings.auth.stored_keys else NoStoredKeys()
    return list(plugins.offers("vault_authenticators", "authenticator", stored_keys=stored_keys).values())


def _queue(plugins: Plugins, storage: Storage, clock: StorageClock, policy_cache: PolicyCache) -> CommitQueue:
    return CommitQueue(
        storage,
        clock,
        max_batch=plugins.settings.storage.max_batch,
        max_waiting=plugins.settings.storage.max_waiting_requests,
        observers=[_guarded(function) for function in plugins.observers("vault_access_decided")],
        purge_observers=[_guarded(function) for function in plugins.observers("vault_entry_purged")],
        follow=policy_cache.at,
    )


def _sequencer(
    plugins: Plugins,
    storage: Storage,
    queue: CommitQueue,
    clock: StorageClock,
    signing: Signing,
    quarantine: Quarantine,
) -> Sequencer:
    return Sequencer(
        storage=storage,
        queue=queue,
        clock=clock,
        signing=signing,
        interval_seconds=plugins.settings.audit.checkpoint_interval_seconds,
        observers=[_guarded(function) for function in plugins.observers("vault_checkpoint_signed")],
        may_grow=quarantine.is_lifted,
    )


class _Parts(NamedTuple):
    """What those who look at a whole vault are made from."""

    settings: Settings
    storage: Storage
    queue: CommitQueue
    auditor: Auditor
    policy_cache: PolicyCache
    decisions: Decisions
    credentials: Credentials
    watch: ClockGuard


def _entries(of: _Parts, purges: Purger) -> EntryService:
    return EntryService(
        storage=of.storage,
        queue=of.queue,
        policy_cache=of.policy_cache,
        decisions=of.decisions,
        purges=purges,
        auditor=of.auditor,
        watch=of.watch,
        require_defined_policy=of.settings.access.require_defined_policy,
    )


def _scrubber(of: _Parts) -> Scrubber:
    return Scrubber(
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        mode=of.settings.purge.scrub,
        lock_seconds=of.settings.purge.scrub_lock_seconds,
    )


def _sweeper(of: _Parts, purges: Purger, scrubber: Scrubber) -> Sweeper:
    return Sweeper(
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        policy_cache=of.policy_cache,
        purges=purges,
        watch=of.watch,
        scrubber=scrubber,
        batch=of.settings.purge.sweep_batch,
        pause_seconds=of.settings.purge.sweep_pause_seconds,
    )


def _report(of: _Parts, plugins: Plugins, hardening: Sequence[StepState]) -> Report:
    return Report(
        settings=of.settings,
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        policy_cache=of.policy_cache,
        decisions=of.decisions,
        credentials=of.credentials,
        plugins=plugins.origins,
        sections=list(plugins.offers("vault_report_sections", "report section").values()),
        hardening=hardening,
    )


def _evidence(of: _Parts, plugins: Plugins, report: Report, signing: Signing) -> Evidence:
    return Evidence(
        settings=of.settings,
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        policy_cache=of.policy_cache,
        report=report,
        plugins=plugins.origins,
        signer=signing.current,
    )


def _attestations(of: _Parts, beginning: AttestationSchedule, signing: Signing) -> Attestations:
    return Attestations(
        storage=of.storage,
        queue=of.queue,
        auditor=of.auditor,
        policy_cache=of.policy_cache,
        beginning=beginning,
        signer=signing.current,
        sweep_interval_hours=of.settings.purge.sweep_interval_hours,
    )


def _controls(
    of: _Parts,
    beginning: AttestationSchedule,
    quarantine: Quarantine,
    anchors: Sequence[Anchor],
    authenticators: Sequence[Authenticator],
    sequencer: Sequencer,
) -> Controls:
    checks = ControlChecks(
        settings=of.settings,
        storage=of.storage,
        queue=of.queue,
        policy_cache=of.policy_cache,
        watch=of.watch,
        beginning=beginning,
        quarantine=quarantine,
        anchors=anchors,
        authenticators=authenticators,
        is_signed=sequencer.verifier is not None,
    )
    return Controls(storage=of.storage, queue=of.queue, auditor=of.auditor, checks=checks)


def _built_in_policies(evaluators: dict[str, Any]) -> dict[str, AccessPolicy]:
    policies: dict[str, AccessPolicy] = {}
    for evaluator in evaluators.values():
        try:
            brought = list(evaluator.built_in_policies())
        except Exception as error:
            raise PluginUnusable(f"policy evaluator {evaluator.name}: {type(error).__name__}: {error}") from error
        for policy in brought:
            if policy.name in policies:
                raise SettingsInvalid(f"two plugins bring a built-in access policy called {policy.name}: block one")
            policies[policy.name] = policy
    return policies


def _guarded(observer: Callable[[Record], object]) -> Callable[[Record], None]:
    """Return the observer made harmless: what it raises is logged, and changes nothing."""

    def watch(record: Record) -> None:
        try:
            observer(record)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - an observer cannot break an answer
            log.error("observer failed", extra={"observer": observer.__module__, "error": type(error).__name__})  # noqa: TRY400

    return watch
