"""PATCH, and PUT of the value that is there: an update. The value lives on, so nothing is purged."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer, eventually
from tests.support.wire import Answer

MERGE_PATCH = {"Content-Type": "application/merge-patch+json"}


def patch(vault: VaultServer, name: str, body: Any, who: str = "payments", **headers: str) -> Answer:
    sent = {**MERGE_PATCH, **{name.replace("_", "-"): value for name, value in headers.items()}}
    return vault.call(who, "PATCH", f"/vault/card/{name}", body=json.dumps(body).encode(), headers=sent)


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def purge_rows(vault: VaultServer, name: str) -> list[dict[str, Any]]:
    return vault.purge_rows(f"purpose=card&external_id={name}")


class TestPatch:
    def test_each_member_changes_and_the_rest_stays(self, vault: VaultServer) -> None:
        before = vault.stored("payments", "card/patch-1", MARKER, key_ref="k", metadata={"a": 1, "b": {"c": 2}})
        at = in_days(30)
        answer = patch(
            vault, "patch-1", {"expires_at": at, "metadata": {"b": {"d": 3}}, "access_policy": "same-purpose"}
        )
        changed = {
            "version": 2,
            "expires_at": at,
            "effective_expires_at": at,
            "metadata": {"a": 1, "b": {"c": 2, "d": 3}},
            "access_policy": "same-purpose",
            "updated_at": answer.json["updated_at"],
        }
        assert answer.status == 200
        assert answer.json == {**before, **changed}
        assert vault.get("payments", "card/patch-1").json == {**answer.json, "encrypted_value": MARKER}
        assert answer.header("etag") == vault.get("payments", "card/patch-1").header("etag")

    def test_it_is_audited_as_update_and_leaves_no_purge_row(self, vault: VaultServer) -> None:
        entry = vault.stored("payments", "card/patch-2", MARKER)
        answer = patch(vault, "patch-2", {"metadata": {"a": 1}})
        row = vault.row(answer)
        assert (row["operation"], row["outcome"], row["status"]) == ("update", "granted", 200)
        assert (row["entry_id"], row["entry_version"]) == (entry["entry_id"], 2)
        assert purge_rows(vault, "patch-2") == []

    def test_null_removes(self, vault: VaultServer) -> None:
        fields = {"ttl": "1h", "metadata": {"a": 1, "b": 2}, "access_policy": "same-purpose"}
        vault.stored("payments", "card/patch-3", MARKER, **fields)
        answer = patch(vault, "patch-3", {"metadata": {"a": None}, "access_policy": None, "expires_at": None})
        assert (answer.json["metadata"], answer.json["access_policy"]) == ({"b": 2}, "owner-only")
        lives = datetime.fromisoformat(answer.json["expires_at"]) - datetime.fromisoformat(answer.json["updated_at"])
        assert lives == timedelta(days=90)
        assert patch(vault, "patch-3", {"metadata": None}).json["metadata"] == {}

    @pytest.mark.parametrize("body", [{}, {"metadata": {}}, {"access_policy": "owner-only"}, {"metadata": {"a": 1}}])
    def test_a_patch_that_changes_nothing_makes_no_version(self, vault: VaultServer, body: dict[str, Any]) -> None:
        name = f"patch-4{len(str(body))}"
        vault.stored("payments", f"card/{name}", MARKER, metadata={"a": 1})
        answer = patch(vault, name, body)
        assert (answer.status, answer.json["version"]) == (200, 1)

    def test_json_is_taken_as_a_merge_patch_too(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/patch-5", MARKER)
        answer = vault.call("payments", "PATCH", "/vault/card/patch-5", json_body={"metadata": {"a": 1}})
        assert answer.json["metadata"] == {"a": 1}

    def test_another_patch_format_is_415(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/patch-6", MARKER)
        headers = {"Content-Type": "application/json-patch+json"}
        answer = vault.call("payments", "PATCH", "/vault/card/patch-6", body=b"[]", headers=headers)
        assert_refused(vault, answer, 415, "unsupported-media-type", "media_type")

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"encrypted_value": "v"}, "encrypted_value"),
            ({"encoding": "base64"}, "encoding"),
            ({"metadata": "x"}, "metadata"),
            ({"ttl": "90"}, "ttl"),
            ({"ttl": "0d"}, "ttl"),
            ({"ttl": "-1d"}, "ttl"),
            ({"ttl": "1d", "expires_at": "2099-01-01T00:00:00Z"}, "ttl"),
        ],
    )
    def test_what_cannot_be_patched_is_422(self, vault: VaultServer, body: dict[str, Any], field: str) -> None:
        vault.put("payments", "card/patch-7", MARKER)
        answer = patch(vault, "patch-7", body)
        assert_refused(vault, answer, 422, "validation-failed", "validation")
        assert [each["field"] for each in answer.json["errors"]] == [field]

    @pytest.mark.parametrize("name", ["key_ref", "algorithm_hint"])
    def test_a_name_of_the_key_changes_only_with_the_value(self, vault: VaultServer, name: str) -> None:
        vault.stored("payments", f"card/patch-{name}", MARKER)
        answer = patch(vault, f"patch-{name}", {name: "z"})
        assert_refused(vault, answer, 422, "key-ref-without-value", "key_ref_without_value")
        assert answer.json["errors"] == [{"field": name, "expected": "a PUT with the new value"}]

    def test_metadata_that_is_no_object_is_named_in_words_of_json(self, vault: VaultServer) -> None:
        for answer in (
            patch(vault, "patch-object", {"metadata": "x"}),
            vault.put("payments", "card/o", "v", metadata=[1]),
        ):
            assert answer.json["errors"] == [{"field": "metadata", "expected": "an object"}]

    def test_a_value_is_changed_by_put(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/patch-value", MARKER)
        answer = patch(vault, "patch-value", {"encrypted_value": "x", "key_ref": "z"})
        assert_problem(answer, 422, "validation-failed")
        assert answer.json["errors"] == [
            {"field": "encrypted_value", "expected": "a PUT, which replaces the value: PATCH does not change it"}
        ]

    def test_metadata_is_limited_after_the_merge(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/patch-8", MARKER, metadata={f"k{number}": 1 for number in range(60)})
        answer = patch(vault, "patch-8", {"metadata": {f"m{number}": 1 for number in range(5)}})
        assert_problem(answer, 422, "metadata-too-large")

    def test_retention_decides_as_for_put(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/patch-9", MARKER)
        assert_problem(patch(vault, "patch-9", {"expires_at": in_days(400)}), 422, "retention-exceeded")
        assert_problem(patch(vault, "patch-9", {"ttl": "53w"}), 422, "retention-exceeded")
        assert_problem(patch(vault, "patch-9", {"ttl": "9999999999w"}), 422, "retention-exceeded")
        assert_problem(patch(vault, "patch-9", {"expires_at": "2020-01-01T00:00:00Z"}), 422, "expires-in-past")

    def test_access_policies_decide_as_for_put(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/patch-10", MARKER, access_policy="same-purpose")
        row = assert_refused(
            vault, patch(vault, "patch-10", {"ttl": "1d"}, "billing"), 403, "access-denied", "app-not-allowed"
        )
        assert row["operation"] == "update"
        assert_problem(patch(vault, "patch-10", {"access_policy": "admin-only"}), 403, "access-denied")
        assert_problem(patch(vault, "patch-10", {"ttl": "1d"}, "other"), 403, "access-denied")

    def test_an_undefined_policy_is_taken_with_a_warning(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/patch-11", MARKER)
        (warning,) = patch(vault, "patch-11", {"access_policy": "same-porpoise"}).json["warnings"]
        assert "same-porpoise is not defined (did you mean same-purpose?)" in warning

    @pytest.mark.parametrize(("match", "status"), [("{}", 200), ('"zzz"', 412), ("*", 200), ("W/{}", 412)])
    def test_if_match_guards_it(self, vault: VaultServer, match: str, status: int) -> None:
        name = f"patch-12-{len(match)}-{status}"
        tag = str(vault.put("payments", f"card/{name}", MARKER).header("etag"))
        assert patch(vault, name, {"ttl": "1d"}, If_Match=match.format(tag)).status == status

    def test_what_does_not_exist_or_has_expired_is_not_patched(self, vault: VaultServer) -> None:
        assert_problem(patch(vault, "patch-none", {}), 404, "not-found")
        vault.stored("payments", "card/patch-13", MARKER, ttl="1s")
        eventually(lambda: vault.get("payments", "card/patch-13").status == 410)
        assert_problem(patch(vault, "patch-13", {"ttl": "1d"}), 410, "expired")

    def test_the_purge_proof_of_an_updated_entry_is_of_its_last_version(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/patch-14", MARKER)
        patch(vault, "patch-14", {"metadata": {"a": 1}})
        assert vault.delete("payments", "card/patch-14").json["entry_version"] == 2
        assert [row["entry_version"] for row in purge_rows(vault, "patch-14")] == [2]


class TestPutOfTheSameValue:
    def test_it_is_an_update_without_a_purge_row(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/same-1", MARKER, key_ref="k")
        answer = vault.put("payments", "card/same-1", MARKER, key_ref="k", expires_at=in_days(9), metadata={"a": 1})
        assert (answer.status, answer.json["version"], answer.json["metadata"]) == (200, 2, {"a": 1})
        assert (vault.row(answer)["operation"], purge_rows(vault, "same-1")) == ("update", [])

    def test_another_value_is_a_replacement_with_a_purge_row(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/same-2", MARKER)
        answer = vault.put("payments", "card/same-2", "other")
        assert vault.row(answer)["operation"] == "store"
        assert [row["reason"] for row in purge_rows(vault, "same-2")] == ["replaced"]

    def test_the_same_bytes_in_another_encoding_are_an_update(self, vault: VaultServer) -> None:
        vault.stored("payments", "card/same-3", "abc")
        answer = vault.put("payments", "card/same-3", "YWJj", encoding="base64")
        assert (answer.json["encoding"], answer.json["version"]) == ("base64", 2)
        assert purge_rows(vault, "same-3") == []


def test_a_hold_keeps_the_metadata_too_but_not_the_expiry(vault: VaultServer) -> None:
    vault.stored("payments", "card/held-update", MARKER, metadata={"case": "7"})
    hold = {"case_reference": "c", "reason": "r", "selector": {"metadata": {"case": "7"}}}
    assert vault.call(ADMIN, "PUT", "/admin/legal-holds/update", json_body=hold).status == 201
    try:
        answer = patch(vault, "held-update", {"metadata": {"case": "8"}})
        assert_refused(vault, answer, 423, "legal-hold", "legal_hold")
        assert_problem(vault.put("payments", "card/held-update", MARKER), 423, "legal-hold")
        assert patch(vault, "held-update", {"ttl": "1d"}).status == 200
        assert_problem(vault.delete("payments", "card/held-update"), 423, "legal-hold")
    finally:
        vault.call(ADMIN, "DELETE", "/admin/legal-holds/update")


@pytest.mark.parametrize(
    ("ttl", "lives"),
    [("90s", timedelta(seconds=90)), ("5m", timedelta(minutes=5)), ("12h", timedelta(hours=12)), ("2w", timedelta(14))],
)
def test_a_ttl_is_counted_from_the_storing(vault: VaultServer, ttl: str, lives: timedelta) -> None:
    entry = vault.stored("payments", f"card/ttl-{ttl}", MARKER, ttl=ttl)
    assert datetime.fromisoformat(entry["expires_at"]) - datetime.fromisoformat(entry["created_at"]) == lives


def test_a_ttl_beyond_the_maximum_names_its_field(vault: VaultServer) -> None:
    answer = vault.put("payments", "card/ttl-late", ttl="366d")
    assert_refused(vault, answer, 422, "retention-exceeded", "retention_exceeded")
    assert [each["field"] for each in answer.json["errors"]] == ["ttl"]
