"""A client that ``openapi-python-client`` makes from the served document works against the vault that served it."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer

CONFIG = """
post_hooks: []
content_type_overrides:
  application/zip: application/octet-stream
"""


@pytest.fixture(scope="module")
def generated(vault: VaultServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModuleType]:
    directory = tmp_path_factory.mktemp("client")
    (directory / "openapi.json").write_bytes(vault.call("payments", "GET", "/openapi.json").body)
    (directory / "config.yml").write_text(CONFIG)
    tool = Path(sys.executable).with_name("openapi-python-client")
    asked = ["--path", "openapi.json", "--meta", "none", "--config", "config.yml", "--output-path", "generated_client"]
    made = subprocess.run(
        [tool, "generate", *asked, "--fail-on-warning"],
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode == 0, made.stdout
    sys.path.insert(0, str(directory))
    try:
        yield importlib.import_module("generated_client")
    finally:
        sys.path.remove(str(directory))
        for name in [name for name in sys.modules if name.split(".")[0] == "generated_client"]:
            del sys.modules[name]


def operation(name: str) -> Any:
    return importlib.import_module(f"generated_client.api.{name}")


def model(name: str) -> Any:
    return getattr(importlib.import_module("generated_client.models"), name)


def client(vault: VaultServer, generated: ModuleType, who: str) -> Any:
    return generated.AuthenticatedClient(
        base_url=vault.url, token=vault.key(who), prefix="", auth_header_name=vault.api_key_header
    )


def test_it_stores_retrieves_updates_lists_and_purges(vault: VaultServer, generated: ModuleType) -> None:
    with client(vault, generated, "payments") as payments:
        body = model("StoreBody").from_dict({"encrypted_value": MARKER, "key_ref": "generated", "ttl": "30d"})
        stored = operation("vault.store").sync("card", "generated-1", client=payments, body=body)
        assert (stored.version, stored.key_ref) == (1, "generated")
        found = operation("vault.retrieve").sync("card", "generated-1", client=payments)
        assert (found.encrypted_value, found.created_at) == (MARKER, stored.created_at)
        changes = model("UpdateBody").from_dict({"metadata": {"a": 1}})
        updated = operation("vault.update").sync("card", "generated-1", client=payments, body=changes)
        assert (updated.version, updated.metadata.to_dict()) == (2, {"a": 1})
        page = operation("vault.list_").sync("card", client=payments, key_ref="generated")
        assert [entry.external_id for entry in page.entries] == ["generated-1"]
        assert operation("vault.inspect").sync_detailed("card", "generated-1", client=payments).status_code == 200
        purged = operation("vault.purge").sync("card", "generated-1", client=payments)
        assert (purged.external_id, purged.entry_version) == ("generated-1", 2)


def test_a_problem_is_a_problem(vault: VaultServer, generated: ModuleType) -> None:
    with client(vault, generated, "billing") as billing:
        problem = operation("vault.retrieve").sync("card", "generated-none", client=billing)
    assert isinstance(problem, model("Problem"))
    assert (problem.status, problem.type_) == (404, "urn:vsqlvault:problem:not-found")


def test_it_creates_reads_and_revokes_an_api_key_by_its_id(vault: VaultServer, generated: ModuleType) -> None:
    with client(vault, generated, ADMIN) as admin:
        body = model("ApiKeyBody").from_dict({"app": "generated", "purposes": ["card"]})
        created = operation("admin.create_api_key").sync(client=admin, body=body)
        assert created.key.startswith("vsk_")
        assert operation("admin.get_api_key").sync(created.key_id, client=admin).app == "generated"
        assert operation("admin.revoke_api_key").sync(created.key_id, client=admin).state.value == "revoked"


def test_it_reads_policies_logs_and_the_report(vault: VaultServer, generated: ModuleType) -> None:
    with client(vault, generated, "auditor") as auditor:
        policy = operation("admin.get_retention_policy").sync("card", client=auditor)
        assert policy.max_retention_days == 365
        rows = operation("admin.access_log").sync(client=auditor, limit=3).rows
        assert len(rows) == 3
        assert operation("compliance.report").sync(client=auditor).period
        assert json.dumps(operation("compliance.controls").sync(client=auditor).to_dict())
