"""Explaining a decision and replaying a candidate, over HTTP and on both storages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer
from tests.support.wire import Answer

PATH = "/admin/access-policies/explain"
ASKED = {"app": "billing", "purposes": ["card"], "operation": "retrieve", "purpose": "card"}


def explain(vault: VaultServer, who: str = ADMIN, **question: Any) -> Answer:
    return vault.call(who, "POST", PATH, json_body={**ASKED, **question})


class TestExplaining:
    def test_a_decision_is_explained_by_its_policy(self, vault: VaultServer) -> None:
        vault.access_policy("explained", store={}, retrieve={"allowed_apps": ["payments"], "max_retrievals": 5})
        second = vault.access_policy(
            "explained", store={}, retrieve={"allowed_apps": ["payments"], "max_retrievals": 9}
        )
        entry = vault.stored("payments", "card/explained", MARKER, access_policy="explained")
        answer = explain(vault, external_id="explained")
        assert answer.status == 200, answer
        expected = {
            "decision": "deny",
            "policy": "explained",
            "version": 2,
            "reason": "app-not-allowed",
            "in_force_since": second["created_at"],
            "changed_by": ADMIN,
            "max_retrievals": None,
            "answer": {
                "status": 403,
                "slug": "access-denied",
                "title": "The access policy does not allow this operation",
            },
            "legal_holds": [],
            "last_purge": None,
        }
        assert {name: answer.json[name] for name in expected} == expected
        assert MARKER not in answer.body.decode()
        shown = answer.json["entry"]
        assert {name: shown[name] for name in ("entry_id", "version", "owner_app", "effective_expires_at")} == {
            name: entry[name] for name in ("entry_id", "version", "owner_app", "effective_expires_at")
        }
        assert answer.json["retention_policy"]["version"] >= 1
        allowed = explain(vault, "auditor", app="payments", external_id="explained").json
        assert (allowed["decision"], allowed["reason"], allowed["max_retrievals"]) == ("allow", None, 9)
        assert allowed["answer"] == {"status": 200, "slug": None, "title": None}
        assert vault.get("payments", "card/explained").json["retrievals"] == 1

    @pytest.mark.parametrize("operation", ["store", "update", "retrieve", "inspect", "purge"])
    @pytest.mark.parametrize(
        ("who", "principal"),
        [
            ("payments", {"app": "payments", "purposes": ["card"]}),
            ("billing", {"app": "billing", "purposes": ["card"]}),
            ("other", {"app": "other", "purposes": ["ach"]}),
            ("operator", {"app": "operator", "purposes": [], "roles": ["admin"]}),
            (ADMIN, {"app": ADMIN, "purposes": ["*"], "roles": ["admin"]}),
            ("auditor", {"app": "auditor", "roles": ["auditor"], "purposes": []}),
        ],
    )
    def test_it_is_what_the_request_is_then_answered(
        self, vault: VaultServer, operation: str, who: str, principal: dict[str, Any]
    ) -> None:
        for name in (f"asked-{operation}-{who}", "asked-of-nothing"):
            if name != "asked-of-nothing":
                vault.stored("payments", f"card/{name}", MARKER)
            told = explain(vault, **principal, operation=operation, external_id=name).json["answer"]["status"]
            if operation == "store":
                answer = vault.put(who, f"card/{name}", "new")
                vault.delete(ADMIN, "card/asked-of-nothing")
            else:
                method = {"update": "PATCH", "retrieve": "GET", "inspect": "HEAD", "purge": "DELETE"}[operation]
                body = {"metadata": {"n": 1}} if operation == "update" else None
                kind = [("Content-Type", "application/merge-patch+json")] if body else []
                answer = vault.call(who, method, f"/vault/card/{name}", json_body=body, headers=kind)
            assert told == answer.status

    def test_what_keeps_an_entry_and_what_is_left_of_it_is_part_of_the_answer(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/explained-held", MARKER)
        hold = {"case_reference": "17", "reason": "r", "selector": {"external_id": "explained-held"}}
        vault.call(ADMIN, "PUT", "/admin/legal-holds/explained", json_body=hold)
        asked = {"app": "payments", "operation": "purge", "external_id": "explained-held"}
        found = explain(vault, **asked).json
        assert (found["decision"], found["answer"]["slug"]) == ("allow", "legal-hold")
        assert [(held["name"], held["case_reference"]) for held in found["legal_holds"]] == [("explained", "17")]
        vault.call(ADMIN, "DELETE", "/admin/legal-holds/explained")
        record = vault.delete("payments", "card/explained-held").json
        found = explain(vault, **asked).json
        assert (found["entry"], found["policy"], found["reason"]) == (None, None, "not_found")
        assert (found["answer"]["slug"], found["last_purge"]) == ("not-found", record)

    def test_asking_is_on_record_as_what_it_is(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/explained-row", MARKER)
        row = vault.row(explain(vault, "auditor", external_id="explained-row"))
        assert (row["operation"], row["outcome"], row["app"], row["external_id"]) == (
            "explain-access", "granted", "auditor", "explained-row",
        )  # fmt: skip
        assert row["detail"] == "retrieve by billing: 403 access-denied, by owner-only v1"
        assert_refused(vault, explain(vault, "payments", external_id="explained-row"), 403, "role-required", "role")

    @pytest.mark.parametrize(
        "question",
        [
            {},
            {"external_id": "a/b"},
            {"external_id": "a", "operation": "list"},
            {"external_id": "a", "app": "@owner"},
            {"external_id": "a", "app": ""},
            {"external_id": "a", "purposes": ["Card"]},
            {"external_id": "a", "roles": ["root"]},
            {"external_id": "a", "identity": 5},
            {"external_id": "a", "credential_id": "x"},
        ],
        ids=repr,
    )
    def test_a_question_that_is_none_is_422(self, vault: VaultServer, question: dict[str, Any]) -> None:
        assert_problem(explain(vault, **question), 422, "validation-failed")


class TestReplaying:
    def replay(self, vault: VaultServer, name: str, rules: Any, who: str = ADMIN, **query: str) -> Answer:
        members = {"since": (datetime.now(UTC) - timedelta(minutes=5)).strftime("%Y-%m-%dT%H:%M:%SZ"), **query}
        target = f"/admin/access-policies/{name}/replay?" + "&".join(f"{key}={value}" for key, value in members.items())
        return vault.call(who, "POST", target, json_body={"rules": rules})

    def test_a_candidate_shows_whose_answers_it_would_change(self, vault: VaultServer) -> None:
        open_rules = {"store": {}, "retrieve": {}, "purge": {"allowed_apps": ["@owner"]}}
        vault.access_policy("rehearsed", **open_rules)
        vault.stored("payments", "card/rehearsed", MARKER, access_policy="rehearsed")
        for who in ("payments", "billing", "archive", "operator"):
            vault.get(who, "card/rehearsed")
        closed = {**open_rules, "retrieve": {"allowed_apps": ["@owner", "archive"]}}
        answer = self.replay(vault, "rehearsed", closed, "auditor")
        assert answer.status == 200, answer
        found = answer.json
        assert (found["rows"], found["complete"], found["unchanged"]) == (5, True, 4)
        assert (found["granted_to_denied"], found["denied_to_granted"], found["changes_left_out"]) == (1, 0, 0)
        assert found["not_replayable"] == {"total": 0}
        (change,) = found["changes"]
        assert (change["app"], change["operation"], change["external_id"]) == ("billing", "retrieve", "rehearsed")
        assert change["was"] == {"outcome": "granted", "status": 200, "reason": None, "version": 1}
        assert change["would_be"] == {"decision": "deny", "reason": "app-not-allowed"}
        assert vault.call(ADMIN, "GET", "/admin/access-policies/rehearsed").json["version"] == 1
        row = vault.row(answer)
        assert (row["operation"], row["detail"]) == (
            "replay-access-policy", "rehearsed: 5 rows, 1 would change, 0 not replayable",
        )  # fmt: skip
        by_role = self.replay(vault, "rehearsed", {**open_rules, "retrieve": {"allowed_apps": ["@admin"]}}).json
        assert by_role["not_replayable"] == {"total": 3, "roles": 3}
        assert self.replay(vault, "rehearsed", closed, limit="2").json["complete"] is False

    @pytest.mark.parametrize(
        ("name", "query", "status", "slug"),
        [
            ("owner-only", {}, 409, "built-in-policy"),
            ("some", {"since": "2999-01-01T00:00:00Z"}, 422, "invalid-query"),
            ("some", {"since": "yesterday"}, 422, "invalid-query"),
            ("some", {"limit": "0"}, 422, "invalid-query"),
            ("some", {"limit": "100001"}, 422, "invalid-query"),
        ],
        ids=repr,
    )
    def test_what_cannot_be_replayed_is_refused(
        self, vault: VaultServer, name: str, query: dict[str, str], status: int, slug: str
    ) -> None:
        assert_problem(self.replay(vault, name, {}, **query), status, slug)

    def test_a_document_that_a_put_refuses_is_refused(self, vault: VaultServer) -> None:
        answer = self.replay(vault, "some", {"retrieve": {"max_retrievals": 0}})
        assert_problem(answer, 422, "validation-failed")
        row = vault.row(answer)
        assert (row["operation"], row["detail"]) == ("replay-access-policy", "some")

    def test_who_has_no_role_replays_nothing(self, vault: VaultServer) -> None:
        assert_refused(vault, self.replay(vault, "some", {}, "payments"), 403, "role-required", "role")
