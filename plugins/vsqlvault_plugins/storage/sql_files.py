"""Loads SQL from ``.sql`` files: named queries and numbered migrations."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from vsqlvault.quick_dataclass import dataclass

_NAME = re.compile(r"^-- name: (?P<name>[a-z0-9_]+)$", re.MULTILINE)
_MIGRATION = re.compile(r"(?P<version>\d{4})_[a-z0-9_]+\.sql")


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


@dataclass(frozen=True, slots=True)
class Migration:
    """One numbered step of a schema. Its script sets the version itself."""

    version: int
    name: str
    script: str


@cache
def load_migrations(package: str) -> tuple[Migration, ...]:
    """Return the migrations in ``<package>/migrations``, in order, numbered from 1 without a gap."""
    items = files(package).joinpath("migrations").iterdir()
    scripts = [(match, item) for item in items if (match := _MIGRATION.fullmatch(item.name))]
    found = [Migration(int(match["version"]), item.name, item.read_text("utf-8")) for match, item in scripts]
    found.sort(key=lambda migration: migration.version)
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ValueError(f"the migrations of {package} are not numbered 1, 2, 3 …")
    return tuple(found)
