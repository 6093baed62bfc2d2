"""The OpenAPI document held against what the vault answers: status, headers and body of every response."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from typing import Any

from jsonschema_rs import Draft202012Validator

from vsqlvault.config import Settings
from vsqlvault.http.application import Application
from vsqlvault.http.description.openapi import build_openapi
from vsqlvault.http.server.state import Counts

NAMED_HEADERS = {
    "etag", "location", "retry-after", "www-authenticate", "preference-applied", "vary", "content-disposition",
    "x-vault-expires-at", "x-vault-created-at", "x-vault-access-policy", "x-request-id",
}  # fmt: skip
PROBLEM = "application/problem+json"
_REQUEST_LINE = re.compile(rb"([A-Z]+) (/[^ ?]*)(?:\?[^ ]*)? HTTP/1\.[01]\r\n")


@cache
def document() -> dict[str, Any]:
    """Return the document that a vault with default settings serves."""
    settings = Settings.model_validate({"storage": {"database_url": "sqlite:///unused.db"}})
    return build_openapi(Application(settings, Counts()).operations, settings.auth.api_key_header)


@cache
def _routes() -> list[tuple[re.Pattern[str], str]]:
    """Return the paths as patterns, those with the fewest parameters first."""
    found = []
    for path in sorted(document()["paths"], key=lambda path: path.count("{")):
        pattern = re.sub(r"\\{(\w+)\\}", lambda match: ".+" if match[1] == "tile" else "[^/]+", re.escape(path))
        found.append((re.compile(pattern), path))
    return found


@cache
def _validator(schema: str) -> Draft202012Validator:
    components = {"schemas": document()["components"]["schemas"]}
    return Draft202012Validator({**json.loads(schema), "components": components})


def faults_of(raw: bytes, status: int, headers: Sequence[tuple[str, str]], body: bytes) -> list[str]:
    """Return what of an answer the document does not say; nothing is known of a request that is no request."""
    by_name = {name.lower(): value for name, value in headers}
    media_type = by_name.get("content-type", "").partition(";")[0]
    line = _REQUEST_LINE.match(raw)
    method, target = (line[1].decode().lower(), line[2].decode("latin-1")) if line else ("", "")
    path = next((path for pattern, path in _routes() if pattern.fullmatch(target)), "")
    operation = document()["paths"].get(path, {}).get(method)
    if operation is None:
        return _body_faults({"$ref": "#/components/schemas/Problem"}, body) if body and media_type == PROBLEM else []
    response = operation["responses"].get(str(status))
    if response is None:
        return [f"{method} {path}: status {status} is not documented"]
    if "$ref" in response:
        response = document()["components"]["responses"][response["$ref"].rpartition("/")[2]]
    where = f"{method} {path} {status}"
    described = {name.lower() for name in response.get("headers", {})}
    faults = [f"{where}: header {name} is not documented" for name in (by_name.keys() & NAMED_HEADERS) - described]
    if "x-request-id" not in by_name:
        faults.append(f"{where}: there is no X-Request-Id")
    if method == "head" or not body:
        return faults
    content = response.get("content", {}).get(media_type)
    if content is None:
        return [*faults, f"{where}: media type {media_type} is not documented"]
    if "json" in media_type and "ndjson" not in media_type:
        faults += [f"{where}: {fault}" for fault in _body_faults(content["schema"], body)]
    return faults


def _body_faults(schema: dict[str, Any], body: bytes) -> list[str]:
    validator = _validator(json.dumps(schema))
    errors = validator.iter_errors(json.loads(body))
    return [f"{'.'.join(map(str, error.instance_path))}: {error.message[:300]}" for error in errors][:5]
