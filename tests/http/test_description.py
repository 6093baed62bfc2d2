"""The description of the API, its page, and the metrics."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer

METHODS = {"get", "put", "patch", "post", "delete", "head"}
OPENAPI = {
    "type": "object",
    "required": ["openapi", "info", "paths", "components"],
    "properties": {
        "openapi": {"pattern": r"^3\.1\.\d+$"},
        "info": {"type": "object", "required": ["title", "version"]},
        "paths": {
            "type": "object",
            "propertyNames": {"pattern": "^/"},
            "additionalProperties": {"$ref": "#/$defs/path"},
        },
        "components": {
            "type": "object",
            "required": ["schemas", "securitySchemes"],
            "propertyNames": {"enum": ["schemas", "securitySchemes", "responses", "parameters", "headers"]},
        },
    },
    "$defs": {
        "path": {
            "type": "object",
            "propertyNames": {"enum": sorted(METHODS)},
            "additionalProperties": {"$ref": "#/$defs/operation"},
        },
        "operation": {
            "type": "object",
            "required": ["operationId", "summary", "responses"],
            "properties": {
                "parameters": {"type": "array", "items": {"$ref": "#/$defs/parameter"}},
                "requestBody": {"type": "object", "required": ["content"]},
                "responses": {
                    "type": "object",
                    "minProperties": 1,
                    "propertyNames": {"pattern": "^[1-5][0-9][0-9]$"},
                    "additionalProperties": {
                        "type": "object",
                        "anyOf": [{"required": ["description"]}, {"required": ["$ref"]}],
                    },
                },
            },
        },
        "parameter": {
            "type": "object",
            "required": ["name", "in", "schema"],
            "properties": {"in": {"enum": ["path", "query", "header", "cookie"]}, "schema": {"type": "object"}},
            "if": {"properties": {"in": {"const": "path"}}},
            "then": {"required": ["required"], "properties": {"required": {"const": True}}},
        },
    },
}
ASKED_FOR = {
    ("put", "/vault/{purpose}/{external_id}"),
    ("get", "/vault/{purpose}/{external_id}"),
    ("delete", "/vault/{purpose}/{external_id}"),
    ("head", "/vault/{purpose}/{external_id}"),
    ("get", "/vault/{purpose}"),
    ("put", "/admin/retention-policies/{purpose}"),
    ("get", "/admin/retention-policies/{purpose}"),
    ("get", "/admin/retention-policies"),
    ("put", "/admin/access-policies/{name}"),
    ("get", "/admin/access-policies/{name}"),
    ("delete", "/admin/access-policies/{name}"),
    ("get", "/admin/access-policies"),
    ("get", "/admin/access-log"),
    ("get", "/admin/purge-log"),
    ("post", "/admin/purge/sweep"),
    ("get", "/compliance/report"),
    ("get", "/health"),
    ("get", "/metrics"),
}


@pytest.fixture(scope="module")
def document(vault: VaultServer) -> Any:
    return vault.call("payments", "GET", "/openapi.json").json


def operations(document: Any) -> list[tuple[str, str, Any]]:
    return [(method, path, operation) for path, item in document["paths"].items() for method, operation in item.items()]


class TestOpenApi:
    def test_it_has_the_structure_of_openapi_3_1(self, document: Any) -> None:
        Draft202012Validator(OPENAPI).validate(document)

    def test_every_schema_is_json_schema(self, document: Any) -> None:
        for schema in document["components"]["schemas"].values():
            Draft202012Validator.check_schema(schema)
        for _, _, operation in operations(document):
            for parameter in operation.get("parameters", ()):
                Draft202012Validator.check_schema(parameter["schema"])

    def test_every_reference_leads_somewhere(self, document: Any) -> None:
        found = re.findall(r'"\$ref": "#/components/(\w+)/([^"]+)"', json.dumps(document))
        assert all(name in document["components"][kind] for kind, name in found)
        assert json.dumps(document).count('"$ref"') == len(found)

    def test_every_operation_has_an_example_and_every_example_fits_its_schema(self, document: Any) -> None:
        shown = 0
        for method, path, operation in operations(document):
            answers = {} if method == "head" else operation["responses"]
            ok = [answer for status, answer in answers.items() if status[0] == "2"]
            contents = [operation.get("requestBody", {}), *ok]
            for content in (each for part in contents for each in part.get("content", {}).values()):
                assert content.get("examples"), (method, path)
                for example in content["examples"].values():
                    schema = {**content["schema"], "components": document["components"]}
                    Draft202012Validator(schema).validate(example["value"])
                    shown += 1
        assert shown > len(operations(document))

    def test_there_are_no_extensions(self, document: Any) -> None:
        assert not re.findall(r'"x-[^"]*":', json.dumps(document).replace('"X-', ""))

    def test_limits_are_those_of_the_server(self, vault: VaultServer, document: Any) -> None:
        first, second = document["paths"]["/audit/consistency"]["get"]["parameters"]
        assert (first["schema"]["minimum"], second["schema"]["minimum"]) == (0, 0)
        assert vault.call("auditor", "GET", "/audit/consistency?from=-1&to=1").status == 422
        assert document["components"]["schemas"]["SelectorBody"]["minProperties"] == 1
        for selector in ({}, {"purpose": None}):
            body = {"case_reference": "c", "reason": "r", "selector": selector}
            assert vault.call(ADMIN, "PUT", "/admin/legal-holds/none", json_body=body).status == 422

    @pytest.mark.parametrize("status", ["401", "414", "429", "503"])
    def test_every_route_documents_what_every_route_answers(self, document: Any, status: str) -> None:
        assert all(status in operation["responses"] for _, _, operation in operations(document))

    def test_507_is_documented_where_something_is_stored(self, document: Any) -> None:
        found = {operation["operationId"] for *_, operation in operations(document) if "507" in operation["responses"]}
        assert found == {"store", "update"}

    def test_operation_ids_are_unique(self, document: Any) -> None:
        names = [operation["operationId"] for _, _, operation in operations(document)]
        assert len(names) == len(set(names))

    def test_every_path_parameter_is_described(self, document: Any) -> None:
        for _, path, operation in operations(document):
            described = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "path"}
            assert described == set(re.findall(r"\{(\w+)\}", path))

    @pytest.mark.parametrize("wanted", sorted(ASKED_FOR))
    def test_every_route_of_the_contract_is_described(self, document: Any, wanted: tuple[str, str]) -> None:
        assert wanted in {(method, path) for method, path, _ in operations(document)}

    def test_every_operation_that_is_described_answers_as_described(self, vault: VaultServer, document: Any) -> None:
        vault.stored("payments", "card/described", MARKER)
        for method, path, operation in operations(document):
            target = path.format(
                purpose="card", external_id="described", name="described", version="1", number="1", level="0", tile="000.p/1",
                index="0", purge_id="0" * 32, key_id="sha256-" + "0" * 12,
            )  # fmt: skip
            for who in ("payments", ADMIN, "other"):
                body = b"{}" if "requestBody" in operation else None
                answer = vault.call(who, method.upper(), target, body=body)
                assert str(answer.status) in operation["responses"], (method, path, answer)

    def test_a_body_that_the_schema_takes_is_taken(self, vault: VaultServer, document: Any) -> None:
        body = {"encrypted_value": MARKER, "encoding": "utf-8", "metadata": {}, "access_policy": "owner-only"}
        schemas = document["components"]["schemas"]
        Draft202012Validator({**schemas["StoreBody"], "components": {"schemas": schemas}}).validate(body)
        assert vault.call("payments", "PUT", "/vault/card/schema-1", json_body=body).status == 201

    def test_a_problem_is_as_described(self, vault: VaultServer, document: Any) -> None:
        answer = vault.put("payments", "card/schema-2", "")
        schema = {"$ref": "#/components/schemas/Problem", "components": document["components"]}
        Draft202012Validator(schema).validate(answer.json)


class TestDocsPage:
    @pytest.fixture(scope="class")
    @classmethod
    def page(cls, vault: VaultServer) -> str:
        return vault.call("payments", "GET", "/docs").body.decode()

    def test_it_needs_no_other_resource(self, page: str) -> None:
        assert not re.findall(r"(?i)<(script|link|img|iframe|object|embed|base|form)\b|\bsrc\s*=|@import|url\(", page)

    def test_it_links_only_to_this_server(self, page: str) -> None:
        assert all(link.startswith(("/", "#")) for link in re.findall(r'href="([^"]*)"', page))

    def test_it_may_load_nothing(self, vault: VaultServer) -> None:
        policy = vault.call("payments", "GET", "/docs").header("content-security-policy") or ""
        assert "default-src 'none'" in policy
        assert "script-src" not in policy

    def test_it_names_every_route(self, page: str, document: Any) -> None:
        assert all(path in page for path in document["paths"])

    def test_docs_can_be_open(self, another_vault: Any) -> None:
        server = another_vault(settings="[docs]\nrequire_auth = false\n")
        assert server.call(None, "GET", "/docs").status == 200


class TestMetrics:
    def text(self, vault: VaultServer, accept: str | None = None) -> str:
        headers = {"Accept": accept} if accept else {}
        return vault.call(None, "GET", "/metrics", headers=headers).body.decode()

    def samples(self, vault: VaultServer) -> dict[str, float]:
        lines = [line for line in self.text(vault).splitlines() if line and not line.startswith("#")]
        return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}

    def test_every_line_is_prometheus_text(self, vault: VaultServer) -> None:
        sample = re.compile(r'[a-z_:]+(\{[a-z_]+="[^"\\\n]*"(,[a-z_]+="[^"\\\n]*")*\})? [0-9.e+-]+|# (HELP|TYPE) .+')
        assert all(sample.fullmatch(line) for line in self.text(vault).splitlines())

    def test_openmetrics_on_request(self, vault: VaultServer) -> None:
        assert self.text(vault, "application/openmetrics-text; version=1.0.0").endswith("# EOF\n")

    def test_no_label_names_a_purpose_an_app_or_an_id(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/metric-id-1", MARKER)
        vault.get("other", "card/metric-id-1")
        labels = re.findall(r'="([^"]*)"', self.text(vault))
        words = {word for label in labels for word in re.split(r"[/{},]", label)}
        assert words.isdisjoint({"card", "ach", "payments", "auditor", "metric-id-1", "owner-only", ADMIN})

    def test_a_request_is_counted(self, vault: VaultServer) -> None:
        name = 'vsqlvault_http_requests_total{method="GET",route="/vault/{purpose}/{external_id}",status="404"}'
        before = self.samples(vault).get(name, 0)
        vault.get("payments", "card/none-such")
        assert self.samples(vault)[name] == before + 1

    def test_made_up_paths_and_methods_make_no_new_series(self, vault: VaultServer) -> None:
        for who in ("payments", None):
            vault.call(who, "GET", "/made-up/0")
            vault.call(who, "BREW0", "/vault/card/x")
        self.samples(vault)  # the first time that it is read makes the series of its own route
        before = len(self.samples(vault))
        for number in range(20):
            vault.call("payments", "GET", f"/made-up/{number}")
            vault.call("payments", f"BREW{number}", "/vault/card/x")
        assert len(self.samples(vault)) == before
