"""What is measured of the controls: by every process for itself, and summed over workers like everything else."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.model.control import ControlState
from vsqlvault.service.vault import Vault


class ControlCollector(Collector):
    """Reads what was last found of the controls."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Give the controls' metric as it stands now; controls that are not in use are left out."""
        failing = GaugeMetricFamily(
            "vsqlvault_control_failing",
            "1 while the control fails; nothing of one that is not in use.",
            labels=["control"],
        )
        for control in self._vault.compliance.controls.known:
            if control.state is not ControlState.NOT_IN_USE:
                failing.add_metric([control.name], control.state is ControlState.FAILING)
        yield failing
        due = GaugeMetricFamily(
            "vsqlvault_attestation_due_timestamp_seconds",
            "When the next attestation of retention is due, in Unix time.",
        )
        if due_at := self._vault.compliance.attestations.beginning.due_at:
            due.add_metric([], due_at.timestamp())
        yield due
