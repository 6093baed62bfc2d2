"""A served vault, in its sandbox, sends spans to a collector: of every request, and nothing of its content."""

from __future__ import annotations

from pathlib import Path

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.support.server import VaultServer
from tests.support.siem import Endpoint


def test_spans_name_routes_and_nothing_of_the_entries(tmp_path: Path) -> None:
    collector = Endpoint()
    settings = f'[plugins.otel]\nendpoint = "http://127.0.0.1:{collector.server.server_port}"\n'
    server = VaultServer(tmp_path, settings=settings)
    try:
        server.start()
        server.retention("card")
        server.stored("payments", "card/telemetry-1", "vault:v1:telemetry-value")
        server.get("payments", "card/telemetry-1")
        assert server.stop() == 0
    finally:
        server.kill()
        collector.close()
    bodies = [body for _, body in collector.requests]
    found = [
        ExportTraceServiceRequest.FromString(body) for body in bodies if b"http.server.request.duration" not in body
    ]
    spans = {span.name for each in found for scope in each.resource_spans[0].scope_spans for span in scope.spans}
    route = "/vault/{purpose}/{external_id}"
    assert spans == {"PUT /admin/retention-policies/{purpose}", f"PUT {route}", f"GET {route}"}
    for secret in (b"telemetry-1", b"telemetry-value", server.admin_key.encode(), server.apps["payments"].key.encode()):
        assert not [body for body in bodies if secret in body]
