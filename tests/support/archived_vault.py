"""The directory of a vault on SQLite whose log is archived, and changes of an archive that must be found."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from collections.abc import Awaitable, Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from vsqlvault.config import load_settings
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey
from vsqlvault.runtime import open_vault
from vsqlvault.service.log.archive.files import ArchiveFiles
from vsqlvault.service.vault import Vault

KEY, STRANGER = (SigningKey("vault.example/archive", bytes([number]) * 32) for number in (1, 2))
BUNDLE = "tile/entries/000"
SETTINGS = '[storage]\ndatabase_url = "sqlite:///vault.db"\n[audit]\nsigning_key_file = "signing.key"\n'


def inside(directory: Path, work: Callable[[Vault], Awaitable[Any]]) -> Any:
    """Run ``work`` in a vault of this directory."""

    async def run() -> Any:
        settings = load_settings(
            None,
            {
                "VSQL_VAULT_STORAGE__DATABASE_URL": f"sqlite:///{directory / 'vault.db'}",
                "VSQL_VAULT_AUDIT__SIGNING_KEY_FILE": str(directory / "signing.key"),
            },
        )
        async with open_vault(settings) as vault:
            return await work(vault)

    return asyncio.run(run())


def installed(directory: Path) -> None:
    """Write the settings and the key of a vault, and make an empty directory for archives."""
    (directory / "signing.key").write_text(KEY.reveal(), "utf-8")
    (directory / "signing.key").chmod(0o600)
    (directory / "vsql-vault.toml").write_text(SETTINGS, "utf-8")
    (directory / "archive").mkdir()


def leaves_at_hand(directory: Path, first: int = 0, end: int = 512) -> list[int]:
    """Return the indexes of the leaves of a stopped vault that have their rows."""
    query = (
        "SELECT leaf_index FROM leaves AS l WHERE leaf_index >= ? AND leaf_index < ? AND CASE log"
        " WHEN 'access' THEN EXISTS (SELECT 1 FROM access_log AS r WHERE r.position = l.position)"
        " ELSE EXISTS (SELECT 1 FROM purge_log AS r WHERE r.position = l.position) END ORDER BY leaf_index"
    )
    with closing(sqlite3.connect(directory / "vault.db")) as connection:
        return [index for (index,) in connection.execute(query, (first, end))]


def _edited(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    def tamper(archive: Path) -> None:
        path = archive / name
        path.write_bytes(change(path.read_bytes()))

    return tamper


def _removed(name: str) -> Callable[[Path], None]:
    return lambda archive: (archive / name).unlink()


def _swapped(one: str, other: str) -> Callable[[Path], None]:
    def tamper(archive: Path) -> None:
        first, second = (archive / one).read_bytes(), (archive / other).read_bytes()
        (archive / one).write_bytes(second)
        (archive / other).write_bytes(first)

    return tamper


def _manifest(**members: object) -> Callable[[Path], None]:
    def change(content: bytes) -> bytes:
        return json.dumps(json.loads(content) | members, indent=1, ensure_ascii=False).encode() + b"\n"

    return _edited("archives/000001.json", change)


def _signed_by_another(archive: Path) -> None:
    manifest = ArchiveFiles(archive).manifest(1)
    assert manifest is not None
    head = TreeHead(STRANGER.verifier.name, manifest.head.size, manifest.head.root)
    _manifest(checkpoint=sign_checkpoint(head, STRANGER.signer))(archive)


def _both_swapped(archive: Path) -> None:
    _swapped(BUNDLE, "tile/entries/001")(archive)
    _swapped("tile/0/000", "tile/0/001")(archive)


def _above_changed(archive: Path) -> None:
    path = next((archive / "tile/1").rglob("2"))
    path.write_bytes(path.read_bytes()[:-1] + b"\x00")


TAMPERS: dict[str, Callable[[Path], None]] = {
    "a letter of a row": _edited(BUNDLE, lambda data: data.replace(b"granted", b"granteD", 1)),
    "the app of a row": _edited(BUNDLE, lambda data: data.replace(b'"app":"p', b'"app":"q', 1)),
    "the last byte of a bundle": _edited("tile/entries/001", lambda data: data[:-1] + b"]"),
    "a bundle cut short": _edited(BUNDLE, lambda data: data[:-10]),
    "an empty bundle": _edited(BUNDLE, lambda _: b""),
    "a row more": _edited(BUNDLE, lambda data: data + b"\x00\x02{}"),
    "the first row gone": _edited(BUNDLE, lambda data: data[2 + int.from_bytes(data[:2], "big") :]),
    "a bundle gone": _removed(BUNDLE),
    "two bundles swapped": _swapped(BUNDLE, "tile/entries/001"),
    "a hash of a tile": _edited("tile/0/000", lambda data: bytes(32) + data[32:]),
    "a tile cut short": _edited("tile/0/001", lambda data: data[:-32]),
    "a tile gone": _removed("tile/0/000"),
    "two tiles swapped": _swapped("tile/0/000", "tile/0/001"),
    "bundles and tiles swapped": _both_swapped,
    "a hash above": _above_changed,
    "the number of rows": _manifest(access_rows=1),
    "the number of purges": _manifest(purge_rows=99),
    "the rows that stay": _manifest(kept_sha256="0" * 64),
    "the newest time": _manifest(newest_row_at="2020-01-01T00:00:00Z"),
    "the last leaf": _manifest(end=256),
    "another key": _signed_by_another,
}  # fmt: skip
