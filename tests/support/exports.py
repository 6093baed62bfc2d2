"""Exports of a log made by hand: any leaves, under any checkpoints; and both verifiers over them."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import zipfile
from collections.abc import Sequence
from contextlib import redirect_stdout
from functools import cache
from io import StringIO
from pathlib import Path
from typing import Any

from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.tiles import Edge, format_path, width_of, write_bundle
from vsqlvault.proof.tree import leaf_hash
from vsqlvault.service.log.export import FORMAT, open_export
from vsqlvault.service.log.verification import VerificationResult, verify_log

_spec = importlib.util.spec_from_file_location(
    "verify_audit", Path(__file__).parents[2] / "contrib" / "verify-audit" / "verify_audit.py"
)
assert _spec is not None
assert _spec.loader is not None
second_verifier: Any = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(second_verifier)
second_verifier.signature_holds = cache(second_verifier.signature_holds)  # 10 ms each, and most logs share checkpoints


def access_leaf(**members: Any) -> bytes:
    """Return the leaf of an access row."""
    row = {"at": "2027-02-16T09:30:00Z", "outcome": "granted", "status": 200, "app": "vault-admin", **members}
    return json.dumps({"access": row}, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def signed_head(leaves: Sequence[bytes], key: SigningKey) -> str:
    """Return the checkpoint of these leaves."""
    root = Edge().grown([leaf_hash(leaf) for leaf in leaves])[0].root()
    return sign_checkpoint(TreeHead(key.verifier.name, len(leaves), root), key.signer)


def write_export(path: Path, leaves: Sequence[bytes], checkpoints: Sequence[str]) -> None:
    """Write an export; the last checkpoint is that of all leaves."""
    tiles = Edge().grown([leaf_hash(leaf) for leaf in leaves])[1]
    size = len(leaves)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("manifest.json", json.dumps({"format": FORMAT, "size": size, "anomalies": []}))
        archive.writestr("checkpoint", checkpoints[-1])
        for number, note in enumerate(checkpoints[:-1]):
            archive.writestr(f"checkpoints/{number:06}", note)
        for key, tile in tiles.items():
            name = format_path(key.index, width_of(key, size))
            archive.writestr(f"tile/{key.level}/{name}", tile)
            if key.level == 0:
                archive.writestr(f"tile/entries/{name}", write_bundle(leaves[key.index * 256 : (key.index + 1) * 256]))


def verified(path: Path, keys: Sequence[SigningKey], kept: Sequence[str] = ()) -> VerificationResult:
    """Return the result of the vault's verifier, after the second one has come to the same first finding."""
    trusted = [key.verifier for key in keys]
    with open_export(path) as source:
        result = asyncio.run(verify_log(source, trusted, kept))
    with redirect_stdout(StringIO()), zipfile.ZipFile(path) as archive:
        parsed = [second_verifier.parse_key(str(key)) for key in trusted]
        check, _ = second_verifier.check_export(second_verifier.Export(archive), parsed, kept)
    assert [index for index, _ in check.findings] == [each.index for each in result.findings]
    assert [index for index, _, _ in check.restores] == [each.index for each in result.restores]
    return result
