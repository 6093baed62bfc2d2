"""Stores an entry with any body, for the tests of bodies."""

from __future__ import annotations

from typing import Any

from tests.support.server import VaultServer


def put(vault: VaultServer, external_id: str, body: bytes, headers: dict[str, str] | None = None) -> Any:
    return vault.call("payments", "PUT", f"/vault/card/{external_id}", body=body, headers=headers or {})
