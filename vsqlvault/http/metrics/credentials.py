"""Metrics of credentials: number, age and time without use. Every worker has the same values, so they are not summed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.service.vault import Vault


class Together(Collector):
    """Joins the metrics that workers count separately with those that are the same in every worker and must not be
    summed.
    """

    def __init__(self, *collectors: Collector) -> None:
        self._collectors = collectors

    def collect(self) -> Iterable[Metric]:
        """Return all metrics of both kinds."""
        for collector in self._collectors:
            yield from collector.collect()


class CredentialCollector(Collector):
    """Reads the known credentials: number, age and time without use. No label contains a credential."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of credentials. Ages are in seconds, of active credentials, by the storage's clock."""
        known, now = self._vault.credentials.inventory.known(), self._vault.clock.now()
        states = Counter((each.method, each.state(now)) for each in known)
        count = GaugeMetricFamily(
            "vsqlvault_credentials", "Known credentials, by method and state.", labels=["method", "state"]
        )
        for (method, state), number in sorted(states.items()):
            count.add_metric([method, state], number)
        yield count
        oldest = GaugeMetricFamily(
            "vsqlvault_credential_oldest_seconds", "Age of the oldest active credential.", labels=["method"]
        )
        unused = GaugeMetricFamily(
            "vsqlvault_credential_unused_seconds",
            "Longest time that an active credential has not been used, or since its creation if it was never used.",
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
