"""Metrics of the controls, measured by every process and summed over workers."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.model.control import ControlState
from vsqlvault.service.vault import Vault


class ControlCollector(Collector):
    """Reads the latest results of the controls."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Return the metric of the controls. Controls that are not in use are omitted."""
        failing = GaugeMetricFamily(
            "vsqlvault_control_failing",
            "1 while the control fails. No sample for a control that is not in use.",
            labels=["control"],
        )
        for control in self._vault.compliance.controls.known:
            if control.state is not ControlState.NOT_IN_USE:
                failing.add_metric([control.name], control.state is ControlState.FAILING)
        yield failing
        due = GaugeMetricFamily(
            "vsqlvault_attestation_due_timestamp_seconds",
            "Unix time at which the next attestation of retention is due.",
        )
        if due_at := self._vault.compliance.attestations.beginning.due_at:
            due.add_metric([], due_at.timestamp())
        yield due
