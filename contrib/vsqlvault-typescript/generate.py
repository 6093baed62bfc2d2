"""Generates the TypeScript client from the OpenAPI document of a vault: ``vsqlvault.js`` and ``vsqlvault.d.ts``.

    vsql-vault schema api | python3 generate.py --out dist
    python3 generate.py --out dist openapi.json

Needs Python 3.10 or newer and nothing else. What it writes has no dependency, and runs wherever there is ``fetch``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

METHODS = ("get", "put", "post", "delete", "head", "patch")
PRIMITIVES = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}
JSON_TYPE = "application/json"
RUNTIME = Path(__file__).with_name("runtime.js")
RUNTIME_TYPES = Path(__file__).with_name("runtime.d.ts")
IDENTIFIER = re.compile(r"[A-Za-z_$][A-Za-z0-9_$]*")


@dataclass(frozen=True)
class Operation:
    """One operation of the document."""

    name: str
    method: str
    path: str
    summary: str
    parameters: tuple[dict[str, Any], ...]
    body: dict[str, Any] | None
    answer: dict[str, Any]

    def of(self, place: str) -> list[dict[str, Any]]:
        """Return the parameters in the path or in the query."""
        return [each for each in self.parameters if each.get("in") == place]


def operations(document: dict[str, Any]) -> Iterator[Operation]:
    """Return the operations in the order of the document."""
    for path, members in document["paths"].items():
        for method in METHODS:
            if method in members:
                yield _operation(path, method, members[method])


def _operation(path: str, method: str, found: dict[str, Any]) -> Operation:
    body = found.get("requestBody", {}).get("content", {}).get(JSON_TYPE, {}).get("schema")
    answers = [each for status, each in found.get("responses", {}).items() if status.startswith("2")]
    schemas = [each.get("content", {}).get(JSON_TYPE, {}).get("schema") for each in answers]
    answer = next((schema for schema in schemas if schema), {})
    parameters = tuple(found.get("parameters", ()))
    return Operation(
        _camel(found["operationId"]), method.upper(), path, found.get("summary", ""), parameters, body, answer
    )


def _camel(name: str) -> str:
    first, *rest = re.split(r"[^A-Za-z0-9]+", name)
    return first + "".join(word[:1].upper() + word[1:] for word in rest)


def type_of(schema: dict[str, Any]) -> str:
    """Return the TypeScript type of a JSON Schema; ``Json`` where it says nothing."""
    for name, written in WRITERS.items():
        if name in schema:
            return written(schema)
    return "Json"


def _by_kind(schema: dict[str, Any]) -> str:
    kind = schema["type"]
    if isinstance(kind, list):
        return " | ".join(type_of({**schema, "type": each}) for each in kind)
    if kind == "array":
        return f"Array<{type_of(schema.get('items', {}))}>"
    return _object(schema) if kind == "object" else PRIMITIVES.get(str(kind), "Json")


def _joined(schemas: list[dict[str, Any]], sign: str) -> str:
    return f"({sign.join(dict.fromkeys(type_of(each) for each in schemas))})"


def _object(schema: dict[str, Any]) -> str:
    required = set(schema.get("required", ()))
    members = [
        f"{_key(name)}{'' if name in required else '?'}: {type_of(member)}"
        for name, member in schema.get("properties", {}).items()
    ]
    more = schema.get("additionalProperties", not members)
    if more:
        value = type_of(more) if isinstance(more, dict) else "Json"
        return f"{{ {'; '.join(members)} }} & Record<string, {value}>" if members else f"Record<string, {value}>"
    return f"{{ {'; '.join(members)} }}"


WRITERS: dict[str, Callable[[dict[str, Any]], str]] = {
    "$ref": lambda schema: str(schema["$ref"]).rpartition("/")[2],
    "anyOf": lambda schema: _joined(schema["anyOf"], " | "),
    "oneOf": lambda schema: _joined(schema["oneOf"], " | "),
    "allOf": lambda schema: _joined(schema["allOf"], " & "),
    "const": lambda schema: json.dumps(schema["const"]),
    "enum": lambda schema: " | ".join(json.dumps(each) for each in schema["enum"]),
    "type": _by_kind,
}
"""What writes a schema, by the first of these members that it has."""


def _key(name: str) -> str:
    return name if IDENTIFIER.fullmatch(name) else json.dumps(name)


def types(document: dict[str, Any]) -> str:
    """Return ``vsqlvault.d.ts``."""
    lines = [RUNTIME_TYPES.read_text("utf-8").rstrip(), ""]
    for name, schema in document.get("components", {}).get("schemas", {}).items():
        lines += [f"export type {name} = {type_of(schema)};", ""]
    lines.append("export declare class Vault extends Base {")
    for operation in operations(document):
        lines += [f"  /** {_comment(operation.summary)} `{operation.method} {operation.path}` */"]
        lines += [f"  {operation.name}({_asked(operation)}): Promise<Answer<{type_of(operation.answer)}>>;"]
    return "\n".join([*lines, "}", ""])


def _asked(operation: Operation) -> str:
    members = [f"{_key(each['name'])}: {type_of(each.get('schema', {}))}" for each in operation.of("path")]
    if query := operation.of("query"):
        inner = [f"{_key(each['name'])}?: {type_of(each.get('schema', {}))}" for each in query]
        members.append(f"query?: {{ {'; '.join(inner)} }}")
    if operation.body is not None:
        members.append(f"body: {type_of(operation.body)}")
    is_optional = not operation.of("path") and operation.body is None
    text = f"{{ {'; '.join(members)} }} & Conditions" if members else "Conditions"
    return f"asked{'?' if is_optional else ''}: {text}"


def code(document: dict[str, Any]) -> str:
    """Return ``vsqlvault.js``."""
    lines = [RUNTIME.read_text("utf-8").rstrip(), "", "export class Vault extends Base {"]
    for operation in operations(document):
        path = re.sub(r"\{(\w+)\}", lambda match: f"${{segment(asked, {json.dumps(match[1])})}}", operation.path)
        lines += [f"  /** {_comment(operation.summary)} `{operation.method} {operation.path}` */"]
        lines += [f"  async {operation.name}(asked = {{}}) {{"]
        lines += [f'    return this.send("{operation.method}", `{path}`, asked);', "  }", ""]
    return "\n".join([*lines[:-1], "}", ""])


def _comment(text: str) -> str:
    return text.replace("*/", "* /")


def main(arguments: Sequence[str] | None = None) -> int:
    """Generate both files."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("document", nargs="?", type=Path, help="the OpenAPI document; default: standard input")
    parser.add_argument("--out", type=Path, required=True, help="the directory to write to")
    options = parser.parse_args(arguments)
    document = json.loads(options.document.read_text("utf-8") if options.document else sys.stdin.read())
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "vsqlvault.js").write_text(code(document), "utf-8")
    (options.out / "vsqlvault.d.ts").write_text(types(document), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
