"""``/docs``: the API description as one page without scripts and other resources."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from typing import Any

from vsqlvault.http.pages.rendering import style_source

_CODE = re.compile(r"`([^`]+)`")
_STYLE = """
:root { color-scheme: light dark; --ink: #17202b; --paper: #fff; --link: #0b57a4; --line: #8884; --soft: #8881; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --paper: #171d26; --link: #8cc0f5; } }
body { color: var(--ink); background: var(--paper); font: 16px/1.5 system-ui, sans-serif;
  max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
a { color: var(--link); }
h2 { margin-top: 2.5rem; text-transform: capitalize; }
details { border: 1px solid var(--line); border-radius: 6px; margin: .5rem 0; }
summary { padding: .6rem .8rem; cursor: pointer; }
details > div { padding: 0 .8rem .8rem; border-top: 1px solid var(--line); }
code, pre { font: 14px/1.45 ui-monospace, monospace; }
pre { background: var(--soft); padding: .8rem; overflow-x: auto; border-radius: 6px; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem .3rem 0; border-bottom: 1px solid var(--line); }
.method { display: inline-block; min-width: 4.2rem; font-weight: 700; }
"""
CONTENT_SECURITY_POLICY = (
    f"default-src 'none'; style-src {style_source(_STYLE)}; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)


def docs_page(document: dict[str, Any]) -> bytes:
    """Return the page of an OpenAPI document, as HTML in UTF-8."""
    info = document["info"]
    shared = document["components"]["responses"]
    by_tag: dict[str, list[str]] = {}
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            by_tag.setdefault(operation["tags"][0], []).append(_operation(method, path, operation, shared))
    sections = "".join(f"<h2>{escape(tag)}</h2>{''.join(shown)}" for tag, shown in by_tag.items())
    schemas = "".join(
        f"<details><summary><code>{escape(name)}</code></summary><div>{_code(schema)}</div></details>"
        for name, schema in sorted(document["components"]["schemas"].items())
    )
    page = (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(info["title"])} API</title>'
        f'<meta name="viewport" content="width=device-width">'
        f"<style>{_STYLE}</style></head><body><main>"
        f"<h1>{escape(info['title'])} {escape(info['version'])}</h1><p>{escape(info['summary'])} "
        f'This page as data: <a href="/openapi.json">/openapi.json</a>.</p>{sections}<h2>Schemas</h2>{schemas}'
        "</main></body></html>"
    )
    return page.encode("utf-8")


def _operation(method: str, path: str, operation: dict[str, Any], shared: dict[str, Any]) -> str:
    parts = [f"<p>{_prose(operation['description'])}</p>" if "description" in operation else ""]
    if operation["parameters"]:
        rows = [
            (f"<code>{escape(parameter['name'])}</code>", parameter["in"], _schema(parameter["schema"]))
            for parameter in operation["parameters"]
        ]
        parts.append(_table(("Parameter", "In", "Value"), rows))
    if "requestBody" in operation:
        name = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        parts.append(f"<p>Body: <code>{escape(name)}</code>, see Schemas below.</p>")
    answers = [
        (escape(status), _prose(answer.get("description") or shared[answer["$ref"].rpartition("/")[2]]["description"]))
        for status, answer in operation["responses"].items()
    ]
    parts.append(_table(("Status", "Meaning"), answers))
    return (
        f'<details><summary><span class="method">{method.upper()}</span> <code>{escape(path)}</code> '
        f"{escape(operation['summary'])}</summary><div>{''.join(parts)}</div></details>"
    )


def _prose(text: str) -> str:
    """Return text as HTML. Text between backticks is code."""
    return _CODE.sub(r"<code>\1</code>", escape(text))


def _table(heads: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _schema(schema: dict[str, Any]) -> str:
    return f"<code>{escape(json.dumps(schema, ensure_ascii=False))}</code>"


def _code(schema: dict[str, Any]) -> str:
    return f"<pre>{escape(json.dumps(schema, indent=2, ensure_ascii=False))}</pre>"
