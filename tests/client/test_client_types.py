"""Code that uses the client is checked by mypy in strict mode: what is right passes, what is wrong does not."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
USER = """
from collections.abc import AsyncIterator, Iterator
from vsqlvault.client import AccessRow, AsyncVault, Entry, Hold, Purge, RetrievedEntry, StoredEntry, Vault
from vsqlvault.client.sealed import OpenedEntry, SealedVault, StaticKeyRing

def uses(vault: Vault) -> None:
    stored: StoredEntry = vault.put("card", "p1", b"value", ttl="90d", metadata={"a": 1})
    found: RetrievedEntry = vault.get("card", "p1")
    listed: Iterator[Entry] = vault.list("card", key_ref="k")
    rows: Iterator[AccessRow] = vault.access_log(operation="store")
    hold: Hold = vault.holds.put("h", case_reference="c", reason="r")
    purge: Purge = vault.delete("card", "p1", if_match=stored.etag)
    opened: OpenedEntry = SealedVault(vault, StaticKeyRing({"k": b"k" * 32}, "k")).get("card", "p1")
    with vault.evidence() as stream:
        stream.save("x")

async def awaits(vault: AsyncVault) -> None:
    stored: StoredEntry = await vault.put("card", "p1", b"value")
    listed: AsyncIterator[Entry] = vault.list("card")
    rows = [row.at async for row in vault.access_log()]
"""
WRONG = """
from vsqlvault.client import AsyncVault, Vault

def uses(vault: Vault, other: AsyncVault) -> None:
    vault.put("card", "p1", 7)
    vault.put("card", "p1", b"value", tttl="90d")
    vault.get("card")
    number: int = vault.get("card", "p1").value
    vault.holds.put("h", reason="r")
    other.get("card", "p1").value
"""
SETTINGS = """
[mypy]
[mypy-httpx.*,cryptography.*]
follow_imports = skip
"""
"""What lies beneath the client is not read: its types are those of the client, and it takes 10 seconds."""


def checked(source: str, folder: Path) -> list[str]:
    path = folder / "user.py"
    path.write_text(source)
    (folder / "mypy.ini").write_text(SETTINGS)
    options = ["--strict", "--no-error-summary", "--cache-dir", str(folder / "cache"), "--config-file", "mypy.ini"]
    environment = {"MYPYPATH": str(ROOT), "PATH": ""}
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--explicit-package-bases",
        "--follow-imports",
        "silent",
        *options,
        str(path),
    ]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert not done.stderr, done.stderr
    return [line for line in done.stdout.splitlines() if "error:" in line]


def test_the_types_of_the_client_hold_for_its_users(tmp_path: Path) -> None:
    assert checked(USER, tmp_path) == []
    lines = {int(line.split(":")[1]) for line in checked(WRONG, tmp_path)}
    assert lines == set(range(5, 11))
