"""Prometheus metrics: no purpose, app or id in any label."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from vsqlvault.errors import NotAcceptable
from vsqlvault.http.media_types import preferred
from vsqlvault.http.messages import Reply
from vsqlvault.http.metrics.controls import ControlCollector
from vsqlvault.http.metrics.credentials import CredentialCollector, Together
from vsqlvault.http.metrics.log import LogCollector
from vsqlvault.http.metrics.purge import PurgeCollector
from vsqlvault.http.metrics.workers import Share
from vsqlvault.http.server.state import Counts
from vsqlvault.service.vault import Vault

_TEXT, _OPENMETRICS = "text/plain", "application/openmetrics-text"
BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


class Metrics:
    """Counts requests, and reads the vault's own counts when metrics are requested."""

    def __init__(self, vault: Vault, counts: Counts | None = None, share: Share | None = None) -> None:
        self._share = share
        self._registry = CollectorRegistry()
        self._requests = RequestCollector()
        self.observe = self._requests.observe
        self._registry.register(self._requests)
        self._registry.register(QueueCollector(vault))
        self._registry.register(RefusalCollector(vault))
        self._registry.register(LogCollector(vault))
        self._registry.register(PurgeCollector(vault))
        self._registry.register(ControlCollector(vault))
        self._registry.register(ConnectionCollector(counts or Counts()))
        self._of_credentials = CredentialCollector(vault)

    def exposition(self, accept: str | None) -> Reply:
        """Return all metrics, as Prometheus text or, where ``Accept`` asks for it, OpenMetrics."""
        try:
            wanted = preferred(accept, (_TEXT, _OPENMETRICS))
        except NotAcceptable:
            wanted = _TEXT  # a scraper that accepts neither still gets its metrics
        encode, content_type = choose_encoder(wanted)  # never with what a caller wrote: it trips over odd parameters
        registry: Any = self._share.total(self._registry) if self._share else self._registry
        return Reply(200, encode(Together(registry, self._of_credentials)), content_type)

    def publish(self) -> None:
        """Publish this worker's samples for the other workers, if there are any."""
        if self._share:
            self._share.publish(self._registry)


@dataclass(slots=True)
class _Timings:
    """The histogram of one method on one route: requests per bucket (the last one unbounded), and their total seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


class RequestCollector(Collector):
    """Counts requests in plain numbers, because it runs on every request. They become metrics when they are requested."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, str, int], int] = {}
        self._timings: dict[tuple[str, str], _Timings] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        answered = (method, route, status)
        self._answered[answered] = self._answered.get(answered, 0) + 1
        timings = self._timings.get((method, route))
        if timings is None:
            timings = self._timings[method, route] = _Timings()
        timings.buckets[bisect_left(BUCKETS, seconds)] += 1
        timings.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of requests."""
        requests = CounterMetricFamily(
            "vsqlvault_http_requests",
            "Requests answered, by method, route and status.",
            labels=["method", "route", "status"],
        )
        for (method, route, status), count in self._answered.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        spans = HistogramMetricFamily(
            "vsqlvault_http_request_seconds",
            "Seconds from the arrival of a request to its response.",
            labels=["method", "route"],
        )
        bounds = [*map(str, BUCKETS), "+Inf"]
        for labels, timings in self._timings.items():
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
        sides = (("read", queue.reads), ("commit", queue.writes))
        waiting = GaugeMetricFamily("vsqlvault_queue_waiting", "Queued reads and commits.", labels=["kind"])
        for kind, batcher in sides:
            waiting.add_metric([kind], batcher.waiting)
        yield waiting
        for name, text in _COUNTERS.items():
            family = CounterMetricFamily(f"vsqlvault_queue_{name}", text, labels=["kind"])
            for kind, batcher in sides:
                family.add_metric([kind], getattr(batcher.counts, name))
            yield family


_COUNTERS = {
    "items": "Reads and commits that were put into a batch.",
    "batches": "Batches sent to the storage. Items divided by batches is the mean batch size.",
    "rerun": "Batches that failed and were retried item by item.",
    "refused": "Reads and commits rejected because the queue was full.",
}
