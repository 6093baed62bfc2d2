"""Prometheus metrics of sweeps, scrubs and the clock: no purpose, app or id in any label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.service.purge.gauges import PurgeGauge
from vsqlvault.service.vault import Vault


class PurgeCollector(Collector):
    """Reads what the sweeper has counted, and what was last measured of purging."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Give the metrics as they stand now."""
        sweeper = self._vault.purge.sweeper
        run = sweeper.running
        yield CounterMetricFamily("vsqlvault_sweep_purged", "Entries that sweeps purged.", sweeper.purged)
        yield CounterMetricFamily(
            "vsqlvault_sweep_failed", "Entries that sweeps could not purge, and kept.", sweeper.failed
        )
        yield GaugeMetricFamily("vsqlvault_sweep_running", "Sweeps that run now.", int(run is not None))
        yield GaugeMetricFamily(
            "vsqlvault_sweep_run_due", "Entries that were due when the running sweep began.", run.due if run else 0
        )
        yield GaugeMetricFamily(
            "vsqlvault_sweep_run_done",
            "Entries that the running sweep is done with: purged, held or kept.",
            run.done if run else 0,
        )
        yield from self._measured()

    def _measured(self) -> Iterable[Metric]:
        values = _values(self._vault.purge.gauges.gauge)
        for name, text in _TEXTS.items():
            family = GaugeMetricFamily(f"vsqlvault_{name}", text)
            if (value := values.get(name)) is not None:
                family.add_metric([], value)
            yield family


_TEXTS = {
    "entries_overdue": "Entries that have expired and wait for a sweep.",
    "entries_held": "Entries that have expired and that legal holds keep.",
    "entries_expiring": "Entries that expire within a day.",
    "sweep_finished_timestamp_seconds": "When the last sweep of any process ended, in Unix time.",
    "scrub_finished_timestamp_seconds": "When the last scrub of any process ended, in Unix time.",
    "scrub_incomplete": "1 where the last scrub left purged bytes in the data files.",
    "clock_leap_seconds": "How far the storage's clock is past the last time it was seen, where that stops the sweep.",
    "clock_behind_seconds": "How far the storage's clock is behind the vault's time, which stands still meanwhile.",
}


def _values(gauge: PurgeGauge | None) -> Mapping[str, float | None]:
    if gauge is None:
        return {}
    return {
        "entries_overdue": gauge.overdue,
        "entries_held": gauge.held,
        "entries_expiring": gauge.expiring,
        "sweep_finished_timestamp_seconds": gauge.swept_at.timestamp() if gauge.swept_at else None,
        "scrub_finished_timestamp_seconds": gauge.scrubbed_at.timestamp() if gauge.scrubbed_at else None,
        "scrub_incomplete": None if gauge.is_scrubbed is None else not gauge.is_scrubbed,
        "clock_leap_seconds": gauge.clock.leap.total_seconds(),
        "clock_behind_seconds": gauge.clock.behind.total_seconds(),
    }
