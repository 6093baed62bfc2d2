"""The table of built-in access policies, cell by cell."""

from __future__ import annotations

import itertools

import pytest

from tests.support.checks import assert_problem
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer
from tests.support.wire import Answer

CALLERS = ("payments", "billing", "other", ADMIN, "auditor", "operator")
"""The owner; one that holds the purpose; one that does not; an admin with all purposes; roles without any purpose."""
OPERATIONS = ("create", "replace", "retrieve", "inspect", "purge")
HOLDERS = {"payments", "billing", ADMIN}
ROLES = {ADMIN, "auditor", "operator"}
EVERYBODY = set(CALLERS)

ALLOWED: dict[str, dict[str, set[str]]] = {
    "owner-only": {
        "create": HOLDERS,
        "replace": {"payments"},
        "retrieve": {"payments"},
        "inspect": {"payments"} | ROLES,
        "purge": {"payments", ADMIN},
    },
    "same-purpose": {
        "create": HOLDERS,
        "replace": {"payments"},
        "retrieve": HOLDERS,
        "inspect": HOLDERS | ROLES,
        "purge": {"payments", ADMIN},
    },
    "open-retrieve": {
        "create": HOLDERS,
        "replace": {"payments"},
        "retrieve": EVERYBODY,
        "inspect": EVERYBODY,
        "purge": {"payments", ADMIN},
    },
    "admin-only": {
        "create": {ADMIN},
        "replace": {ADMIN},
        "retrieve": {ADMIN},
        "inspect": ROLES,
        "purge": {ADMIN},
    },
}
UNSETTLED = {("operator", "purge")}
"""An admin that holds no purpose: the table says admin, the rules ask for the purpose. Not tested either way."""
CELLS = [
    (policy, operation, caller)
    for policy, operation, caller in itertools.product(ALLOWED, OPERATIONS, CALLERS)
    if (caller, operation) not in UNSETTLED
]
METHODS = {"create": "PUT", "replace": "PUT", "retrieve": "GET", "inspect": "HEAD", "purge": "DELETE"}


def attempt(vault: VaultServer, policy: str, operation: str, caller: str) -> Answer:
    target = f"card/table-{policy}-{operation}-{caller}"
    if operation != "create":
        owner = ADMIN if policy == "admin-only" else "payments"
        vault.stored(owner, target, MARKER, access_policy=policy)
    if METHODS[operation] == "PUT":
        return vault.put(caller, target, f"{MARKER}-2", access_policy=policy)
    return vault.call(caller, METHODS[operation], f"/vault/{target}")


@pytest.mark.parametrize(("policy", "operation", "caller"), CELLS)
def test_the_table_of_built_in_policies(vault: VaultServer, policy: str, operation: str, caller: str) -> None:
    answer = attempt(vault, policy, operation, caller)
    row = vault.row(answer)
    if caller in ALLOWED[policy][operation]:
        assert answer.status == (201 if operation == "create" else 200)
        assert (row["outcome"], row["policy"], row["policy_version"], row["app"]) == ("granted", policy, 1, caller)
    else:
        assert answer.status == 403
        assert (row["outcome"], row["status"], row["app"]) == ("denied", 403, caller)
        assert row["reason"]
        if operation not in {"create", "replace"} or caller in HOLDERS:
            assert (row["policy"], row["policy_version"]) == (policy, 1)


def test_the_refusal_of_another_app_is_a_problem_without_the_blob(vault: VaultServer) -> None:
    vault.stored("payments", "card/table-problem", MARKER)
    answer = vault.get("billing", "card/table-problem")
    assert_problem(answer, 403, "access-denied")
    assert MARKER.encode() not in answer.body


def test_the_refusal_of_another_app_is_on_record_with_policy_version_and_reason(vault: VaultServer) -> None:
    vault.stored("payments", "card/table-row", MARKER)
    row = vault.row(vault.get("billing", "card/table-row"))
    expected = {
        "operation": "retrieve",
        "outcome": "denied",
        "status": 403,
        "purpose": "card",
        "external_id": "table-row",
        "app": "billing",
        "reason": "app-not-allowed",
        "policy": "owner-only",
        "policy_version": 1,
    }
    assert {name: row[name] for name in expected} == expected


@pytest.mark.parametrize("caller", ["other", "auditor"])
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_who_lacks_the_purpose_cannot_tell_an_entry_from_none(vault: VaultServer, caller: str, method: str) -> None:
    vault.stored("payments", f"card/probe-{caller}-{method}", MARKER)
    there = vault.call(caller, method, f"/vault/card/probe-{caller}-{method}")
    missing = vault.call(caller, method, "/vault/card/probe-missing")
    assert there.body.replace(there.request_id.encode(), b"") == missing.body.replace(missing.request_id.encode(), b"")


def test_a_replacement_does_not_take_an_entry_over(vault: VaultServer) -> None:
    vault.stored("payments", "card/take-over", MARKER)
    vault.put("billing", "card/take-over", "mine")
    entry = vault.get("payments", "card/take-over").json
    assert (entry["owner_app"], entry["encrypted_value"], entry["version"]) == ("payments", MARKER, 1)


def test_an_owner_cannot_hand_an_entry_to_a_policy_that_would_not_let_it_store(vault: VaultServer) -> None:
    vault.stored("payments", "card/hand-over", MARKER)
    answer = vault.put("payments", "card/hand-over", "new", access_policy="admin-only")
    assert_problem(answer, 403, "access-denied")


def test_the_owner_is_never_taken_from_the_body(vault: VaultServer) -> None:
    assert vault.put("payments", "card/owner-field", owner_app="billing").status == 422


class TestListing:
    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def entries(cls, vault: VaultServer) -> None:
        for policy in ("owner-only", "same-purpose", "open-retrieve"):
            vault.stored("payments", f"card/listed-{policy}", MARKER, access_policy=policy, key_ref="listing")
        vault.stored("billing", "card/listed-billing", MARKER, key_ref="listing")

    def listed(self, vault: VaultServer, who: str) -> set[str]:
        page = vault.call(who, "GET", "/vault/card?limit=1000&key_ref=listing").json
        return {entry["external_id"] for entry in page["entries"]}

    def test_an_app_sees_what_it_may_inspect(self, vault: VaultServer) -> None:
        assert self.listed(vault, "billing") == {"listed-same-purpose", "listed-open-retrieve", "listed-billing"}

    @pytest.mark.parametrize("who", sorted(ROLES))
    def test_an_admin_and_an_auditor_see_all(self, vault: VaultServer, who: str) -> None:
        assert len(self.listed(vault, who)) == 4

    def test_an_app_without_the_purpose_is_refused(self, vault: VaultServer) -> None:
        assert_problem(vault.call("other", "GET", "/vault/card"), 403, "access-denied")

    def test_no_list_holds_a_blob(self, vault: VaultServer) -> None:
        answer = vault.call(ADMIN, "GET", "/vault/card?limit=1000")
        assert b"encrypted_value" not in answer.body
        assert MARKER.encode() not in answer.body

    @pytest.mark.parametrize(
        ("query", "expected"),
        [
            ("owner_app=billing", {"listed-billing"}),
            ("access_policy=same-purpose", {"listed-same-purpose"}),
            ("state=expired", set()),
            ("expires_before=2000-01-01T00:00:00Z", set()),
        ],
    )
    def test_a_filter_holds(self, vault: VaultServer, query: str, expected: set[str]) -> None:
        page = vault.call(ADMIN, "GET", f"/vault/card?key_ref=listing&{query}").json
        assert {entry["external_id"] for entry in page["entries"]} == expected

    def test_a_list_is_on_record(self, vault: VaultServer) -> None:
        row = vault.row(vault.call("billing", "GET", "/vault/card?limit=1"))
        assert (row["operation"], row["outcome"], row["purpose"]) == ("list", "granted", "card")
