"""Intervals and limits that are not settings."""

from __future__ import annotations

from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access import loading, probes
from vsqlvault.service.audit import auth_failures, log_reader, unaudited
from vsqlvault.service.compliance import attestations, control_checks, controls, evidence, report
from vsqlvault.service.credentials import api_keys, inventory
from vsqlvault.service.entries import held_entries, listing
from vsqlvault.service.log import checkpoint_pruning, delivery_watch, observers, quarantine, sequencer, verifier
from vsqlvault.service.purge import clock_guard, expired, gauges, sweeper, throttle


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How often background tasks run, and how much they take at once. Operators have the defaults; tests pass their own."""

    anchor_seconds: float = quarantine.ANCHOR_SECONDS
    attestation_check_seconds: float = attestations.CHECK_INTERVAL_SECONDS
    attestation_max_listed: int = attestations.MAX_LISTED
    auth_failure_flush_seconds: float = auth_failures.INTERVAL_SECONDS
    clock_check_seconds: float = clock_guard.CHECK_INTERVAL_SECONDS
    control_check_seconds: float = controls.CHECK_INTERVAL_SECONDS
    control_max_overdue_read: int = control_checks.MAX_OVERDUE_READ
    credential_tick_seconds: float = inventory.TICK_SECONDS
    delivery_unmoved_seconds: float = delivery_watch.UNMOVED_SECONDS
    evidence_max_log_members: int = evidence.MAX_LOG_MEMBERS
    expired_page: int = expired.PAGE
    held_entries_page: int = held_entries.SCAN_PAGE
    log_check_seconds: float = quarantine.CHECK_INTERVAL_SECONDS
    log_verification_check_seconds: float = verifier.CHECK_INTERVAL_SECONDS
    log_stream_page: int = log_reader.STREAM_PAGE
    max_api_keys: int = api_keys.MAX_API_KEYS
    max_clock_age_seconds: float = loading.MAX_CLOCK_AGE_SECONDS
    min_unanchored_seconds: float = control_checks.MIN_UNANCHORED_SECONDS
    observer_batch: int = observers.BATCH
    pruning_page: int = checkpoint_pruning.PAGE
    pruning_rest_seconds: float = checkpoint_pruning.REST_SECONDS
    purge_gauge_seconds: float = gauges.MEASURE_INTERVAL_SECONDS
    report_probe_seconds: float = probes.PROBE_SECONDS
    report_section_seconds: float = report.SECTION_SECONDS
    scan_limits: listing.ScanLimits = listing.DEFAULT_SCAN_LIMITS
    sequencer_batch: int = sequencer.BATCH
    sequencer_lease_seconds: float = sequencer.LEASE_SECONDS
    sweep_alone_seconds: float = throttle.ALONE_SECONDS
    sweep_lease_renewal_seconds: float = sweeper.RENEW_SECONDS
    sweep_retry_seconds: float = sweeper.RETRY_SECONDS
    unaudited_flush_seconds: float = unaudited.RETRY_SECONDS


DEFAULT_TUNING = Tuning()
