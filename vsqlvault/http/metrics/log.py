"""Metrics of the transparency log, measured by the sequencing process and summed over workers."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.errors import PluginFailed
from vsqlvault.interfaces.anchor import Anchor
from vsqlvault.service.plugin_calls import call_plain
from vsqlvault.service.vault import Vault


class LogCollector(Collector):
    """Reads the sequencer's counts and the state of the log."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the log."""
        state = self._vault.log.sequencer.state
        yield CounterMetricFamily("vsqlvault_log_leaves", "Rows added to the tree.", state.leaves)
        yield CounterMetricFamily("vsqlvault_log_checkpoints", "Signed checkpoints.", state.checkpoints)
        yield CounterMetricFamily(
            "vsqlvault_log_checkpoints_pruned",
            "Old checkpoints deleted by checkpoint retention.",
            state.thinned,
        )
        yield GaugeMetricFamily(
            "vsqlvault_log_inconsistent",
            "1 if the stored tree does not match the signed tree.",
            state.is_inconsistent,
        )
        yield GaugeMetricFamily(
            "vsqlvault_quarantine",
            "1 while the vault is in quarantine and rejects requests for entries.",
            bool(self._vault.log.quarantine.notes),
        )
        yield from self._verification()
        failing = GaugeMetricFamily(
            "vsqlvault_anchor_failing", "1 while an anchor cannot store checkpoints.", labels=["anchor"]
        )
        for anchor in self._vault.log.quarantine.anchors:
            failing.add_metric([anchor.name], _is_failing(anchor))
        yield failing
        waiting = GaugeMetricFamily(
            "vsqlvault_delivery_waiting", "Leaves of the log not yet delivered to an observer.", labels=["delivery"]
        )
        for feed in self._vault.log.observers.feeds:
            waiting.add_metric([feed.name], feed.waiting)
        yield waiting

    def _verification(self) -> Iterable[Metric]:
        verified = GaugeMetricFamily(
            "vsqlvault_log_verified_timestamp_seconds", "Unix time at which the last verification of the log ended."
        )
        findings = GaugeMetricFamily(
            "vsqlvault_log_verification_findings", "Above 0 if the last verification of the log found a difference."
        )
        if (last := self._vault.log.verifier.known) is not None:
            verified.add_metric([], last.finished_at.timestamp())
        findings.add_metric([], last.findings if last else 0)
        yield verified
        yield findings


def _is_failing(anchor: Anchor) -> bool:
    """Whether an anchor reports a failure, or fails to report."""
    try:
        return call_plain(anchor, anchor.failure) is not None
    except PluginFailed:
        return True
