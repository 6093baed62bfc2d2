"""Metrics of credentials: how many, how old, how long unused. They are the same in every worker, so nothing is summed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.service.vault import Vault


class Together(Collector):
    """What workers count each for themselves, and what every one of them knows alike and is not to be summed."""

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterable[Metric]:
        """Give all metrics of all of them."""
        for collector in self._collectors:
            yield from collector.collect()


class CredentialCollector(Collector):
    """Reads what is known of credentials: how many, how old, how long unused; no label names one."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Give the credentials' metrics as they stand now; ages in seconds, of active ones, by the storage's clock."""
        known, now = self._vault.credentials.inventory.known(), self._vault.clock.now()
        states = Counter((each.method, each.state(now)) for each in known)
        count = GaugeMetricFamily(
            "vsqlvault_credentials", "Credentials that are known beforehand.", labels=["method", "state"]
        )
        for (method, state), number in sorted(states.items()):
            count.add_metric([method, state], number)
        yield count
        oldest = GaugeMetricFamily(
            "vsqlvault_credential_oldest_seconds", "Age of the oldest active credential.", labels=["method"]
        )
        unused = GaugeMetricFamily(
            "vsqlvault_credential_unused_seconds",
            "Time since the use, or else the making, of the active credential that has gone unused the longest.",
            labels=["method"],
        )
        for method in sorted({method for method, _ in states}):
            active = [each for each in known if each.method == method and each.state(now) == "active"]
            if ages := [(now - each.since).total_seconds() for each in active if each.since]:
                oldest.add_metric([method], max(ages))
            if idle := [(now - at).total_seconds() for each in active if (at := each.last_used_at or each.created_at)]:
                unused.add_metric([method], max(idle))
        yield oldest
        yield unused
