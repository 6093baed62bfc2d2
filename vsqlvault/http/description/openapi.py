"""``/openapi.json``: the OpenAPI 3.1 document, generated from the operations."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vsqlvault import __version__
from vsqlvault.errors import (
    AmbiguousCredentials,
    AuditUnavailable,
    BadRequest,
    CredentialRefused,
    Overloaded,
    RateLimited,
    StorageUnavailable,
    VaultError,
)
from vsqlvault.http.operation import PARAMETERS, Operation
from vsqlvault.http.problems import CONTENT_TYPE, URN

_REFERENCE = "#/components/schemas/{model}"
_ANY_ROUTE: tuple[type[VaultError], ...] = (
    BadRequest,
    CredentialRefused,
    AmbiguousCredentials,
    RateLimited,
    StorageUnavailable,
    AuditUnavailable,
    Overloaded,
)
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "request_id"],
    "properties": {
        "type": {"type": "string", "examples": [URN + "not-found"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "expected": {"type": "string"}},
            },
        },
    },
}


def build_openapi(operations: Iterable[Operation], api_key_header: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the operations."""
    operations = tuple(operations)
    bodies = [operation.body for operation in operations if operation.body]
    _, definitions = models_json_schema([(body, "validation") for body in bodies], ref_template=_REFERENCE)
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        paths.setdefault(operation.path, {})[operation.method.lower()] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "vsqlvault",
            "version": __version__,
            "summary": "Governed storage for data that was encrypted elsewhere.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "security": [{"apiKey": []}, {"token": []}, {"certificate": []}],
        "paths": paths,
        "components": {
            "schemas": {**definitions.get("$defs", {}), "Problem": _PROBLEM},
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": api_key_header},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [*_path_parameters(operation.path), *_query_parameters(operation.query)],
        "responses": {**_answers(operation), **_problems(operation)},
    }
    if operation.description:
        document["description"] = operation.description
    if operation.body:
        schema = {"$ref": _REFERENCE.format(model=operation.body.__name__)}
        content = {media_type: {"schema": schema} for media_type in operation.body_types}
        document["requestBody"] = {"required": True, "content": content}
    return document


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": f"^{PARAMETERS[name].pattern}$"},
        }
        for name in _PATH_PARAMETER.findall(path)
    ]


def _query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    described = query.model_json_schema(ref_template=_REFERENCE)
    properties, required = described.get("properties", {}), described.get("required", ())
    definitions = query.model_json_schema().get("$defs", {})
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _plain(schema, definitions)}
        for name, schema in properties.items()
    ]


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return a query member's schema, without null and without references."""
    chosen = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    if reference := chosen.get("$ref"):
        chosen = definitions[reference.rpartition("/")[2]]
    plain = {name: value for name, value in chosen.items() if name != "title"}
    if schema.get("default") is not None:
        plain["default"] = schema["default"]
    return plain


def _answers(operation: Operation) -> dict[str, Any]:
    headers = {name: {"description": text, "schema": {"type": "string"}} for name, text in operation.headers.items()}
    content: dict[str, Any] = (
        {} if operation.method == "HEAD" else {media_type: {} for media_type in operation.media_types}
    )
    answers: dict[str, Any] = {}
    for status, text in sorted(operation.answers.items()):
        answers[str(status)] = {"description": text}
        if content:
            answers[str(status)]["content"] = content
        if headers:
            answers[str(status)]["headers"] = headers
    return answers


def _problems(operation: Operation) -> dict[str, Any]:
    by_status: dict[int, list[str]] = {}
    for error in (*operation.problems, *(_ANY_ROUTE if operation.audited else ())):
        by_status.setdefault(error.status, []).append(f"`{error.slug}`: {error.title()}.")
    return {
        str(status): {
            "description": " ".join(dict.fromkeys(texts)),
            "content": {}
            if operation.method == "HEAD"
            else {CONTENT_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status, texts in sorted(by_status.items())
        if status not in operation.answers
    }
