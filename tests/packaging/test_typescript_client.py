"""``contrib/vsqlvault-typescript``: the generated client stores and retrieves, and its types compile."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import VaultServer
from tests.support.warm_start import run_vault

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "contrib" / "vsqlvault-typescript"
TYPESCRIPT = "typescript@5.9"


def run(*command: str | Path, cwd: Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, input=given, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client, generated as the README says."""
    folder = tmp_path_factory.mktemp("typescript")
    document = run_vault(["schema", "api"], folder, os.environ)
    assert document.returncode == 0, document.stderr
    done = run(sys.executable, SOURCE / "generate.py", "--out", folder, cwd=folder, given=document.stdout)
    assert done.returncode == 0, done.stderr
    (folder / "openapi.json").write_text(document.stdout)
    (folder / "package.json").write_text('{"type": "module"}')
    return folder


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VaultServer]:
    server = VaultServer(tmp_path).start()
    server.retention("card")
    yield server
    server.kill()


def test_every_operation_of_the_document_is_a_method(generated: Path) -> None:
    paths = json.loads((generated / "openapi.json").read_text())["paths"]
    names = [operation["operationId"] for members in paths.values() for operation in members.values()]
    for text in ((generated / "vsqlvault.js").read_text(), (generated / "vsqlvault.d.ts").read_text()):
        for name in names:
            first, *rest = name.split("_")
            assert f" {first}{''.join(word.capitalize() for word in rest)}(asked" in text


def test_it_stores_and_retrieves(generated: Path, server: VaultServer) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("this machine has no node")
    module = (generated / "vsqlvault.js").as_uri()
    done = run(node, SOURCE / "tests" / "round_trip.mjs", module, server.url, server.key("payments"), cwd=generated)
    assert (done.returncode, done.stdout) == (0, "done\n"), done.stderr


def test_its_types_compile_and_reject_what_is_wrong(generated: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("this machine has no npm")
    if run(npm, "install", "--no-save", "--silent", TYPESCRIPT, cwd=generated).returncode != 0:
        pytest.skip("the registry of npm does not answer")
    shutil.copy(SOURCE / "tests" / "types.ts", generated)
    options = ("--noEmit", "--strict", "--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom")
    done = run(generated / "node_modules" / ".bin" / "tsc", *options, "types.ts", cwd=generated)
    assert (done.returncode, done.stdout) == (0, "")
