"""Requests that schemathesis makes from the document: no 5xx, and nothing that the document does not say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import ADMIN, VaultServer

LONGER = os.environ.get("VSQLVAULT_TEST_SCHEMATHESIS_SECONDS")
"""Of each of the four runs: an app and an admin, on both storages. The variable is for longer runs."""
SECONDS = {"sqlite": int(LONGER or 6), "postgresql": int(LONGER or 20)}
"""PostgreSQL takes fewer texts and numbers than SQLite does: what one of them cannot store is found there."""

SETTINGS = """
[[operations]]
include-path = "/admin/purge-log/{purge_id}/receipt"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
"""
"""A receipt is answered with 503 ``receipt-pending`` until a signed checkpoint covers the purge."""

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize("who", ["payments", ADMIN])
def test_what_schemathesis_sends_is_answered_as_documented(
    another_vault: Callable[..., VaultServer], storage_kind: str, tmp_path: Path, who: str
) -> None:
    vault, seconds = another_vault(), SECONDS[storage_kind]
    description = tmp_path / "openapi.json"
    description.write_bytes(vault.call(who, "GET", "/openapi.json").body)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    command = [
        Path(sys.executable).with_name("schemathesis"), "--config-file=settings.toml", "run", description,
        f"--url={vault.url}", f"--checks={CHECKS}", f"--header={vault.api_key_header}: {vault.key(who)}",
        f"--max-time={seconds}", "--seed=1", "--generation-database=none", "--no-color",
        "--phases=examples,coverage,fuzzing", "--generation-with-security-parameters=false",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=300 + seconds)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    vault.assert_log_is_clean()
