"""The limits that a purpose sets in its retention policy."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer

DAY = timedelta(days=1)
ROUTE = "/admin/retention-policies/card"
POLICY = {"max_retention_days": 365, "purge_method": "physical-delete"}
LIMITS: dict[str, Any] = {
    "allowed_access_policies": ["owner-only", "same-purpose"],
    "max_value_bytes": 100,
    "required_metadata": ["case"],
    "inactivity_days": None,
}


def set_policy(vault: VaultServer, **limits: Any) -> Any:
    answer = vault.call(ADMIN, "PUT", ROUTE, json_body={**POLICY, **limits})
    assert answer.status == 200, answer
    return answer.json


@pytest.fixture(autouse=True)
def policy_as_before(vault: VaultServer) -> Iterator[None]:
    yield
    set_policy(vault, default_ttl_days=90)


def lives(entry: dict[str, Any]) -> timedelta:
    return datetime.fromisoformat(entry["expires_at"]) - datetime.fromisoformat(entry["created_at"])


class TestLimits:
    @pytest.mark.parametrize(
        ("fields", "fault"),
        [
            ({"access_policy": "open-retrieve"}, ("access_policy", "one of owner-only, same-purpose")),
            (
                {"access_policy": "same-purposes"},
                ("access_policy", "one of owner-only, same-purpose (did you mean same-purpose?)"),
            ),
            ({"value": "x" * 101}, ("encrypted_value", "at most 100 bytes in this purpose")),
            ({"metadata": {"other": 1}}, ("metadata.case", "required in this purpose")),
        ],
    )
    def test_a_store_beyond_a_limit_is_422_and_names_the_policy_in_its_row(
        self, vault: VaultServer, fields: dict[str, Any], fault: tuple[str, str]
    ) -> None:
        version = set_policy(vault, **LIMITS)["version"]
        answer = vault.put("payments", "card/purpose-limit-1", **{"value": "v", "metadata": {"case": 1}, **fields})
        row = assert_refused(vault, answer, 422, "retention-refused", "retention")
        assert [(each["field"], each["expected"]) for each in answer.json["errors"]] == [fault]
        assert row["detail"] == f"retention card v{version}"

    def test_a_store_within_the_limits_is_taken(self, vault: VaultServer) -> None:
        set_policy(vault, **LIMITS)
        answer = vault.put(
            "payments", "card/purpose-limit-2", "x" * 100, metadata={"case": None}, access_policy="same-purpose"
        )
        assert answer.status == 201

    def test_an_update_beyond_a_limit_is_422_and_what_it_leaves_alone_is_not_asked(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/purpose-limit-3", MARKER, access_policy="open-retrieve")
        set_policy(vault, **LIMITS)
        for body in ({"access_policy": "open-retrieve", "metadata": {"x": 1}}, {"metadata": {"x": 1}}):
            answer = vault.call("payments", "PATCH", "/vault/card/purpose-limit-3", json_body=body)
            assert_problem(answer, 422, "retention-refused")
        assert vault.call("payments", "PATCH", "/vault/card/purpose-limit-3", json_body={"ttl": "1d"}).status == 200
        answer = vault.call(
            "payments", "PATCH", "/vault/card/purpose-limit-3", json_body={"access_policy": "admin-only"}
        )
        assert answer.status in {403, 422}

    def test_an_update_to_a_policy_that_is_not_allowed_is_422_and_names_those_that_are(
        self, vault: VaultServer
    ) -> None:
        set_policy(vault, **LIMITS)
        vault.stored("payments", "card/purpose-limit-4", "v", metadata={"case": 1})
        answer = vault.call(
            "payments", "PATCH", "/vault/card/purpose-limit-4", json_body={"access_policy": "open-retrieve"}
        )
        assert_refused(vault, answer, 422, "retention-refused", "retention")
        fault = {"field": "access_policy", "expected": "one of owner-only, same-purpose"}
        assert answer.json["errors"] == [fault]

    def test_they_are_shown_by_the_policy_explain_and_the_report(self, vault: VaultServer) -> None:
        assert {name: set_policy(vault, **LIMITS)[name] for name in LIMITS} == LIMITS
        question = {
            "app": "payments",
            "purposes": ["card"],
            "operation": "store",
            "purpose": "card",
            "external_id": "limit-none",
            "access_policy": "open-retrieve",
        }
        answer = vault.call("auditor", "POST", "/admin/access-policies/explain", json_body=question).json
        assert answer["answer"]["slug"] == "retention-refused"
        assert {name: answer["retention_policy"][name] for name in LIMITS} == LIMITS
        report = vault.call("auditor", "GET", "/compliance/report").json
        shown = report["retention_and_purge"]["figures"]["by_purpose"]["card"]
        assert {name: shown[name] for name in LIMITS} == LIMITS

    @pytest.mark.parametrize(
        "limits",
        [
            {"allowed_access_policies": []},
            {"allowed_access_policies": ["Owner"]},
            {"max_value_bytes": 0},
            {"required_metadata": [""]},
            {"inactivity_days": 0},
            {"inactivity_days": 366},
            {"inactivity_days": 9, "default_ttl_days": 9},
        ],
        ids=json.dumps,
    )
    def test_limits_that_cannot_be_are_422(self, vault: VaultServer, limits: dict[str, Any]) -> None:
        answer = vault.call(ADMIN, "PUT", ROUTE, json_body={**POLICY, **limits})
        assert_problem(answer, 422, "validation-failed")


class TestInactivity:
    def test_an_entry_expires_its_number_of_days_after_it_was_stored(self, vault: VaultServer) -> None:
        set_policy(vault, inactivity_days=30)
        assert lives(vault.stored("payments", "card/idle-1", MARKER)) == 30 * DAY

    def test_a_retrieval_moves_the_expiry_and_nothing_else(self, vault: VaultServer) -> None:
        set_policy(vault, inactivity_days=30)
        before = vault.stored("payments", "card/idle-2", MARKER, metadata={"a": 1})
        first = vault.get("payments", "card/idle-2").json
        assert first["expires_at"] > before["expires_at"]
        moved = {"expires_at": first["expires_at"], "effective_expires_at": first["expires_at"]}
        assert first == {**before, **moved, "encrypted_value": MARKER}
        listed = vault.call("payments", "GET", "/vault/card?access_policy=owner-only&limit=1000").json["entries"]
        assert first["expires_at"] in [entry["expires_at"] for entry in listed if entry["external_id"] == "idle-2"]
        assert vault.get("payments", "card/idle-2").json["expires_at"] > first["expires_at"]
        assert vault.purge_rows("purpose=card&external_id=idle-2") == []

    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    def test_what_is_no_retrieval_moves_nothing(self, vault: VaultServer, method: str) -> None:
        set_policy(vault, inactivity_days=30)
        answer = vault.put("payments", f"card/idle-3-{method}", MARKER)
        headers = {"If-None-Match": str(answer.header("etag"))}
        vault.call("payments", method, f"/vault/card/idle-3-{method}", headers=headers)
        head = vault.call("payments", "HEAD", f"/vault/card/idle-3-{method}")
        assert head.header("x-vault-expires-at") == answer.json["expires_at"]

    def test_the_maximum_is_the_ceiling(self, vault: VaultServer) -> None:
        set_policy(vault, inactivity_days=365)
        vault.stored("payments", "card/idle-4", MARKER)
        assert lives(vault.get("payments", "card/idle-4").json) == 365 * DAY

    def test_retrievals_are_still_counted(self, vault: VaultServer) -> None:
        vault.access_policy("idle-twice", store={}, retrieve={"max_retrievals": 2}, purge={})
        set_policy(vault, inactivity_days=30)
        vault.stored("payments", "card/idle-5", MARKER, access_policy="idle-twice")
        assert [vault.get("payments", "card/idle-5").json.get("retrievals") for _ in range(3)] == [1, 2, None]

    @pytest.mark.parametrize("fields", [{"ttl": "1d"}, {"expires_at": "2099-01-01T00:00:00Z"}])
    def test_an_expiry_of_ones_own_is_422(self, vault: VaultServer, fields: dict[str, str]) -> None:
        set_policy(vault, inactivity_days=30)
        answer = vault.put("payments", "card/idle-6", MARKER, **fields)
        assert_refused(vault, answer, 422, "retention-refused", "retention")
        assert [each["field"] for each in answer.json["errors"]] == [*fields]

    def test_an_entry_stored_before_follows_from_its_next_retrieval(self, vault: VaultServer) -> None:
        entry = vault.stored("payments", "card/idle-7", MARKER)
        set_policy(vault, inactivity_days=10)
        assert vault.get("payments", "card/idle-7").json["expires_at"] < entry["expires_at"]
