"""Loads named queries from ``.sql`` files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (?P<name>[a-z0-9_]+)$", re.MULTILINE)


@cache
def load_queries(package: str, file_name: str = "queries.sql") -> Mapping[str, str]:
    """Return the queries of a file. Each begins with ``-- name: …``. Comment lines after it describe it."""
    text = files(package).joinpath(file_name).read_text("utf-8")
    parts = _NAME.split(text)[1:]
    queries = {name: _without_comments(body) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    if len(queries) * 2 != len(parts):
        raise ValueError(f"{package}/{file_name} contains a query name twice")
    return queries


def _without_comments(body: str) -> str:
    lines = [line for line in body.splitlines() if not line.lstrip().startswith("--")]
    return "\n".join(lines).strip().rstrip(";")
