"""What is measured of the transparency log: by the process that sequences, and summed over workers like everything else."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.errors import PluginFailed
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.service.plugin_calls import call_plain
from vsqlvault.service.vault import Vault


class LogCollector(Collector):
    """Reads the sequencer's counts, and whether something is wrong with what is stored."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Give the log's metrics as they stand now."""
        state = self._vault.log.sequencer.state
        yield CounterMetricFamily("vsqlvault_log_leaves", "Rows that got their index in the tree.", state.leaves)
        yield CounterMetricFamily("vsqlvault_log_checkpoints", "Checkpoints signed.", state.checkpoints)
        yield CounterMetricFamily(
            "vsqlvault_log_checkpoints_pruned",
            "Old checkpoints taken out because the next one stands for them.",
            state.thinned,
        )
        yield GaugeMetricFamily(
            "vsqlvault_log_inconsistent",
            "1 while the stored tree is not the one that was signed.",
            state.is_inconsistent,
        )
        yield GaugeMetricFamily(
            "vsqlvault_quarantine",
            "1 while entries are refused because the database is not the one known outside.",
            bool(self._vault.log.quarantine.notes),
        )
        failing = GaugeMetricFamily(
            "vsqlvault_anchor_failing", "1 while an anchor cannot keep what was signed.", labels=["anchor"]
        )
        for anchor in self._vault.log.quarantine.anchors:
            failing.add_metric([anchor.name], _is_failing(anchor))
        yield failing


def _is_failing(anchor: Anchor) -> bool:
    """Whether an anchor reports a failure, or fails to report."""
    try:
        return call_plain(anchor, anchor.failure) is not None
    except PluginFailed:
        return True
