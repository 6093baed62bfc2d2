"""The registry of all metrics but those of credentials. It imports the Prometheus client, which takes long."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from vsqlvault.http.metrics.controls import ControlCollector
from vsqlvault.http.metrics.log import LogCollector
from vsqlvault.http.metrics.purge import PurgeCollector
from vsqlvault.http.metrics.requests import BUCKETS, RequestCounts
from vsqlvault.http.server.state import Counts
from vsqlvault.service.vault import Vault


def registry_of(vault: Vault, counts: Counts, requests: RequestCounts) -> CollectorRegistry:
    """Return the registry of a vault, its server and its requests."""
    registry = CollectorRegistry()
    registry.register(RequestCollector(requests))
    registry.register(QueueCollector(vault))
    registry.register(RefusalCollector(vault))
    registry.register(LogCollector(vault))
    registry.register(PurgeCollector(vault))
    registry.register(ControlCollector(vault))
    registry.register(ConnectionCollector(counts))
    return registry


class RequestCollector(Collector):
    """Reads the counts of requests."""

    def __init__(self, requests: RequestCounts) -> None:
        self._requests = requests

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of requests."""
        requests = CounterMetricFamily(
            "vsqlvault_http_requests",
            "Requests answered, by method, route and status.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), count in self._requests.answered.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        spans = HistogramMetricFamily(
            "vsqlvault_http_request_seconds",
            "Seconds from the arrival of a request to its response.",
            labels=["method", "route"],
        )
        bounds = [*map(str, BUCKETS), "+Inf"]
        for labels, timings in self._requests.timings.items():
            totals = accumulate(timings.buckets)
            spans.add_metric(list(labels), list(zip(bounds, totals, strict=True)), timings.seconds)
        yield spans


class ConnectionCollector(Collector):
    """Reads the server's counts."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of connections."""
        yield GaugeMetricFamily("vsqlvault_connections", "Open connections.", self._counts.open)
        yield CounterMetricFamily("vsqlvault_connections_accepted", "Accepted connections.", self._counts.accepted)
        yield CounterMetricFamily(
            "vsqlvault_connections_rejected",
            "Connections closed at once because the limit was reached.",
            self._counts.rejected,
        )
        refused = CounterMetricFamily(
            "vsqlvault_http_refused", "Malformed requests and failed TLS handshakes, by reason.", labels=["reason"]
        )
        for reason, count in self._counts.refused.items():
            refused.add_metric([reason], count)
        yield refused
        until = GaugeMetricFamily(
            "vsqlvault_tls_expiry_timestamp_seconds",
            "Unix time at which the first certificate or revocation list in a file expires.",
            labels=["file"],
        )
        for name, at in (self._counts.tls.until if self._counts.tls else {}).items():
            until.add_metric([name], at.timestamp())
        yield until


class RefusalCollector(Collector):
    """Reads the counts of rejected credentials."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of rejected credentials."""
        failing = self._vault.credentials.rate_limiter
        yield CounterMetricFamily(
            "vsqlvault_credentials_refused", "Requests with a rejected credential, or without one.", failing.refused
        )
        yield CounterMetricFamily(
            "vsqlvault_credentials_limited", "Rejected credentials that were answered with 429.", failing.limited
        )
        yield GaugeMetricFamily(
            "vsqlvault_sources_throttled", "Client addresses that are rate-limited now.", failing.throttled
        )


class QueueCollector(Collector):
    """Reads the counts of the commit queue."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of the queue."""
        queue = self._vault.queue
        sides = (("read", queue.reads.counts), ("commit", queue.writes.counts))
        waiting = GaugeMetricFamily("vsqlvault_queue_waiting", "Queued reads and commits.", labels=["kind"])
        for kind, count in queue.count_waiting().items():
            waiting.add_metric([kind], count)
        yield waiting
        for name, text in _COUNTERS.items():
            family = CounterMetricFamily(f"vsqlvault_queue_{name}", text, labels=["kind"])
            for kind, counts in sides:
                family.add_metric([kind], getattr(counts, name))
            yield family
        fair_queue = self._vault.fair_queue
        yield GaugeMetricFamily(
            "vsqlvault_fair_queue_waiting", "Requests that wait because their app uses its share.", fair_queue.waiting
        )
        yield CounterMetricFamily(
            "vsqlvault_fair_queue_delayed", "Requests that waited because their app used its share.", fair_queue.delayed
        )


_COUNTERS = {
    "items": "Reads and commits that were put into a batch.",
    "batches": "Batches sent to the storage. Items divided by batches is the mean batch size.",
    "rerun": "Batches that failed and were retried item by item.",
    "refused": "Reads and commits rejected because the queue was full.",
}
