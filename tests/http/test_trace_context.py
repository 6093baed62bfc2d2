"""The trace context of a request is on its audit row."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.server import VaultServer
from vsqlvault.proof.entry_statement import statement_in

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def details(vault: VaultServer, external_id: str) -> list[tuple[str, Any]]:
    target = f"/admin/access-log?order=asc&external_id={external_id}"
    return [(row["operation"], row["detail"]) for row in vault.call("auditor", "GET", target).json["rows"]]


def test_it_begins_the_detail_of_each_operation_on_an_entry(vault: VaultServer) -> None:
    headers = {"traceparent": PARENT}
    path = "/vault/card/traced-1"
    assert (
        vault.call("payments", "PUT", path, json_body={"encrypted_value": "vault:v1:traced"}, headers=headers).status
        == 201
    )
    assert vault.call("payments", "GET", path, headers=headers).status == 200
    assert vault.call("other", "GET", path, headers=headers).status == 403
    assert vault.call("payments", "DELETE", path, headers=headers).status == 200
    found = details(vault, "traced-1")
    assert [operation for operation, _ in found] == ["store", "retrieve", "retrieve", "purge"]
    assert all(str(detail).startswith(f"traceparent {PARENT}") for _, detail in found), found
    assert str(found[0][1]).startswith(f"traceparent {PARENT}, retention card v")
    assert statement_in(found[0][1]) is not None


@pytest.mark.parametrize("headers", [{}, {"traceparent": "00-0-0-00"}])
def test_without_a_valid_one_the_row_is_as_before(vault: VaultServer, headers: dict[str, str]) -> None:
    assert vault.call("payments", "HEAD", "/vault/card/traced-2", headers=headers).status == 404
    assert {detail for _, detail in details(vault, "traced-2")} == {None}


def test_the_name_of_a_key_is_the_whole_detail_of_its_row(vault: VaultServer) -> None:
    headers = {"traceparent": PARENT}
    made = vault.call(
        "operator", "POST", "/admin/api-keys", json_body={"app": "traced", "purposes": ["card"]}, headers=headers
    )
    rows = vault.call("auditor", "GET", "/admin/access-log?operation=create-api-key&limit=1").json["rows"]
    assert rows[0]["detail"] == made.json["credential_id"]
