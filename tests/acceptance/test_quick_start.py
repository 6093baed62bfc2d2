"""The quick start as it was asked for: its settings, its command, its curl lines."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.fixtures import NewDatabase
from tests.support.server import VaultServer

SETTINGS = """
[server]
listen_addr = "0.0.0.0:8443"

[storage]
database_url = "postgresql://vsql_vault@localhost:5432/vault"

[auth]
api_key_header = "X-Vault-Key"
api_key_env = "VSQL_VAULT_API_KEY"

[purge]
sweep_interval_hours = 24
purge_proof_hash = true
"""
SET_POLICY = """
curl -X PUT http://localhost:8443/admin/retention-policies/card \\
  -H "X-Vault-Key: your-secret-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "max_retention_days": 365,
    "default_ttl_days": 90,
    "purge_method": "physical-delete",
    "require_purge_proof": true,
    "description": "Card tokens \u2014 max 1 year, default 90 days"
  }'
"""
STORE = """
curl -X PUT http://localhost:8443/vault/card/payment-12345 \\
  -H "X-Vault-Key: your-secret-key" \\
  -H "Content-Type: application/json" \\
  -d '{
    "encrypted_value": "vault:v1:AES256-GCM:keyid=7:base64ciphertext...",
    "algorithm_hint": "AES-256-GCM",
    "key_ref": "akv:payez-kv:card-key-v7",
    "metadata": { "merchant_id": 42 },
    "expires_at": "2027-02-16T00:00:00Z",
    "access_policy": "payment-service-only"
  }'
"""
RETRIEVE = """
curl http://localhost:8443/vault/card/payment-12345 \\
  -H "X-Vault-Key: your-secret-key"
"""
EXPIRES_AT = (datetime.now(UTC) + timedelta(days=85)).strftime("%Y-%m-%dT00:00:00Z")
STATUS = re.compile(r"\n(\d{3})$")


class QuickStart(VaultServer):
    """The asked-for settings and command; only port, storage and secret differ."""

    def __init__(self, directory: Path, database_url: str) -> None:
        super().__init__(directory, database_url=database_url)
        self.admin_key = "your-secret-key"

    def write_config(self) -> Path:
        text = SETTINGS.replace("0.0.0.0:8443", "0.0.0.0:0").replace(
            "postgresql://vsql_vault@localhost:5432/vault", self.database_url
        )
        path = self.directory / "vsql-vault.toml"
        path.write_text(text, encoding="utf-8")
        return path

    def command(self) -> list[str]:
        return [str(Path(sys.executable).with_name("vsql-vault")), "--config", "vsql-vault.toml"]

    def shell(self, script: str) -> tuple[int, Any]:
        """Run a curl line of the quick start, and return the status and the body."""
        script = script.replace("localhost:8443", f"localhost:{self.address[1]}")
        script = script.replace("2027-02-16T00:00:00Z", EXPIRES_AT).replace(
            "curl ", "curl -sS -w '\\n%{http_code}' ", 1
        )
        environment = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        done = subprocess.run(
            ["sh", "-c", script], capture_output=True, check=True, timeout=20, env=environment, text=True
        )
        match = STATUS.search(done.stdout)
        assert match, done.stdout
        return int(match[1]), json.loads(done.stdout[: match.start()])


@pytest.fixture(scope="module")
def quick_start(tmp_path_factory: pytest.TempPathFactory, new_database: NewDatabase) -> Iterator[QuickStart]:
    directory = tmp_path_factory.mktemp("quick-start")
    server = QuickStart(directory, new_database(directory))
    server.start()
    try:
        yield server
        assert server.stop() == 0
        server.assert_log_is_clean()
    finally:
        server.kill()


pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@pytest.fixture(scope="module")
def steps(quick_start: QuickStart) -> dict[str, tuple[int, Any]]:
    """Run the three curl lines in their order."""
    return {name: quick_start.shell(line) for name, line in (("set", SET_POLICY), ("put", STORE), ("get", RETRIEVE))}


def test_the_retention_policy_is_set(steps: dict[str, tuple[int, Any]]) -> None:
    status, policy = steps["set"]
    assert status == 201
    assert policy["max_retention_days"] == 365
    assert policy["description"] == "Card tokens \u2014 max 1 year, default 90 days"


def test_the_blob_is_stored(steps: dict[str, tuple[int, Any]]) -> None:
    status, entry = steps["put"]
    assert (status, entry["version"], entry["owner_app"]) == (201, 1, "vault-admin")


def test_the_answer_to_storing_holds_no_blob(steps: dict[str, tuple[int, Any]]) -> None:
    assert "encrypted_value" not in steps["put"][1]


def test_the_policy_that_is_not_defined_is_warned_of(steps: dict[str, tuple[int, Any]]) -> None:
    (warning,) = steps["put"][1]["warnings"]
    assert "payment-service-only" in warning


def test_the_blob_comes_back_with_what_is_known_of_it(steps: dict[str, tuple[int, Any]]) -> None:
    status, entry = steps["get"]
    assert status == 200
    assert entry["encrypted_value"] == "vault:v1:AES256-GCM:keyid=7:base64ciphertext..."
    assert entry["algorithm_hint"] == "AES-256-GCM"
    assert entry["key_ref"] == "akv:payez-kv:card-key-v7"
    assert entry["metadata"] == {"merchant_id": 42}
    assert entry["access_policy"] == "payment-service-only"
    assert entry["expires_at"] == EXPIRES_AT


def test_the_start_says_where_it_runs(quick_start: QuickStart) -> None:
    line = quick_start.wait_for_line(lambda line: line["message"] == "Vault API is running")
    assert line["listen_addr"].startswith("0.0.0.0:")


def test_a_guessable_key_is_warned_of_and_not_shown(quick_start: QuickStart) -> None:
    line = quick_start.wait_for_line(lambda line: "short enough to be guessed" in line["message"])
    assert line["level"] == "warning"
    assert "your-secret-key" not in json.dumps(line)
