"""Tests do not patch constants of modules: intervals and limits enter by constructors or by ``vsqlvault.runtime.Tuning``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CONSTANT = re.compile(r"_?[A-Z][A-Z0-9_]*")
ALLOWED = {
    ("tests/docs/test_client_examples.py", "VAULT_URL"): "a setting of Django, which is a module attribute by design",
    ("tests/plugins/test_sqlite.py", "QUERIES"): "simulates a build of SQLite that ignores a PRAGMA",
    ("tests/plugins/test_tallies.py", "TALLIES"): "simulates a statement that the database rejects",
    (
        "tests/plugins/test_tallies.py",
        "BLOCK_ROWS",
    ): "the block size is part of the stored format; no process may choose it",
    ("tests/compliance/test_two_years.py", "BLOCK_ROWS"): "the same, so that a short life fills many blocks",
}


def patched_constants(source: str) -> Iterator[str]:
    """Yield the names of the upper-case attributes that a module sets on something else."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Assign):
            targets = (target.attr for target in node.targets if isinstance(target, ast.Attribute))
            yield from filter(CONSTANT.fullmatch, targets)
        if isinstance(node, ast.Call) and _is_patch(node.func):
            for argument in node.args[:2]:
                if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
                    name = argument.value.rpartition(".")[2]
                    if CONSTANT.fullmatch(name):
                        yield name


def _is_patch(function: ast.expr) -> bool:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name in {"setattr", "patch", "object"}


@pytest.mark.parametrize(
    "source",
    [
        "monkeypatch.setattr(module, 'SECONDS', 1)",
        "monkeypatch.setattr('package.module.SECONDS', 1)",
        "setattr(module, '_SECONDS', 1)",
        "mock.patch('package.module.SECONDS', 1)",
        "mock.patch.object(module, 'SECONDS', 1)",
        "module.SECONDS = 1",
    ],
)
def test_each_way_to_patch_a_constant_is_found(source: str) -> None:
    assert [name.lstrip("_") for name in patched_constants(source)] == ["SECONDS"]


@pytest.mark.parametrize(
    "source",
    [
        "monkeypatch.setattr(storage, 'read', read)",
        "monkeypatch.setattr(os, 'fsync', f)",
        "SECONDS = 1",
        "one.seconds = 1",
    ],
)
def test_other_assignments_are_not_found(source: str) -> None:
    assert list(patched_constants(source)) == []


def test_no_test_patches_a_constant_of_a_module() -> None:
    files = [*ROOT.glob("tests/**/*.py"), *ROOT.glob("contrib/*/tests/**/*.py"), ROOT / "conftest.py"]
    found = {
        (str(file.relative_to(ROOT)), name) for file in files for name in patched_constants(file.read_text("utf-8"))
    }
    assert found - set(ALLOWED) == set()
    assert set(ALLOWED) - found == set()
