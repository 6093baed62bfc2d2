"""No module of the product has more than 500 lines, and no function more than 60."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(path for folder in ("vsqlvault", "plugins") for path in (ROOT / folder).rglob("*.py"))
MAX_MODULE_LINES = 500
MAX_FUNCTION_LINES = 60


def lengths(source: str) -> dict[str, int]:
    """Return the number of lines of each function."""
    functions = [
        node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    return {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}


def too_long(path: Path) -> list[str]:
    source = path.read_text("utf-8")
    found = [f"{name}: {lines} lines" for name, lines in lengths(source).items() if lines > MAX_FUNCTION_LINES]
    lines = len(source.splitlines())
    return [*found, *([f"module: {lines} lines"] if lines > MAX_MODULE_LINES else [])]


def test_modules_and_functions_are_short() -> None:
    assert MODULES
    assert {str(path.relative_to(ROOT)): found for path in MODULES if (found := too_long(path))} == {}


@pytest.mark.parametrize("source", ["x = 1\n" * 501, "def long():\n" + "    x = 1\n" * 60])
def test_what_is_longer_is_named(tmp_path: Path, source: str) -> None:
    (tmp_path / "module.py").write_text(source, "utf-8")
    assert len(too_long(tmp_path / "module.py")) == 1
