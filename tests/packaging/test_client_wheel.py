"""``contrib/vsqlvault-client`` is the client and nothing else, on the oldest Python it promises."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import VaultServer

ROOT = Path(__file__).parents[2]
OLDEST = "3.10"
ROUND_TRIP = """
import asyncio, sys
from vsqlvault.client import AsyncVault, Vault, errors

url, key = sys.argv[1:]
with Vault(url, key=key) as vault:
    vault.put("card", "p1", bytes(range(256)), metadata={"n": 1}, ttl="1d")
    entry = vault.get("card", "p1")
    assert entry.value == bytes(range(256)) and entry.updated_at.tzinfo

async def main():
    async with AsyncVault(url, key=key) as vault:
        assert [each.external_id async for each in vault.list("card")] == ["p1"]
        try:
            await vault.get("card", "p2")
        except errors.NotFound:
            print("ok", *sys.version_info[:2])

asyncio.run(main())
"""


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("client-wheel")
    run(
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        folder,
        ROOT / "contrib" / "vsqlvault-client",
        cwd=folder,
    )
    return next(folder.glob("*.whl"))


@pytest.fixture
def server(tmp_path: Path) -> Iterator[VaultServer]:
    server = VaultServer(tmp_path).start()
    server.retention("card")
    yield server
    server.kill()


def oldest_python() -> str | None:
    """Return a Python of the oldest version that works: a shim of a version manager may not."""
    for found in (shutil.which(f"python{OLDEST}"), *sorted(Path.home().glob(f".pyenv/versions/{OLDEST}.*/bin/python"))):
        if found and subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(found)
    return None


def test_the_wheel_holds_the_whole_client_and_nothing_of_the_server(wheel: Path) -> None:
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    source = ROOT / "vsqlvault"
    files = [path for path in (source / "client").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    assert held == {f"vsqlvault/{path.relative_to(source)}" for path in files}


def test_httpx_is_all_it_needs(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    (metadata,) = [name for name in archive.namelist() if name.endswith("METADATA")]
    lines = archive.read(metadata).decode().splitlines()
    assert [line for line in lines if line.startswith("Requires-Dist") and "extra" not in line] == [
        "Requires-Dist: httpx>=0.28"
    ]


def test_it_works_on_the_oldest_python_with_nothing_else_installed(
    wheel: Path, server: VaultServer, tmp_path: Path
) -> None:
    python = oldest_python()
    if python is None:
        pytest.skip(f"this machine has no Python {OLDEST}")
    run(python, "-m", "venv", "--without-pip", "venv", cwd=tmp_path)
    installed = tmp_path / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", installed, "install", "-q", wheel, cwd=tmp_path)
    assert (
        run(installed, "-W", "error", "-c", ROUND_TRIP, server.url, server.key("payments"), cwd=tmp_path) == "ok 3 10\n"
    )
