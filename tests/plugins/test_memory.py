"""The storage in memory keeps the promises of every storage, and so do the methods that are derived for it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any

from vsqlvault.interfaces.storage import Storage
from vsqlvault.testing import FaultConformance, StorageCapabilities, StorageConformance, memory_storage, running_vault
from vsqlvault.testing.memory_storage import MemoryStorage

CAPABILITIES = StorageCapabilities(durable=False, survives_kill=False, drops_archived_rows=False, settable_clock=True)


class TestMemoryConforms(StorageConformance):
    capabilities = CAPABILITIES

    async def open_storage(self, directory: Path) -> Storage:
        return MemoryStorage(str(directory))

    async def open_storage_at(self, directory: Path, clock: Callable[[], datetime]) -> Storage:
        return MemoryStorage(str(directory), clock)


class TestMemoryFaults(FaultConformance):
    every = 30

    async def open_storage(self, directory: Path) -> Storage:
        return MemoryStorage(str(directory))


HOLD = {"case_reference": "c", "reason": "r", "selector": {"purpose": "card"}}
REQUESTS = (
    ("PUT", "/vault/card/pay-1", "payments", {"encrypted_value": "vault:v1:c2VjcmV0"}),
    ("PUT", "/vault/card/pay-1", "payments", {"encrypted_value": "vault:v1:YW5vdGhlcg==", "key_ref": "k1"}),
    ("GET", "/vault/card/pay-1", "payments", None),
    ("GET", "/vault/card/pay-1", "shop", None),
    ("GET", "/vault/card/none", "payments", None),
    ("GET", "/vault/card", "payments", None),
    ("PUT", "/admin/access-policies/tellers", "vault-admin", {"rules": {"retrieve": {"allowed_apps": ["shop"]}}}),
    ("DELETE", "/admin/access-policies/tellers", "vault-admin", None),
    ("PUT", "/admin/legal-holds/case-1", "vault-admin", HOLD),
    ("DELETE", "/vault/card/pay-1", "payments", None),
    ("DELETE", "/admin/legal-holds/case-1", "vault-admin", None),
    ("DELETE", "/vault/card/pay-1", "payments", None),
    ("POST", "/admin/purge/sweep", "vault-admin", None),
    ("GET", "/admin/key-refs", "auditor", None),
    ("GET", "/admin/access-log", "auditor", None),
    ("GET", "/admin/purge-log", "auditor", None),
    ("GET", "/compliance/report", "auditor", None),
    ("POST", "/admin/attestations", "vault-admin", {}),
    ("GET", "/admin/attestations", "auditor", None),
)  # fmt: skip


OF_THE_RUN = frozenset({"credentials", "system_state"})
"""Members of the report that depend on the product of the storage, and on when usage was last recorded."""


def _shape(value: Any) -> Any:
    """Return the members of a response with the types of their values."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items() if name not in OF_THE_RUN}
    return [_shape(each) for each in value] if isinstance(value, list) else type(value).__name__


def _answers(directory: Path, url: str) -> list[Any]:
    settings = {"storage": {"database_url": url}}
    with running_vault(directory, plugins=[memory_storage], settings=settings) as (_, client):
        made = [client.request(method, path, app=app, json=body) for method, path, app, body in REQUESTS]
    return [(answer.status, _shape(answer.json) if answer.body else None) for answer in made]


def test_a_vault_answers_on_memory_as_on_sqlite(tmp_path: Path) -> None:
    on_memory = _answers(tmp_path, "memory:answers")
    assert {status for status, _ in on_memory} >= {200, 201, 403, 404, 423}
    assert on_memory == _answers(tmp_path, f"sqlite:///{tmp_path / 'vault.db'}")
