"""No module imports itself by way of others: not at run time, and not under TYPE_CHECKING either."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = (("vsqlvault", ROOT), ("vsqlvault_plugins", ROOT / "plugins"))


def modules_of(package: str, base: Path) -> dict[str, Path]:
    """Return the files of a package by the names of their modules."""
    found = {}
    for path in (base / package).rglob("*.py"):
        parts = path.relative_to(base).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports_of(text: str, modules: Mapping[str, object]) -> set[str]:
    """Return the modules that a text imports anywhere: at its top, in a function, or for types alone."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = {f"{node.module}.{alias.name}" for alias in node.names} & modules.keys()
            found |= inner or {node.module} & modules.keys()
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & modules.keys()
    return found


def circles_in(graph: Mapping[str, set[str]]) -> Iterator[list[str]]:
    """Yield the shortest circle through each module that is in one."""
    for start in sorted(graph):
        seen: set[str] = set()
        paths = [[start]]
        while paths:
            path = paths.pop(0)
            for following in sorted(graph.get(path[-1], set()) - seen):
                if following == start:
                    yield [*path, start]
                    paths.clear()
                    break
                seen.add(following)
                paths.append([*path, following])


def test_no_import_leads_back_to_its_module() -> None:
    modules = {name: path for package, base in PACKAGES for name, path in modules_of(package, base).items()}
    graph = {name: imports_of(path.read_text("utf-8"), modules) - {name} for name, path in modules.items()}
    assert [" -> ".join(circle) for circle in circles_in(graph)] == []


def test_a_circle_for_types_alone_is_found() -> None:
    texts = {
        "a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from b import x",
        "b": "def f():\n    import c",
        "c": "import a",
    }
    graph = {name: imports_of(text, texts) for name, text in texts.items()}
    assert next(circles_in(graph)) == ["a", "b", "c", "a"]
