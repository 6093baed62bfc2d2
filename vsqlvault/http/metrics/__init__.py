"""Prometheus metrics: no purpose, app or id in any label."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter as Tally
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector

from vsqlvault.http.messages import Reply
from vsqlvault.http.metrics.controls import ControlCollector
from vsqlvault.http.metrics.credentials import CredentialCollector, Together
from vsqlvault.http.metrics.log import LogCollector
from vsqlvault.http.metrics.purge import PurgeCollector
from vsqlvault.http.metrics.workers import Share
from vsqlvault.http.server.tls import Tls
from vsqlvault.service.vault import Vault

BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0)


@dataclass(slots=True)
class Counts:
    """What became of connections, for metrics. ``refused`` counts requests that never got to be one, by reason."""

    open: int = 0
    accepted: int = 0
    rejected: int = 0
    refused: Tally[str] = field(default_factory=Tally)
    tls: Tls | None = None


class Metrics:
    """What is measured of requests, and what is read off the vault when somebody asks."""

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
        wanted = "application/openmetrics-text" if "application/openmetrics-text" in (accept or "") else ""
        encode, content_type = choose_encoder(wanted)  # never with what a caller wrote: it trips over odd parameters
        registry: Any = self._share.total(self._registry) if self._share else self._registry
        return Reply(200, encode(Together(registry, self._of_credentials)), content_type)

    def publish(self) -> None:
        """Leave this worker's samples for the others, where there are any."""
        if self._share:
            self._share.publish(self._registry)


@dataclass(slots=True)
class _Timings:
    """Of one method on one route: how many requests fell into each bucket, the last one without a bound, and their seconds."""

    buckets: list[int] = field(default_factory=lambda: [0] * (len(BUCKETS) + 1))
    seconds: float = 0.0


class RequestCollector(Collector):
    """Counts requests in plain numbers, for that happens with each of them; they become metrics when somebody asks."""

    def __init__(self) -> None:
        self._answered: dict[tuple[str, str, int], int] = {}
        self._timings: dict[tuple[str, str], _Timings] = {}

    def observe(self, method: str, route: str, status: int, seconds: float) -> None:
        """Count one request that was answered."""
        answered = (method, route, status)
        self._answered[answered] = self._answered.get(answered, 0) + 1
        timings = self._timings.get((method, route))
        if timings is None:
            timings = self._timings[method, route] = _Timings()
        timings.buckets[bisect_left(BUCKETS, seconds)] += 1
        timings.seconds += seconds

    def collect(self) -> Iterable[Metric]:
        """Give the requests' metrics as they stand now."""
        requests = CounterMetricFamily(
            "vsqlvault_http_requests", "Requests answered, by route and status.", labels=["method", "route", "status"]
        )
        for (method, route, status), count in self._answered.items():
            requests.add_metric([method, route, str(status)], count)
        yield requests
        spans = HistogramMetricFamily(
            "vsqlvault_http_request_seconds",
            "Seconds from a request's arrival to its answer.",
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
        """Give the connections' metrics as they stand now."""
        yield GaugeMetricFamily("vsqlvault_connections", "Connections that are open.", self._counts.open)
        yield CounterMetricFamily("vsqlvault_connections_accepted", "Connections accepted.", self._counts.accepted)
        yield CounterMetricFamily(
            "vsqlvault_connections_rejected", "Connections closed at once: too many.", self._counts.rejected
        )
        refused = CounterMetricFamily(
            "vsqlvault_http_refused", "Bytes and handshakes that became no request, by reason.", labels=["reason"]
        )
        for reason, count in self._counts.refused.items():
            refused.add_metric([reason], count)
        yield refused
        until = GaugeMetricFamily(
            "vsqlvault_tls_expiry_timestamp_seconds",
            "When the first of the certificates or revocation lists in a file ends, in Unix time.",
            labels=["file"],
        )
        for name, at in (self._counts.tls.until if self._counts.tls else {}).items():
            until.add_metric([name], at.timestamp())
        yield until


class RefusalCollector(Collector):
    """Reads how many credentials were refused."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Give the metrics of refused credentials as they stand now."""
        failing = self._vault.credentials.rate_limiter
        yield CounterMetricFamily(
            "vsqlvault_credentials_refused", "Requests whose credentials were refused, or had none.", failing.refused
        )
        yield CounterMetricFamily(
            "vsqlvault_credentials_limited", "Those of them that were answered 429.", failing.limited
        )
        yield GaugeMetricFamily("vsqlvault_sources_throttled", "Sources that have to slow down now.", failing.throttled)


class QueueCollector(Collector):
    """Reads the commit queue's counts; they cost the requests nothing."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault

    def collect(self) -> Iterable[Metric]:
        """Give the queue's metrics as they stand now."""
        queue = self._vault.queue
        sides = (("read", queue.reads), ("commit", queue.writes))
        waiting = GaugeMetricFamily(
            "vsqlvault_queue_waiting", "Reads and commits that wait for a batch.", labels=["kind"]
        )
        for kind, batcher in sides:
            waiting.add_metric([kind], batcher.waiting)
        yield waiting
        for name, text in _COUNTERS.items():
            family = CounterMetricFamily(f"vsqlvault_queue_{name}", text, labels=["kind"])
            for kind, batcher in sides:
                family.add_metric([kind], getattr(batcher.counts, name))
            yield family


_COUNTERS = {
    "items": "Reads and commits that went into a batch.",
    "batches": "Batches sent to the storage; items divided by batches is the mean batch.",
    "rerun": "Batches run again one by one because one of them failed.",
    "refused": "Reads and commits refused because too many waited.",
}
