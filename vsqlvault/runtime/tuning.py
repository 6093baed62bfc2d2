"""Intervals and limits that are not settings."""

from __future__ import annotations

from dataclasses import dataclass

from vsqlvault.service.audit import auth_failures, unaudited
from vsqlvault.service.compliance import attestations, controls
from vsqlvault.service.credentials import inventory
from vsqlvault.service.log import quarantine
from vsqlvault.service.purge import clock_guard, gauges, sweeper


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """How often background tasks run, and how much they take at once. Operators have the defaults; tests pass their own."""

    attestation_check_seconds: float = attestations.CHECK_INTERVAL_SECONDS
    auth_failure_flush_seconds: float = auth_failures.INTERVAL_SECONDS
    clock_check_seconds: float = clock_guard.CHECK_INTERVAL_SECONDS
    control_check_seconds: float = controls.CHECK_INTERVAL_SECONDS
    credential_tick_seconds: float = inventory.TICK_SECONDS
    log_check_seconds: float = quarantine.CHECK_INTERVAL_SECONDS
    purge_gauge_seconds: float = gauges.MEASURE_INTERVAL_SECONDS
    sweep_lease_renewal_seconds: float = sweeper.RENEW_SECONDS
    sweep_retry_seconds: float = sweeper.RETRY_SECONDS
    unaudited_flush_seconds: float = unaudited.RETRY_SECONDS


DEFAULT_TUNING = Tuning()
