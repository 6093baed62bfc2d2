"""``/health`` tells anybody whether the vault answers, and admins and auditors what it is; a bad credential is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.support.checks import assert_problem
from tests.support.server import ADMIN, STEPS, VaultServer

DETAIL = {"status", "version", "storage", "hardening", "plugins"}
Start = Callable[..., VaultServer]


@pytest.mark.parametrize("who", [ADMIN, "operator", "auditor"])
def test_admins_and_auditors_read_the_detail(vault: VaultServer, who: str) -> None:
    answer = vault.call(who, "GET", "/health")
    assert answer.status == 200
    assert set(answer.json) == DETAIL
    assert answer.json["status"] == "ok"
    assert set(answer.json["hardening"]) == set(STEPS)
    assert {"name", "distribution", "version"} == set(answer.json["plugins"][0])
    assert "product" in answer.json["storage"]


def test_the_detail_holds_no_secret(vault: VaultServer) -> None:
    text = vault.call(ADMIN, "GET", "/health").body.decode()
    secrets = [*vault.keys(), "postgres:"] + ([vault.database_url] if "@" in vault.database_url else [])
    assert [secret for secret in secrets if secret in text] == []


@pytest.mark.parametrize("who", [None, "payments", "payments-alice"])
def test_others_read_the_status_only(vault: VaultServer, who: str | None) -> None:
    assert vault.call(who, "GET", "/health").json == {"status": "ok"}


@pytest.mark.parametrize(("target", "status"), [("/health/live", "live"), ("/health/ready", "ready")])
def test_probes_need_no_credential(vault: VaultServer, target: str, status: str) -> None:
    answer = vault.call(None, "GET", target)
    assert (answer.status, answer.json) == (200, {"status": status})


def test_head_is_as_get_for_those_too(vault: VaultServer) -> None:
    head = vault.call("auditor", "HEAD", "/health")
    assert (head.status, head.body) == (200, b"")


BAD = {
    "bad_key": ("X-Vault-Key", "not-a-key"),
    "malformed": ("X-Vault-Key", ""),
    "unknown_scheme": ("Authorization", "Basic YTpi"),
}


@pytest.mark.parametrize("target", ["/health", "/health/live", "/health/ready", "/metrics"])
@pytest.mark.parametrize("reason", BAD)
def test_a_bad_credential_is_refused_on_an_open_route_too(vault: VaultServer, target: str, reason: str) -> None:
    assert_problem(vault.call(None, "GET", target, headers=[BAD[reason]]), 401, "unauthenticated")


def test_that_is_on_record(another_vault: Start) -> None:
    server = another_vault()
    for header in BAD.values():
        server.call(None, "GET", "/health", headers=[header])
    assert [row["reason"] for row in server.rows("outcome=denied")] == list(BAD)


def test_a_good_credential_beside_a_bad_one_does_not_help(vault: VaultServer) -> None:
    answer = vault.call(ADMIN, "GET", "/health", headers=[("Authorization", "Basic YTpi")])
    assert_problem(answer, 401, "unauthenticated")


def test_a_credential_twice_is_refused(vault: VaultServer) -> None:
    answer = vault.call(ADMIN, "GET", "/health", headers=[("X-Vault-Key", vault.admin_key)])
    assert_problem(answer, 400, "duplicate-header")
