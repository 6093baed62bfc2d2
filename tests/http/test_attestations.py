"""Attesting over HTTP: made, listed, read again, checked without the vault, on both storages."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from vsqlvault.proof.attestation import check_attestation
from vsqlvault.proof.note import SigningKey
from vsqlvault.proof.sample import choose

Start = Callable[..., VaultServer]
KEY = SigningKey("vault.example/audit", b"\x03" * 32)


@pytest.fixture
def signing(another_vault: Start) -> VaultServer:
    return another_vault(
        settings='[audit]\nsigning_key_env = "SIGNING"\ncheckpoint_interval_seconds = 0.05\n',
        environment={"SIGNING": KEY.reveal()},
    )


def made(server: VaultServer) -> dict[str, Any]:
    answer = server.call(ADMIN, "POST", "/admin/attestations")
    assert answer.status == 201, answer
    number = answer.json["attestation"]["number"]
    assert answer.header("location") == f"/admin/attestations/{number}"
    assert server.call("auditor", "GET", f"/admin/attestations/{number}").json == answer.json
    return dict(answer.json)


def test_what_is_made_can_be_read_listed_and_checked(signing: VaultServer) -> None:
    for number in range(30):
        signing.stored("payments", f"card/e{number}", MARKER)
        assert signing.delete("payments", f"card/e{number}").status == 200
    purges = {row["id"]: row for row in signing.purge_rows("")}

    def all_signed() -> bool:
        last = max(purges.values(), key=lambda row: row["purged_at"])
        return signing.call(ADMIN, "GET", f"/admin/purge-log/{last['id']}/receipt").status == 200

    eventually(all_signed)
    document = check_attestation(made(signing), [KEY.verifier])
    assert document["result"] == "clean"
    sample = document["sample"]
    drawn = [each["purge_id"] for each in sample["checked"]]
    assert drawn == choose(purges, bytes.fromhex(sample["seed"]), 25)
    assert all(
        each["holds"] and purges[each["purge_id"]]["proof_hash"] == each["proof_hash"] for each in sample["checked"]
    )
    assert f"\n{sample['tree_size']}\n" in document["checkpoint"]
    assert MARKER not in json.dumps(document)

    second = made(signing)
    listed = signing.call("auditor", "GET", "/admin/attestations").json
    assert [each["number"] for each in listed["attestations"]] == [2, 1]
    assert listed["attestations"][0]["sha256"] == second["sha256"]
    assert listed["attestations"][0]["signed"] is True
    assert (listed["next_before"], listed["due_at"] > document["at"]) == (None, True)
    page = signing.call("auditor", "GET", "/admin/attestations?limit=1").json
    assert ([each["number"] for each in page["attestations"]], page["next_before"]) == ([2], 2)
    assert signing.call("auditor", "GET", "/admin/attestations?before=2").json["attestations"][0]["number"] == 1
    report = signing.call(ADMIN, "GET", "/compliance/report").json["attestations"]
    assert [each["number"] for each in report["figures"]["listed"]] == [2, 1]


def test_what_is_overdue_makes_it_one_with_exceptions(another_vault: Start) -> None:
    server = another_vault(is_signed=False)
    server.stored(
        "payments", "card/short", MARKER, expires_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    )
    time.sleep(2)
    shown = made(server)
    assert shown["note"] is None
    assert shown["attestation"]["result"] == "exceptions"
    assert [each["external_id"] for each in shown["attestation"]["overdue"]["listed"]] == ["short"]


def test_who_may(vault: VaultServer) -> None:
    assert_problem(vault.call("auditor", "POST", "/admin/attestations"), 403, "role-required")
    for target in ("", "/1"):
        assert_problem(vault.call("payments", "GET", f"/admin/attestations{target}"), 403, "role-required")
    assert_problem(vault.call(ADMIN, "GET", "/admin/attestations/999999"), 404, "attestation-not-found")
    for bad in ("0", "x", "1" * 19, "-1"):
        assert_problem(vault.call(ADMIN, "GET", f"/admin/attestations/{bad}"), 400, "invalid-path")
    assert_problem(vault.call(ADMIN, "GET", "/admin/attestations?limit=0"), 422, "invalid-query")
