"""Makes a span and a measurement of each answered request, and sends them to a collector in the background."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Thread
from typing import TYPE_CHECKING

from vsqlvault import __version__
from vsqlvault.interfaces.request_observer import AnsweredRequest, RequestObserver
from vsqlvault_plugins.telemetry.settings import OtelSettings

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.trace import SpanProcessor

NAME = "vsqlvault"
SEND_SECONDS = 10
CLOSE_SECONDS = 3.0
SERVER_ERROR = 500
_NANOSECONDS = 1_000_000_000
BUCKETS = (0.0005, 0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
Outputs = Callable[[OtelSettings], tuple[Sequence["SpanProcessor"], Sequence["MetricReader"]]]


def to_collector(chosen: OtelSettings) -> tuple[Sequence[SpanProcessor], Sequence[MetricReader]]:
    """Return what sends spans and measurements by OTLP over HTTP, each in a thread of its own."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter  # noqa: PLC0415
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader  # noqa: PLC0415
    from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

    spans = OTLPSpanExporter(endpoint=f"{chosen.endpoint}/v1/traces", timeout=SEND_SECONDS) if chosen.traces else None
    metrics = (
        OTLPMetricExporter(endpoint=f"{chosen.endpoint}/v1/metrics", timeout=SEND_SECONDS) if chosen.metrics else None
    )
    interval = chosen.metric_interval_seconds * 1000
    return (
        [BatchSpanProcessor(spans)] if spans else [],
        [PeriodicExportingMetricReader(metrics, export_interval_millis=interval)] if metrics else [],
    )


class OtelObserver(RequestObserver):
    """Makes spans of kind SERVER, and the histogram ``http.server.request.duration``.

    Threads and connections begin with the first request: a command and the supervisor of workers have none.
    """

    name = "otel"

    def __init__(self, chosen: OtelSettings, outputs: Outputs = to_collector) -> None:
        self._chosen = chosen
        self._outputs = outputs
        self._pipeline: _Pipeline | None = None

    def answered(self, request: AnsweredRequest) -> None:
        """See ``RequestObserver.answered``."""
        if self._pipeline is None:
            self._pipeline = _Pipeline(self._chosen, *self._outputs(self._chosen))
        self._pipeline.add(request)

    def close(self) -> None:
        """Send what is left, for at most three seconds. A collector that does not answer must not keep the process."""
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.close()


class _Pipeline:
    def __init__(
        self, chosen: OtelSettings, processors: Sequence[SpanProcessor], readers: Sequence[MetricReader]
    ) -> None:
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415 - only where a request is observed
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased  # noqa: PLC0415
        from opentelemetry.trace import SpanKind, Status, StatusCode  # noqa: PLC0415
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415

        resource = Resource.create({"service.name": chosen.service_name, "service.version": __version__})
        sampler = ParentBased(TraceIdRatioBased(chosen.sample_ratio))
        self._traces = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
        for processor in processors:
            self._traces.add_span_processor(processor)
        self._metrics = MeterProvider(readers, resource=resource, shutdown_on_exit=False)
        self._tracer = self._traces.get_tracer(NAME, __version__)
        self._durations = self._metrics.get_meter(NAME, __version__).create_histogram(
            "http.server.request.duration",
            unit="s",
            description="Duration of HTTP server requests.",
            explicit_bucket_boundaries_advisory=BUCKETS,
        )
        self._extract = TraceContextTextMapPropagator().extract
        self._kind, self._error = SpanKind.SERVER, Status(StatusCode.ERROR)

    def add(self, request: AnsweredRequest) -> None:
        attributes: dict[str, str | int] = {
            "http.request.method": request.method,
            "http.route": request.route,
            "http.response.status_code": request.status,
        }
        span = self._tracer.start_span(
            f"{request.method} {request.route}",
            self._extract({"traceparent": request.traceparent} if request.traceparent else {}),
            kind=self._kind,
            attributes={**attributes, "request_id": request.request_id},
            start_time=request.started_at,
        )
        if request.status >= SERVER_ERROR:
            span.set_status(self._error)
        span.end(request.started_at + int(request.seconds * _NANOSECONDS))
        self._durations.record(request.seconds, attributes)

    def close(self) -> None:
        deadline = time.monotonic() + CLOSE_SECONDS
        threads = [Thread(target=end, daemon=True) for end in (self._traces.shutdown, self._metrics.shutdown)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
