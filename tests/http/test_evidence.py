"""``GET /compliance/evidence`` on both storages: a file that is checked without the vault."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.proof.note import SigningKey
from vsqlvault.service.compliance.evidence_check import verify_evidence

Start = Callable[..., VaultServer]
KEY = SigningKey("vault.example/audit", b"\x04" * 32)
QUICKLY = '[audit]\nsigning_key_env = "SIGNING"\ncheckpoint_interval_seconds = 0.05\n'


@pytest.fixture
def signing(another_vault: Start) -> VaultServer:
    return another_vault(settings=QUICKLY, environment={"SIGNING": KEY.reveal()})


def test_it_holds_what_happened_and_no_secret(signing: VaultServer, tmp_path: Path) -> None:
    for number in range(40):
        signing.stored("payments", f"card/e{number}", MARKER)
        assert signing.delete("payments", f"card/e{number}").status == 200
    signing.call(ADMIN, "POST", "/admin/attestations")
    last = signing.purge_rows("")[-1]["id"]
    eventually(lambda: signing.call(ADMIN, "GET", f"/admin/purge-log/{last}/receipt").status == 200)
    answer = signing.call("auditor", "GET", "/compliance/evidence")
    assert (answer.status, answer.header("content-type")) == (200, "application/zip")
    assert answer.header("content-disposition") == 'attachment; filename="evidence.zip"'
    path = tmp_path / "evidence.zip"
    path.write_bytes(answer.body)
    verdict = verify_evidence(path, [KEY.verifier])
    assert (verdict.findings, verdict.receipts, verdict.attestations) == ([], 25, 1)
    secrets = [MARKER, KEY.reveal(), *signing.keys()] + ([signing.database_url] if "@" in signing.database_url else [])
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        for name in archive.namelist():
            text = archive.read(name).decode("latin-1")
            assert [secret for secret in secrets if secret in text] == [], name
        purged = sum(archive.read(name).count(b'{"purge":') for name in archive.namelist() if "tile/entries" in name)
        report = json.loads(archive.read("report.json"))
    assert purged == 40
    assert report["attestations"]["figures"]["last_result"] == "clean"
    (row,) = signing.rows("operation=export-evidence")
    assert row["request_id"] == answer.request_id


def test_who_may_and_when(vault: VaultServer) -> None:
    assert_problem(vault.call("payments", "GET", "/compliance/evidence"), 403, "role-required")
    assert_problem(vault.call(None, "GET", "/compliance/evidence"), 401, "unauthenticated")
    assert_problem(vault.call(ADMIN, "GET", "/compliance/evidence?format=pdf"), 422, "invalid-query")


def test_nothing_is_given_while_nothing_is_signed(another_vault) -> None:
    vault = another_vault(is_signed=False)
    assert_problem(vault.call(ADMIN, "GET", "/compliance/evidence"), 404, "nothing-signed")
