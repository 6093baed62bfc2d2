"""Prometheus metrics of sweeps, scrubs and the clock: no purpose, app or id in any label."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.service.purge.gauges import PurgeGauge
from vsqlvault.service.vault import Vault


class PurgeCollector(Collector):
    """Reads the sweeper's counts and the latest purge gauges."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of sweeps, scrubs and the clock."""
        sweeper = self._vault.purge.sweeper
        run = sweeper.running
        yield CounterMetricFamily("vsqlvault_sweep_purged", "Entries purged by sweeps.", sweeper.purged)
        yield CounterMetricFamily("vsqlvault_sweep_failed", "Entries that sweeps could not purge.", sweeper.failed)
        yield GaugeMetricFamily("vsqlvault_sweep_running", "Sweeps running now.", int(run is not None))
        yield GaugeMetricFamily(
            "vsqlvault_sweep_run_due", "Entries that were due when the running sweep started.", run.due if run else 0
        )
        yield GaugeMetricFamily(
            "vsqlvault_sweep_run_done",
            "Entries that the running sweep has processed: purged, held or failed.",
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
    "entries_overdue": "Expired entries that wait for a sweep.",
    "entries_held": "Expired entries under a legal hold.",
    "entries_expiring": "Entries that expire within one day.",
    "sweep_finished_timestamp_seconds": "Unix time at which the last sweep of any process ended.",
    "scrub_finished_timestamp_seconds": "Unix time at which the last scrub of any process ended.",
    "scrub_incomplete": "1 if the last scrub left purged bytes in the data files.",
    "clock_leap_seconds": "Seconds by which the storage's clock is ahead of the last recorded time, if this stops sweeps.",
    "clock_behind_seconds": "Seconds by which the storage's clock is behind the vault's time, which stands "
    "still until the clock catches up.",
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
