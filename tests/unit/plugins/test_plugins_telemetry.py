"""Traces and metrics of answered requests: by the SDK's exporters in memory, and by a real OTLP receiver on the loopback."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from pydantic import ValidationError

from vsqlvault.config import load_settings, with_plugin_settings
from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.request_observer import AnsweredRequest
from vsqlvault_plugins.telemetry.otel import OtelObserver
from vsqlvault_plugins.telemetry.plugin import OtelPlugin
from vsqlvault_plugins.telemetry.settings import OtelSettings

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
STARTED_AT = 1_772_352_930_000_000_000
ROUTE = "/vault/{purpose}/{external_id}"


def a_request(**members: Any) -> AnsweredRequest:
    usual = {
        "method": "GET",
        "route": ROUTE,
        "status": 200,
        "started_at": STARTED_AT,
        "seconds": 0.25,
        "request_id": "r-1",
        "traceparent": PARENT,
    }
    return AnsweredRequest(**{**usual, **members})


class InMemory:
    def __init__(self, **settings: Any) -> None:
        self.spans, self.reader = InMemorySpanExporter(), InMemoryMetricReader()
        chosen = OtelSettings(endpoint="http://localhost:1", **settings)
        self.observer = OtelObserver(chosen, lambda _: ([SimpleSpanProcessor(self.spans)], [self.reader]))

    def span(self, request: AnsweredRequest) -> Any:
        self.observer.answered(request)
        return self.spans.get_finished_spans()[-1]


class TestTraces:
    def test_a_span_has_the_times_of_the_request_and_its_parent(self) -> None:
        span = InMemory().span(a_request())
        assert (span.name, span.kind) == (f"GET {ROUTE}", SpanKind.SERVER)
        assert (span.start_time, span.end_time) == (STARTED_AT, STARTED_AT + 250_000_000)
        assert f"{span.context.trace_id:032x}" == PARENT[3:35]
        assert f"{span.parent.span_id:016x}" == PARENT[36:52]

    def test_its_attributes_are_these_and_no_other(self) -> None:
        assert dict(InMemory().span(a_request(status=404)).attributes) == {
            "http.request.method": "GET",
            "http.route": ROUTE,
            "http.response.status_code": 404,
            "request_id": "r-1",
        }

    def test_without_a_parent_it_begins_a_trace(self) -> None:
        assert InMemory().span(a_request(traceparent=None)).parent is None

    @pytest.mark.parametrize(("status", "code"), [(499, StatusCode.UNSET), (500, StatusCode.ERROR)])
    def test_only_an_error_of_the_server_is_an_error(self, status: int, code: StatusCode) -> None:
        assert InMemory().span(a_request(status=status)).status.status_code is code

    def test_the_parent_decides_about_sampling_before_the_ratio(self) -> None:
        memory = InMemory(sample_ratio=0.0)
        memory.observer.answered(a_request(traceparent=None))
        memory.observer.answered(a_request(traceparent=PARENT[:-1] + "0"))
        assert not memory.spans.get_finished_spans()
        memory.observer.answered(a_request())
        assert len(memory.spans.get_finished_spans()) == 1


def test_durations_are_a_histogram_by_method_route_and_status() -> None:
    memory = InMemory()
    for status in (200, 200, 404):
        memory.observer.answered(a_request(status=status))
    (found,) = memory.reader.get_metrics_data().resource_metrics
    assert found.resource.attributes["service.name"] == "vsqlvault"
    (metric,) = found.scope_metrics[0].metrics
    assert (metric.name, metric.unit) == ("http.server.request.duration", "s")
    points = {point.attributes["http.response.status_code"]: point for point in metric.data.data_points}
    assert {status: (point.count, point.sum) for status, point in points.items()} == {200: (2, 0.5), 404: (1, 0.25)}
    assert {frozenset(point.attributes) for point in points.values()} == {
        frozenset({"http.request.method", "http.route", "http.response.status_code"})
    }


@pytest.fixture
def collector() -> Iterator[tuple[str, dict[str, bytes]]]:
    """The URL of a receiver of OTLP over HTTP, and the last body of each path."""
    bodies: dict[str, bytes] = {}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies[self.path] = self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", bodies
    server.shutdown()
    server.server_close()
    thread.join()


def settings_with(**chosen: Any) -> Any:
    lines = "".join(f"{name} = {value!r}\n" for name, value in chosen.items())
    loaded = load_settings(None, {"VSQL_VAULT_PLUGINS__OTEL__ENDPOINT": chosen["endpoint"]} if lines else {})
    return with_plugin_settings(loaded, OtelPlugin().vault_settings())


class TestPlugin:
    def test_a_collector_gets_what_is_left_at_the_end(self, collector: tuple[str, dict[str, bytes]]) -> None:
        url, bodies = collector
        plugin = OtelPlugin()
        (observer,) = plugin.vault_request_observers(settings_with(endpoint=url))
        observer.answered(a_request())
        asyncio.run(plugin.vault_shutdown())
        spans = ExportTraceServiceRequest.FromString(bodies["/v1/traces"]).resource_spans[0].scope_spans[0].spans
        assert [(span.name, span.trace_id.hex()) for span in spans] == [(f"GET {ROUTE}", PARENT[3:35])]
        metrics = ExportMetricsServiceRequest.FromString(bodies["/v1/metrics"]).resource_metrics[0].scope_metrics[0]
        assert [metric.name for metric in metrics.metrics] == ["http.server.request.duration"]

    def test_a_collector_that_does_not_answer_keeps_no_process(self) -> None:
        code = "from tests.unit.plugins.test_plugins_telemetry import *\n"
        code += "found = OtelObserver(OtelSettings(endpoint='http://127.0.0.1:1'))\n"
        code += "found.answered(a_request())\nfound.close()\nprint('ended')"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=20, check=True)
        assert done.stdout == "ended\n"

    def test_without_a_collector_there_is_no_observer(self) -> None:
        assert OtelPlugin().vault_request_observers(settings_with()) == []

    def test_without_the_extra_the_start_is_refused(self) -> None:
        plugin = OtelPlugin(["opentelemetry.sdk", "no_such_package.sdk"])
        with pytest.raises(SettingsInvalid, match=r"pip install 'vsqlvault\[otel\]'"):
            plugin.vault_request_observers(settings_with(endpoint="http://localhost:4318"))

    def test_the_port_of_the_collector_is_declared(self) -> None:
        (needs,) = OtelPlugin().vault_process_needs(settings_with(endpoint="http://localhost:4318"))
        assert needs.connect_ports == (4318,)

    def test_nothing_of_opentelemetry_is_imported_until_a_request_is_observed(self) -> None:
        code = "import sys; from vsqlvault_plugins.telemetry import otel, plugin; print('opentelemetry' in sys.modules)"
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "False\n"

    @pytest.mark.parametrize(
        "endpoint", ["http://collector.example", "collector:4318", "https://u:p@h", "https://h?a=b"]
    )
    def test_an_endpoint_that_is_not_secure_is_refused(self, endpoint: str) -> None:
        with pytest.raises(ValidationError):
            OtelSettings(endpoint=endpoint)
