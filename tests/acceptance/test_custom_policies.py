"""Access policies of one's own: their rules, their versions, and the life of their names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer
from tests.support.together import together

OWNER = {"allowed_apps": ["@owner"]}


def policy_and_entry(vault: VaultServer, name: str, **rules: Any) -> str:
    """Define a policy, store an entry of payments under it, and return where the entry lies."""
    vault.access_policy(name, **{"store": {}, "purge": OWNER, **rules})
    vault.stored("payments", f"card/{name}", MARKER, access_policy=name)
    return f"card/{name}"


class TestRules:
    def test_an_app_that_is_named_retrieves(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "named", retrieve={"allowed_apps": ["billing"]})
        assert vault.get("billing", target).status == 200

    def test_the_owner_that_is_not_named_does_not(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "not-the-owner", retrieve={"allowed_apps": ["billing"]})
        assert_refused(vault, vault.get("payments", target), 403, "access-denied", "app-not-allowed")

    def test_an_empty_list_names_nobody(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "nobody", retrieve={"allowed_apps": []})
        for who in ("payments", "billing", ADMIN):
            assert_problem(vault.get(who, target), 403, "access-denied")

    def test_an_app_that_is_named_still_needs_the_purpose(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "named-stranger", retrieve={"allowed_apps": ["other"]})
        assert_refused(vault, vault.get("other", target), 403, "access-denied", "purpose-not-held")

    def test_any_purpose_lifts_the_purpose(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "any-purpose", retrieve={"allowed_apps": ["other"], "any_purpose": True})
        assert vault.get("other", target).status == 200

    def test_any_purpose_for_retrieving_holds_for_inspecting_without_a_rule(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "any-purpose-3", retrieve={"allowed_apps": ["other"], "any_purpose": True})
        assert vault.call("other", "HEAD", f"/vault/{target}").status == 200

    def test_any_purpose_for_inspecting_lifts_the_purpose_for_that_alone(self, vault: VaultServer) -> None:
        name = "any-purpose-4"
        target = policy_and_entry(vault, name, retrieve={}, inspect={"allowed_apps": ["other"], "any_purpose": True})
        assert vault.call("other", "HEAD", f"/vault/{target}").status == 200
        assert_refused(vault, vault.get("other", target), 403, "access-denied", "purpose-not-held")

    def test_any_purpose_lifts_nothing_else(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "any-purpose-2", retrieve={"allowed_apps": ["other"], "any_purpose": True})
        assert_problem(vault.get("billing", target), 403, "access-denied")

    def test_the_owner_by_its_sign(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "at-owner", retrieve=OWNER)
        assert vault.get("payments", target).status == 200
        assert vault.get("billing", target).status == 403

    def test_the_admins_by_their_sign(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "at-admin", retrieve={"allowed_apps": ["@admin"]})
        assert vault.get(ADMIN, target).status == 200
        assert vault.get("payments", target).status == 403

    def test_an_identity_is_required_where_the_rule_says_so(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "identity", retrieve={"require_identity": True})
        assert_refused(vault, vault.get("payments", target), 403, "access-denied", "identity-required")
        assert vault.get("payments-alice", target).status == 200

    def test_an_identity_is_required_for_storing_where_the_rule_says_so(self, vault: VaultServer) -> None:
        vault.access_policy("identity-store", store={"require_identity": True})
        answer = vault.put("payments", "card/identity-store", access_policy="identity-store")
        assert_refused(vault, answer, 403, "access-denied", "identity-required")

    @pytest.mark.parametrize(("method", "operation"), [("GET", "retrieve"), ("DELETE", "purge"), ("PUT", "store")])
    def test_an_operation_without_a_rule_is_denied(self, vault: VaultServer, method: str, operation: str) -> None:
        name = f"without-{operation}"
        rules = {"store": {}, "retrieve": OWNER, "purge": OWNER}
        vault.access_policy(name, **rules)
        vault.stored("payments", f"card/{name}", MARKER, access_policy=name)
        vault.access_policy(name, **{key: rule for key, rule in rules.items() if key != operation})
        body = {"encrypted_value": "new", "access_policy": name} if method == "PUT" else None
        answer = vault.call("payments", method, f"/vault/card/{name}", json_body=body)
        assert_refused(vault, answer, 403, "access-denied", "no-rule")

    def test_inspecting_without_a_rule_follows_retrieving(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "follows", retrieve={"allowed_apps": ["billing"]})
        assert vault.call("billing", "HEAD", f"/vault/{target}").status == 200
        assert vault.call("payments", "HEAD", f"/vault/{target}").status == 403

    def test_inspecting_with_a_rule_follows_the_rule(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "own-inspect", retrieve=OWNER, inspect={"allowed_apps": ["billing"]})
        assert vault.call("billing", "HEAD", f"/vault/{target}").status == 200
        assert vault.get("billing", target).status == 403
        assert vault.call("payments", "HEAD", f"/vault/{target}").status == 403

    def test_an_app_that_may_store_may_replace_and_the_owner_stays(self, vault: VaultServer) -> None:
        store = {"allowed_apps": ["@owner", "billing"]}
        target = policy_and_entry(vault, "co-writer", store=store, retrieve=OWNER)
        assert vault.put("billing", target, "by billing", access_policy="co-writer").status == 200
        entry = vault.get("payments", target).json
        assert (entry["encrypted_value"], entry["owner_app"]) == ("by billing", "payments")

    def test_the_row_of_a_grant_names_the_policy_and_its_version(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "versioned-row", retrieve=OWNER)
        vault.access_policy("versioned-row", store={}, retrieve={}, purge=OWNER)
        row = vault.row(vault.get("billing", target))
        assert (row["policy"], row["policy_version"]) == ("versioned-row", 2)


class TestMaxRetrievals:
    def test_fifty_readers_at_once_see_it_exactly_ten_times(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "ten", retrieve={"max_retrievals": 10})
        answers = together(*[lambda: vault.get("payments", target)] * 50)
        assert sorted(answer.status for answer in answers) == [200] * 10 + [403] * 40

    def test_the_rows_say_the_same(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "ten-rows", retrieve={"max_retrievals": 10})
        together(*[lambda: vault.get("payments", target)] * 50)
        rows = vault.rows("external_id=ten-rows&operation=retrieve")
        outcomes = [(row["outcome"], row["reason"]) for row in rows]
        assert outcomes.count(("granted", None)) == 10
        assert outcomes.count(("denied", "max-retrievals-reached")) == 40

    def test_the_counter_says_the_same(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "ten-counted", retrieve={"max_retrievals": 10})
        together(*[lambda: vault.get("payments", target)] * 50)
        (entry,) = [
            entry
            for entry in vault.call("payments", "GET", "/vault/card?access_policy=ten-counted").json["entries"]
            if entry["external_id"] == "ten-counted"
        ]
        assert entry["retrievals"] == 10

    def test_replacing_does_not_reset_it(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "one-shot", retrieve={"max_retrievals": 1})
        assert vault.get("payments", target).status == 200
        vault.put("payments", target, "again", access_policy="one-shot")
        assert_refused(vault, vault.get("payments", target), 403, "access-denied", "max-retrievals-reached")

    def test_each_entry_has_its_own(self, vault: VaultServer) -> None:
        policy_and_entry(vault, "each-its-own", retrieve={"max_retrievals": 1})
        vault.stored("payments", "card/each-its-own-2", MARKER, access_policy="each-its-own")
        assert vault.get("payments", "card/each-its-own").status == 200
        assert vault.get("payments", "card/each-its-own-2").status == 200

    def test_a_refused_reader_uses_nothing_up(self, vault: VaultServer) -> None:
        rule = {"allowed_apps": ["billing"], "max_retrievals": 1}
        target = policy_and_entry(vault, "not-used-up", retrieve=rule)
        vault.get("payments", target)
        assert vault.get("billing", target).status == 200


class TestUndefinedPolicies:
    def test_the_entry_is_stored_with_a_warning(self, vault: VaultServer) -> None:
        answer = vault.put("payments", "card/undefined-1", MARKER, access_policy="undefined-1")
        assert answer.status == 201
        assert "undefined-1" in answer.json["warnings"][0]

    def test_a_defined_policy_brings_no_warning(self, vault: VaultServer) -> None:
        assert "warnings" not in vault.stored("payments", "card/defined-1", MARKER, access_policy="same-purpose")

    def test_until_it_is_defined_it_is_owner_only(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/undefined-2", MARKER, access_policy="undefined-2")
        assert vault.get("payments", "card/undefined-2").status == 200
        assert_refused(vault, vault.get("billing", "card/undefined-2"), 403, "access-denied", "app-not-allowed")

    def test_once_it_is_defined_it_rules(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/undefined-3", MARKER, access_policy="undefined-3")
        vault.access_policy("undefined-3", store={}, retrieve={"allowed_apps": ["billing"]})
        assert vault.get("billing", "card/undefined-3").status == 200
        assert vault.get("payments", "card/undefined-3").status == 403

    def test_the_report_lists_it(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/undefined-4", MARKER, access_policy="undefined-4")
        report = vault.call("auditor", "GET", "/compliance/report").json
        assert report["undefined_access_policies"]["entries_by_policy"]["undefined-4"] == 1

    def test_it_can_be_forbidden(self, another_vault: Any) -> None:
        server = another_vault(settings="[access]\nrequire_defined_policy = true\n")
        answer = server.put("payments", "card/a", MARKER, access_policy="undefined-5")
        assert_refused(server, answer, 422, "undefined-policy", "undefined_policy")


class TestTheLifeOfAPolicy:
    def test_the_first_is_created_and_the_next_is_a_version(self, vault: VaultServer) -> None:
        first = vault.call(ADMIN, "PUT", "/admin/access-policies/life-1", json_body={"rules": {"retrieve": {}}})
        second = vault.call(ADMIN, "PUT", "/admin/access-policies/life-1", json_body={"rules": {}})
        assert [(answer.status, answer.json["version"]) for answer in (first, second)] == [(201, 1), (200, 2)]
        assert second.json["created_by"] == ADMIN

    def test_it_is_read_as_it_was_put(self, vault: VaultServer) -> None:
        rules = {"retrieve": {"allowed_apps": ["@owner", "a/b:c@d"], "max_retrievals": 7, "require_identity": True}}
        vault.access_policy("life-2", **rules)
        read = vault.call("auditor", "GET", "/admin/access-policies/life-2").json["rules"]["retrieve"]
        assert (set(read["allowed_apps"]), read["max_retrievals"], read["require_identity"]) == (
            {"@owner", "a/b:c@d"},
            7,
            True,
        )

    def test_one_in_use_is_not_deleted(self, vault: VaultServer) -> None:
        policy_and_entry(vault, "life-3", retrieve=OWNER)
        answer = vault.call(ADMIN, "DELETE", "/admin/access-policies/life-3")
        assert_refused(vault, answer, 409, "policy-in-use", "policy_in_use")
        assert vault.get("payments", "card/life-3").status == 200

    def test_one_no_longer_in_use_is_deleted(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "life-4", retrieve=OWNER)
        vault.delete("payments", target)
        assert vault.call(ADMIN, "DELETE", "/admin/access-policies/life-4").status == 200
        assert vault.call(ADMIN, "GET", "/admin/access-policies/life-4").status == 404

    def test_a_name_used_again_goes_on_counting(self, vault: VaultServer) -> None:
        vault.access_policy("life-5", retrieve={})
        vault.call(ADMIN, "DELETE", "/admin/access-policies/life-5")
        assert vault.access_policy("life-5", retrieve={})["version"] > 1

    def test_one_there_is_not_is_not_deleted(self, vault: VaultServer) -> None:
        answer = vault.call(ADMIN, "DELETE", "/admin/access-policies/none-such")
        assert_refused(vault, answer, 404, "policy-not-found", "policy_not_found")

    @pytest.mark.parametrize("name", ["owner-only", "same-purpose", "open-retrieve", "admin-only"])
    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    def test_a_built_in_is_not_changed(self, vault: VaultServer, name: str, method: str) -> None:
        body = {"rules": {"retrieve": {"any_purpose": True}}} if method == "PUT" else None
        answer = vault.call(ADMIN, method, f"/admin/access-policies/{name}", json_body=body)
        assert_refused(vault, answer, 409, "built-in-policy", "built_in_policy")

    def test_the_built_ins_are_listed(self, vault: VaultServer) -> None:
        listed = vault.call("auditor", "GET", "/admin/access-policies").json["access_policies"]
        built_in = {policy["name"] for policy in listed if policy["built_in"]}
        assert built_in == {"owner-only", "same-purpose", "open-retrieve", "admin-only"}

    def test_a_change_is_on_record_with_the_old_and_the_new(self, vault: VaultServer) -> None:
        vault.access_policy("life-6", retrieve=OWNER)
        answer = vault.call(ADMIN, "PUT", "/admin/access-policies/life-6", json_body={"rules": {"retrieve": {}}})
        row = vault.row(answer)
        assert json.loads(row["old_value"])["rules"]["retrieve"]["allowed_apps"] == ["@owner"]
        assert json.loads(row["new_value"])["rules"]["retrieve"]["allowed_apps"] is None

    @pytest.mark.parametrize(
        ("who", "method", "name", "body", "status"),
        [
            ("payments", "PUT", "named-1", {"rules": {}}, 403),
            ("auditor", "DELETE", "named-1", None, 403),
            (ADMIN, "PUT", "named-1", {"rules": {"read": {}}}, 422),
            (ADMIN, "PUT", "named-1", {"rules": {}, "evaluator": "none-such"}, 422),
            (ADMIN, "PUT", "owner-only", {"rules": {}}, 409),
            (ADMIN, "DELETE", "owner-only", None, 409),
            (ADMIN, "DELETE", "none-such", None, 404),
            (ADMIN, "GET", "none-such", None, 404),
        ],
    )
    def test_the_row_of_a_refusal_names_the_policy(
        self, vault: VaultServer, who: str, method: str, name: str, body: Any, status: int
    ) -> None:
        answer = vault.call(who, method, f"/admin/access-policies/{name}", json_body=body)
        assert answer.status == status
        rows = vault.rows(f"request_id={answer.request_id}")
        assert [(row["outcome"], row["detail"]) for row in rows] == [("denied", name)]

    def test_the_row_of_a_policy_in_use_that_is_not_deleted_names_it(self, vault: VaultServer) -> None:
        policy_and_entry(vault, "named-2", retrieve=OWNER)
        answer = vault.call(ADMIN, "DELETE", "/admin/access-policies/named-2")
        assert assert_refused(vault, answer, 409, "policy-in-use", "policy_in_use")["detail"] == "named-2"

    @pytest.mark.parametrize(("who", "status"), [("payments", 403), (ADMIN, 422)])
    def test_the_row_of_a_refused_retention_policy_names_its_purpose(
        self, vault: VaultServer, who: str, status: int
    ) -> None:
        answer = vault.call(who, "PUT", "/admin/retention-policies/named", json_body={})
        (row,) = vault.rows(f"request_id={answer.request_id}")
        assert (row["status"], row["purpose"], row["detail"]) == (status, "named", "named")

    def test_after_a_policy_is_tightened_nobody_reads_by_the_old_one(self, vault: VaultServer) -> None:
        target = policy_and_entry(vault, "tightened", retrieve={})
        for _ in range(25):
            assert vault.get("billing", target).status == 200
            vault.access_policy("tightened", store={}, retrieve=OWNER, purge=OWNER)
            assert vault.get("billing", target).status == 403
            vault.access_policy("tightened", store={}, retrieve={}, purge=OWNER)
