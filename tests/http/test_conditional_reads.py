"""GET and HEAD under ``If-Match`` and ``If-None-Match`` (RFC 9110, section 13)."""

from __future__ import annotations

import pytest

from tests.support.checks import assert_problem, assert_refused, assert_standard_headers
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.wire import Answer


def stored_tag(vault: VaultServer, name: str, **fields: str) -> str:
    tag = vault.put("payments", f"card/{name}", MARKER, **fields).header("etag")
    assert tag is not None
    return tag


def read(vault: VaultServer, method: str, name: str, **headers: str) -> Answer:
    return vault.call(
        "payments",
        method,
        f"/vault/card/{name}",
        headers={header.replace("_", "-"): value for header, value in headers.items()},
    )


@pytest.mark.parametrize("method", ["GET", "HEAD"])
class TestConditionalReads:
    @pytest.mark.parametrize("match", ['"zzz"', 'W/"zzz"', '"a,b", "c"'])
    def test_another_version_than_asked_for_is_412(self, vault: VaultServer, method: str, match: str) -> None:
        stored_tag(vault, "read-1")
        answer = read(vault, method, "read-1", If_Match=match)
        assert answer.status == 412
        row = vault.row(answer)
        assert (row["outcome"], row["status"], row["reason"]) == ("denied", 412, "precondition")
        assert row["operation"] == ("retrieve" if method == "GET" else "inspect")

    def test_a_weak_tag_does_not_match_strongly(self, vault: VaultServer, method: str) -> None:
        tag = stored_tag(vault, "read-2")
        assert read(vault, method, "read-2", If_Match=f"W/{tag}").status == 412

    @pytest.mark.parametrize("form", ["{}", "*", ' , "x",{}'])
    def test_the_version_asked_for_is_answered(self, vault: VaultServer, method: str, form: str) -> None:
        tag = stored_tag(vault, "read-3")
        assert read(vault, method, "read-3", If_Match=form.format(tag)).status == 200

    @pytest.mark.parametrize("form", ["{}", "W/{}", "*", '"x" ,,W/{}'])
    def test_a_version_that_the_caller_has_is_304_and_audited_as_inspect(
        self, vault: VaultServer, method: str, form: str
    ) -> None:
        tag = stored_tag(vault, "read-4")
        answer = read(vault, method, "read-4", If_None_Match=form.format(tag))
        assert (answer.status, answer.body, answer.header("etag")) == (304, b"", tag)
        assert answer.header("content-length") is None
        assert_standard_headers(answer)
        row = vault.row(answer)
        assert (row["operation"], row["outcome"], row["status"]) == ("inspect", "granted", 304)

    def test_a_version_that_the_caller_has_not_is_answered(self, vault: VaultServer, method: str) -> None:
        old = stored_tag(vault, "read-5")
        vault.put("payments", "card/read-5", "new")
        assert read(vault, method, "read-5", If_None_Match=old).status == 200

    def test_if_match_comes_before_if_none_match(self, vault: VaultServer, method: str) -> None:
        tag = stored_tag(vault, "read-6")
        assert read(vault, method, "read-6", If_Match='"zzz"', If_None_Match=tag).status == 412

    def test_an_entry_that_does_not_exist_is_404_whatever_is_asked(self, vault: VaultServer, method: str) -> None:
        assert read(vault, method, "read-none", If_Match="*").status == 404
        assert read(vault, method, "read-none", If_None_Match="*").status == 404

    def test_a_caller_who_may_not_read_is_refused_first(self, vault: VaultServer, method: str) -> None:
        tag = stored_tag(vault, "read-7")
        for header in ({"If-None-Match": tag}, {"If-Match": '"zzz"'}):
            assert vault.call("billing", method, "/vault/card/read-7", headers=header).status == 403


def test_an_unmodified_answer_counts_no_retrieval(vault: VaultServer) -> None:
    vault.access_policy("twice", store={}, retrieve={"max_retrievals": 2}, purge={})
    tag = stored_tag(vault, "counted", access_policy="twice")
    for _ in range(5):
        assert read(vault, "GET", "counted", If_None_Match=tag).status == 304
    assert read(vault, "GET", "counted").json["retrievals"] == 1
    assert read(vault, "GET", "counted").status == 200
    assert_problem(read(vault, "GET", "counted", If_None_Match=tag), 403, "access-denied")


def test_retrievals_that_no_policy_counts_are_null_and_not_zero(vault: VaultServer) -> None:
    stored_tag(vault, "uncounted")
    assert [read(vault, "GET", "uncounted").json["retrievals"] for _ in range(2)] == [None, None]


def test_a_purge_before_the_expiry_shows_the_planned_expiry(vault: VaultServer) -> None:
    entry = vault.stored("payments", "card/early", MARKER, ttl="1h")
    row = vault.delete("payments", "card/early").json
    assert row["expired_at"] == entry["effective_expires_at"] > row["purged_at"]


def test_an_expired_shredded_entry_under_a_hold_is_423_to_a_store(vault: VaultServer) -> None:
    vault.retention("shred", method="crypto-shred")
    hold = {"case_reference": "c", "reason": "r", "selector": {"purpose": "shred"}}
    entry = vault.stored(ADMIN, "shred/a", MARKER, ttl="1s")
    assert vault.call(ADMIN, "PUT", "/admin/legal-holds/shred", json_body=hold).status == 201
    eventually(lambda: vault.get(ADMIN, "shred/a").status == 410)
    answer = vault.put(ADMIN, "shred/a", "new")
    assert_refused(vault, answer, 423, "legal-hold", "legal_hold")
    assert entry["version"] == 1


HOLD = {"case_reference": "17 O 4/27", "reason": "Litigation", "selector": {"external_id": "read-of-a-hold"}}
RETENTION = {"max_retention_days": 9, "purge_method": "physical-delete"}
RULES: dict[str, tuple[str, dict[str, object] | None, str]] = {
    "access policy": ("/admin/access-policies/read-etag", {"rules": {"store": {}}}, "read-access-policy"),
    "built-in access policy": ("/admin/access-policies/owner-only", None, "read-access-policy"),
    "retention policy": ("/admin/retention-policies/read-etag", RETENTION, "read-retention-policy"),
    "legal hold": ("/admin/legal-holds/read-etag", HOLD, "read-legal-hold"),
}


@pytest.mark.parametrize(("target", "body", "operation"), RULES.values(), ids=RULES.keys())
class TestConditionalReadsOfRules:
    @staticmethod
    def tag(vault: VaultServer, target: str, body: dict[str, object] | None) -> str:
        if body is not None:
            assert vault.call(ADMIN, "PUT", target, json_body=body).status in {200, 201}
        tag = vault.call("auditor", "GET", target).header("etag")
        assert tag is not None
        return tag

    @pytest.mark.parametrize("form", ["{}", "W/{}", "*", '"x" ,,{}'])
    def test_a_version_that_the_caller_has_is_304(
        self, vault: VaultServer, target: str, body: dict[str, object] | None, operation: str, form: str
    ) -> None:
        tag = self.tag(vault, target, body)
        answer = vault.call("auditor", "GET", target, headers={"If-None-Match": form.format(tag)})
        assert (answer.status, answer.body, answer.header("etag")) == (304, b"", tag)
        row = vault.row(answer)
        assert (row["operation"], row["outcome"], row["status"]) == (operation, "granted", 304)

    def test_another_version_than_asked_for_is_412_and_comes_first(
        self, vault: VaultServer, target: str, body: dict[str, object] | None, operation: str
    ) -> None:
        tag = self.tag(vault, target, body)
        answer = vault.call("auditor", "GET", target, headers={"If-Match": '"999"', "If-None-Match": tag})
        assert answer.status == 412
        assert (vault.row(answer)["operation"], vault.row(answer)["reason"]) == (operation, "precondition")

    @pytest.mark.parametrize("headers", [{"If-Match": "{}"}, {"If-Match": "*"}, {"If-None-Match": '"999"'}])
    def test_the_version_asked_for_is_answered(
        self, vault: VaultServer, target: str, body: dict[str, object] | None, operation: str, headers: dict[str, str]
    ) -> None:
        tag = self.tag(vault, target, body)
        asked = {name: value.format(tag) for name, value in headers.items()}
        answer = vault.call("auditor", "GET", target, headers=asked)
        assert (answer.status, vault.row(answer)["operation"]) == (200, operation)

    def test_a_caller_without_a_role_is_refused_first(
        self, vault: VaultServer, target: str, body: dict[str, object] | None, operation: str
    ) -> None:
        tag = self.tag(vault, target, body)
        for header in ({"If-None-Match": tag}, {"If-Match": "bad"}):
            answer = vault.call("payments", "GET", target, headers=header)
            assert (answer.status, vault.row(answer)["operation"]) == (403, operation)

    def test_a_name_that_does_not_exist_is_404_whatever_is_asked(
        self, vault: VaultServer, target: str, body: dict[str, object] | None, operation: str
    ) -> None:
        for header in ({"If-None-Match": "*"}, {"If-Match": "*"}):
            answer = vault.call("auditor", "GET", f"{target}-none", headers=header)
            assert (answer.status, vault.row(answer)["operation"]) == (404, operation)
