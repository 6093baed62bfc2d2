"""A vault on MariaDB answers as one on SQLite does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import vsqlvault_storage_mariadb
from mariadb_server import url_of

from vsqlvault.testing import running_vault

HOLD = {"case_reference": "c", "reason": "r", "selector": {"purpose": "card"}}
REQUESTS = (
    ("PUT", "/vault/card/pay-1", "payments", {"encrypted_value": "vault:v1:c2VjcmV0"}),
    ("PUT", "/vault/card/pay-1", "payments", {"encrypted_value": "vault:v1:YW5vdGhlcg==", "key_ref": "k1"}),
    ("GET", "/vault/card/pay-1", "payments", None),
    ("GET", "/vault/card/pay-1", "shop", None),
    ("GET", "/vault/card", "payments", None),
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
    ("GET", "/vault/card/pay-1", "payments", None),
)
OF_THE_STORAGE = frozenset({"credentials", "system_state", "scrub", "scrubbed_at", "scrub_last_run", "scrub_completed"})
"""Members of the report that depend on the storage, and on when usage was last recorded."""


def _shape(value: Any) -> Any:
    """Return the members of a response with the types of their values."""
    if isinstance(value, dict):
        return {name: _shape(each) for name, each in value.items() if name not in OF_THE_STORAGE}
    return [_shape(each) for each in value] if isinstance(value, list) else type(value).__name__


def _answers(directory: Path, url: str) -> list[Any]:
    settings = {"storage": {"database_url": url}}
    with running_vault(directory, plugins=[vsqlvault_storage_mariadb], settings=settings) as (_, client):
        made = [client.request(method, path, app=app, json=body) for method, path, app, body in REQUESTS]
    return [(answer.status, _shape(answer.json) if answer.body else None) for answer in made]


@pytest.mark.usefixtures("mariadb_socket")
def test_a_vault_answers_on_mariadb_as_on_sqlite(tmp_path: Path) -> None:
    on_mariadb = _answers(tmp_path, url_of(tmp_path))
    assert {status for status, _ in on_mariadb} >= {200, 201, 403, 404, 423}
    assert on_mariadb == _answers(tmp_path, f"sqlite:///{tmp_path / 'vault.db'}")
