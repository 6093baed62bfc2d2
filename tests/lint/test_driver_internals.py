"""Storages use the public interfaces of their drivers alone: a private attribute may change in any release."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DRIVERS = {"aiosqlite", "aiomysql", "asyncmy", "asyncpg", "sqlite3"}
PUBLIC_IN_SPITE_OF_THEIR_NAMES = {"_asdict", "_exit", "_fields", "_make", "_replace"}


def driver_internals(source: str) -> Iterator[str]:
    """Yield private attributes of objects that the module does not define, and classes derived from a driver's."""
    tree = ast.parse(source)
    own = PUBLIC_IN_SPITE_OF_THEIR_NAMES | set(_defined(tree))
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr) and node.attr not in own:
            yield ast.unparse(node)
        if isinstance(node, ast.Call) and _is_private(name := _looked_up(node)) and name not in own:
            yield ast.unparse(node)
        if isinstance(node, ast.ClassDef):
            yield from (ast.unparse(base) for base in node.bases if ast.unparse(base).partition(".")[0] in DRIVERS)


def _defined(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            yield node.name
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and ast.unparse(node.value) == "self":
            yield node.attr
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            yield node.id


def _looked_up(call: ast.Call) -> str:
    if ast.unparse(call.func) not in {"getattr", "setattr"} or len(call.args) < 2:
        return ""
    name = call.args[1]
    return name.value if isinstance(name, ast.Constant) and isinstance(name.value, str) else ""


def _is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__")


@pytest.mark.parametrize(
    "source",
    [
        "connection._thread.daemon = True",
        "class Ours:\n    def run(self):\n        return self._conn",
        "getattr(connection, '_protocol')",
        "class Ours(aiosqlite.Connection):\n    pass",
        "pool._holders[0]._con",
    ],
)
def test_each_use_of_internals_is_found(source: str) -> None:
    assert list(driver_internals(source)) != []


@pytest.mark.parametrize(
    "source",
    [
        "class Ours:\n    def __init__(self):\n        self._it = 1\n    def of(self, other):\n        return other._it",
        "parts._replace(netloc='')",
        "connection.close()",
        "connection.__class__",
    ],
)
def test_other_code_is_not_found(source: str) -> None:
    assert list(driver_internals(source)) == []


def test_no_storage_uses_the_internals_of_its_driver() -> None:
    files = [*ROOT.glob("plugins/vsqlvault_plugins/storage/**/*.py"), *ROOT.glob("contrib/*storage*/src/**/*.py")]
    assert len(files) > 30
    found = {str(file.relative_to(ROOT)): [*driver_internals(file.read_text("utf-8"))] for file in files}
    assert {name: uses for name, uses in found.items() if uses} == {}
