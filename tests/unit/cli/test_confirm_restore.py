"""``confirm-restore`` takes an export of the vault's own log only."""

from __future__ import annotations

import asyncio
import hashlib
from types import SimpleNamespace
from typing import Any

import pytest

from vsqlvault.cli.confirm_restore import _require_same_log, _with_export
from vsqlvault.cli.verify import CannotVerify
from vsqlvault.proof.checkpoint import TreeHead, sign_checkpoint
from vsqlvault.proof.note import SigningKey
from vsqlvault.service.log.restore import RestoreCount
from vsqlvault.service.log.restored_rules import RepeatedRules


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


async def confirmed(leaf: bytes, kept: int, *, accepts: bool) -> bool:
    """Return whether a restore with one row and ``kept`` entries that are not purged is confirmed."""

    async def gives(result: Any) -> Any:
        return result

    log = SimpleNamespace(
        quarantine=SimpleNamespace(notes=()),
        restored_rules=SimpleNamespace(repeat=lambda *_: gives(RepeatedRules())),
        restore=SimpleNamespace(purge_again=lambda *_: gives(RestoreCount(0, kept)), confirm=lambda *_: gives(True)),
    )
    vault: Any = SimpleNamespace(log=log, storage=SimpleNamespace(newest_checkpoint=lambda: gives(None)))
    source: Any = SimpleNamespace(leaves=lambda: [leaf], checkpoints=lambda: gives([]), size=1)
    return bool((await _with_export(vault, source, 0, [], accepts=accepts)).confirmed)


@pytest.mark.parametrize(("leaf", "kept"), [(b'"operation":"revoke-api-key"', 0), (b"{}", 1)])
def test_a_rule_that_cannot_be_read_and_an_entry_that_is_not_purged_need_a_decision(leaf: bytes, kept: int) -> None:
    assert not asyncio.run(confirmed(leaf, kept, accepts=False))
    assert asyncio.run(confirmed(leaf, kept, accepts=True))


def test_without_them_no_decision_is_needed() -> None:
    assert asyncio.run(confirmed(b"{}", 0, accepts=False))
