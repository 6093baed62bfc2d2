"""``confirm-restore`` takes an export of the vault's own log only."""

from __future__ import annotations

import asyncio
import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from vsqlvault.cli.confirm_restore import _require_same_log
from vsqlvault.cli.verify import CannotVerify
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey


def check(origin: str, exported: str) -> None:
    """Compare the log of a vault with that of an export."""
    note = sign_checkpoint(
        TreeHead(exported, 1, hashlib.sha256(b"").digest()), SigningKey(exported, b"\x07" * 32).signer
    )

    async def newest() -> Any:
        return SimpleNamespace(origin=origin)

    async def checkpoints() -> list[str]:
        return [note]

    vault: Any = SimpleNamespace(storage=SimpleNamespace(newest_checkpoint=newest))
    source: Any = SimpleNamespace(checkpoints=checkpoints)
    asyncio.run(_require_same_log(vault, source))


def test_an_export_of_another_log_is_refused() -> None:
    with pytest.raises(CannotVerify, match=r"expected the log vault\.example/audit, found other\.example/audit"):
        check("vault.example/audit", "other.example/audit")


def test_an_export_of_the_same_log_is_taken() -> None:
    check("vault.example/audit", "vault.example/audit")
