"""Requests that schemathesis makes from the document: no 5xx, and nothing that the document does not say."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.server import ADMIN, VaultServer

SECONDS = int(os.environ.get("VSQLVAULT_TEST_SCHEMATHESIS_SECONDS", "25"))
"""Of each of the four runs: an app and an admin, on both storages. The setting is for longer runs."""

SETTINGS = """
[[operations]]
include-path = "/admin/purge-log/{purge_id}/receipt"
checks.not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", 503]
"""
"""A receipt is answered with 503 ``receipt-pending`` until a signed checkpoint covers the purge."""

CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


@pytest.mark.parametrize("who", ["payments", ADMIN])
def test_what_schemathesis_sends_is_answered_as_documented(
    another_vault: Callable[..., VaultServer], tmp_path: Path, who: str
) -> None:
    vault = another_vault()
    description = tmp_path / "openapi.json"
    description.write_bytes(vault.call(who, "GET", "/openapi.json").body)
    (tmp_path / "settings.toml").write_text(SETTINGS)
    command = [
        Path(sys.executable).with_name("schemathesis"), "--config-file=settings.toml", "run", description,
        f"--url={vault.url}", f"--checks={CHECKS}", f"--header={vault.api_key_header}: {vault.key(who)}",
        f"--max-time={SECONDS}", "--seed=1", "--generation-database=none", "--no-color",
        "--phases=examples,coverage,fuzzing", "--generation-with-security-parameters=false",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path, timeout=120 + SECONDS)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    vault.assert_log_is_clean()
