"""``/openapi.json``: the OpenAPI 3.1 document, generated from the operations and their models."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from vsqlvault import __version__
from vsqlvault.errors import (
    AmbiguousCredentials,
    AuditUnavailable,
    BadRequest,
    CredentialInUrl,
    CredentialRefused,
    ExpectationFailed,
    HeadTooLarge,
    InvalidHeader,
    InvalidPath,
    InvalidQuery,
    Overloaded,
    PayloadTooLarge,
    PluginFailed,
    PreconditionFailed,
    RateLimited,
    RequestTimeout,
    StorageFull,
    StorageUnavailable,
    TlsRequired,
    TransferCodingUnknown,
    UpgradeRefused,
    UriTooLong,
    VaultError,
)
from vsqlvault.http.media_types import JSON
from vsqlvault.http.operation import PARAMETERS, Operation
from vsqlvault.http.problems import CONTENT_TYPE
from vsqlvault.http.schemas.results.service import Problem
from vsqlvault.model.audit import Operation as Audited

_REFERENCE = "#/components/schemas/{model}"
_ANY_ROUTE: tuple[type[VaultError], ...] = (
    BadRequest,
    InvalidPath,
    InvalidHeader,
    CredentialInUrl,
    CredentialRefused,
    AmbiguousCredentials,
    TlsRequired,
    UpgradeRefused,
    RequestTimeout,
    PayloadTooLarge,
    UriTooLong,
    ExpectationFailed,
    InvalidQuery,
    RateLimited,
    HeadTooLarge,
    TransferCodingUnknown,
    StorageUnavailable,
    AuditUnavailable,
    Overloaded,
    PluginFailed,
)
_STORES = frozenset({Audited.STORE, Audited.UPDATE})
_PATH_PARAMETER = re.compile(r"\{(\w+)\}")
_PRECONDITIONS = {
    "If-Match": "Entity tags, or `*`: only for one of these versions, else 412.",
    "If-None-Match": "Entity tags, or `*`: not for these versions. For GET and HEAD the response is then 304, else 412.",
}
_REQUEST_ID = {
    "description": "The request id of the audit row.",
    "required": True,
    "schema": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
}
_ERROR_PAGE = {"text/html": {"schema": {"type": "string"}, "examples": {"example1": {"value": "<!doctype html>…"}}}}
_HEADERS = {"X-Request-Id": {"$ref": "#/components/headers/RequestId"}}
_BY_STATUS = {
    303: {"Location": "The page to sign in."},
    401: {"WWW-Authenticate": "The schemes that are accepted."},
    429: {"Retry-After": "Seconds to wait."},
    503: {"Retry-After": "Seconds to wait."},
}
_NOT_MODIFIED = 304
_SEE_OTHER = 303
_KEYWORDS = {"ge": "minimum", "le": "maximum"}
"""What pydantic calls a limit of a field that a validator reads first, and what JSON Schema calls it."""

_OCTETS = ("application/octet-stream", "application/zip")


def build_openapi(operations: Iterable[Operation], api_key_header: str) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the operations."""
    operations = tuple(operation for operation in operations if not operation.is_page)
    models: dict[type[BaseModel], None] = dict.fromkeys([*_models(operations), Problem])
    _, definitions = models_json_schema([(model, "validation") for model in models], ref_template=_REFERENCE)
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
            "schemas": {name: _tidy(schema) for name, schema in definitions.get("$defs", {}).items()},
            "headers": {"RequestId": _REQUEST_ID},
            "responses": {
                f"Problem{status}": _response(status, texts, {}, {CONTENT_TYPE: _content(Problem)})
                for status, texts in _by_status(_ANY_ROUTE).items()
            },
            "securitySchemes": {
                "apiKey": {"type": "apiKey", "in": "header", "name": api_key_header},
                "token": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"},
                "certificate": {"type": "mutualTLS"},
            },
        },
    }


def _models(operations: Iterable[Operation]) -> Iterator[type[BaseModel]]:
    for operation in operations:
        yield from (model for model in (operation.body, operation.result) if model)


def _tidy(schema: Any) -> Any:
    """Return a schema without the titles that only repeat names, and without defaults of null."""
    if isinstance(schema, list):
        return [_tidy(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    tidy = {
        name: value if name in {"examples", "default", "const", "enum"} else _tidy(value)
        for name, value in schema.items()
        if not (name == "title" and isinstance(value, str)) and not (name == "default" and value is None)
    }
    if isinstance(properties := schema.get("properties"), dict):
        tidy["properties"] = {name: _tidy(each) for name, each in properties.items()}
    return tidy


def _operation(operation: Operation) -> dict[str, Any]:
    document: dict[str, Any] = {
        "operationId": operation.name,
        "summary": operation.summary,
        "tags": [operation.tag],
        "parameters": [
            *_path_parameters(operation.path),
            *_query_parameters(operation.query),
            *_header_parameters(operation),
        ],
        "responses": _responses(operation),
    }
    if operation.description:
        document["description"] = operation.description
    if operation.body:
        content = {media_type: _content(operation.body) for media_type in operation.body_types}
        document["requestBody"] = {"required": True, "content": content}
    return document


def _content(model: type[BaseModel]) -> dict[str, Any]:
    """Return the schema of a JSON body, with the example of its model."""
    content: dict[str, Any] = {"schema": {"$ref": _REFERENCE.format(model=model.__name__)}}
    extra = model.model_config.get("json_schema_extra")
    if isinstance(extra, dict) and isinstance(examples := extra.get("examples"), list):
        content["examples"] = {f"example{place}": {"value": each} for place, each in enumerate(examples, start=1)}
    return content


def _path_parameters(path: str) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "in": "path",
            "required": True,
            "description": "Sent as it is: a path must not be percent-encoded.",
            "schema": {"type": "string", "pattern": f"^{_grouped(PARAMETERS[name].pattern)}$"},
        }
        for name in _PATH_PARAMETER.findall(path)
    ]


def _grouped(pattern: str) -> str:
    return f"(?:{pattern})" if "|" in pattern else pattern


def _query_parameters(query: type[BaseModel]) -> list[dict[str, Any]]:
    described = query.model_json_schema(ref_template=_REFERENCE)
    properties, required = described.get("properties", {}), described.get("required", ())
    definitions = query.model_json_schema().get("$defs", {})
    return [
        {"name": name, "in": "query", "required": name in required, "schema": _plain(schema, definitions)}
        for name, schema in properties.items()
    ]


def _plain(schema: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a query parameter without null, which a query string cannot contain, and without references."""
    chosen = next((one for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    if reference := chosen.get("$ref"):
        chosen = definitions[reference.rpartition("/")[2]]
    plain = {_KEYWORDS.get(name, name): value for name, value in chosen.items() if name not in {"title", "description"}}
    if schema.get("default") is not None:
        plain["default"] = schema["default"]
    else:
        plain.pop("default", None)
    return plain


def _header_parameters(operation: Operation) -> list[dict[str, Any]]:
    taken = dict(operation.takes_headers)
    if PreconditionFailed in operation.problems:
        taken |= _PRECONDITIONS
    return [
        {"name": name, "in": "header", "required": False, "description": text, "schema": {"type": "string"}}
        for name, text in taken.items()
    ]


def _responses(operation: Operation) -> dict[str, Any]:
    own = _by_status((*operation.problems, *((StorageFull,) if operation.audited in _STORES else ())))
    every = _by_status(_ANY_ROUTE)
    responses: dict[str, Any] = {}
    for status in sorted({*operation.answers, *own, *every}):
        is_shared = status not in operation.answers and status not in own and not operation.in_browser
        if is_shared and operation.method != "HEAD":
            responses[str(status)] = {"$ref": f"#/components/responses/Problem{status}"}
            continue
        texts = [operation.answers[status]] if status in operation.answers else []
        texts += list(dict.fromkeys([*own.get(status, ()), *every.get(status, ())]))
        content = _answer_content(operation, status) if status in operation.answers else {}
        if status in own or status in every:
            content[CONTENT_TYPE] = {"schema": {"$ref": _REFERENCE.format(model=Problem.__name__)}}
            content |= _ERROR_PAGE if operation.in_browser else {}
        headers = operation.headers if status in operation.answers else {}
        responses[str(status)] = _response(status, texts, headers, {} if operation.method == "HEAD" else content)
    return responses


def _response(status: int, texts: Iterable[str], headers: Mapping[str, str], content: dict[str, Any]) -> dict[str, Any]:
    response: dict[str, Any] = {
        "description": " ".join(texts),
        "headers": {**_HEADERS, **_described(_BY_STATUS.get(status, {})), **_described(headers)},
    }
    return {**response, "content": content} if content else response


def _described(headers: Mapping[str, str]) -> dict[str, Any]:
    return {name: {"description": text, "schema": {"type": "string"}} for name, text in headers.items()}


def _answer_content(operation: Operation, status: int) -> dict[str, Any]:
    if status in {_NOT_MODIFIED, _SEE_OTHER}:
        return {}
    content: dict[str, Any] = {}
    for media_type in operation.media_types:
        if media_type == JSON and operation.result:
            content[media_type] = _content(operation.result)
        elif media_type.endswith("+json"):
            content[media_type] = {"schema": {"type": "object"}, "examples": {"example1": {"value": {}}}}
            continue
        elif media_type in _OCTETS:
            content[media_type] = {"schema": {"type": "string", "format": "binary"}}
        else:
            content[media_type] = {"schema": {"type": "string"}}
        if media_type != JSON and operation.example:
            content[media_type]["examples"] = {"example1": {"value": operation.example}}
    return content


def _by_status(errors: Iterable[type[VaultError]]) -> dict[int, list[str]]:
    """Return what each status stands for, by the errors that have it."""
    by_status: dict[int, list[str]] = {}
    for error in dict.fromkeys(errors):
        by_status.setdefault(error.status, []).append(f"`{error.slug}`: {error.title()}.")
    return by_status
