"""Bodies of policies, what a body may repeat of its path, and routes without a body."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http.body_requests import put
from tests.support.checks import assert_problem, assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer
from vsqlvault.http.operations import OPERATIONS
from vsqlvault.http.routing import Router

REFUSED_POLICIES: dict[str, Any] = {
    "no days": {"purge_method": "physical-delete"},
    "0 days": {"max_retention_days": 0, "purge_method": "physical-delete"},
    "36501 days": {"max_retention_days": 36501, "purge_method": "physical-delete"},
    "days as text": {"max_retention_days": "30", "purge_method": "physical-delete"},
    "days as boolean": {"max_retention_days": True, "purge_method": "physical-delete"},
    "days as fraction": {"max_retention_days": 30.5, "purge_method": "physical-delete"},
    "a default beyond the maximum": {
        "max_retention_days": 30,
        "default_ttl_days": 31,
        "purge_method": "physical-delete",
    },
    "a default of 0": {"max_retention_days": 30, "default_ttl_days": 0, "purge_method": "physical-delete"},
    "a method there is not": {"max_retention_days": 30, "purge_method": "shred-twice"},
    "no method": {"max_retention_days": 30},
    "no proof": {"max_retention_days": 30, "purge_method": "physical-delete", "require_purge_proof": False},
    "an unknown field": {"max_retention_days": 30, "purge_method": "physical-delete", "auto": 1},
    "prose beyond its length": {"max_retention_days": 30, "purge_method": "physical-delete", "description": "x" * 1025},
}


@pytest.mark.parametrize("body", REFUSED_POLICIES.values(), ids=REFUSED_POLICIES.keys())
def test_a_faulty_retention_policy_is_refused_with_a_row(vault: VaultServer, body: Any) -> None:
    answer = vault.call(ADMIN, "PUT", "/admin/retention-policies/faulty", json_body=body)
    assert_refused(vault, answer, 422, "validation-failed", "validation")


REFUSED_RULES: dict[str, Any] = {
    "an operation there is not": {"rules": {"read": {}}},
    "a rule that is a list": {"rules": {"retrieve": []}},
    "an unknown member of a rule": {"rules": {"retrieve": {"apps": []}}},
    "an app outside the grammar": {"rules": {"retrieve": {"allowed_apps": ["a b"]}}},
    "an app with a line break": {"rules": {"retrieve": {"allowed_apps": ["billing\n"]}}},
    "a word with an at sign": {"rules": {"retrieve": {"allowed_apps": ["@everyone"]}}},
    "apps that are a text": {"rules": {"retrieve": {"allowed_apps": "billing"}}},
    "0 retrievals": {"rules": {"retrieve": {"max_retrievals": 0}}},
    "retrievals as boolean": {"rules": {"retrieve": {"max_retrievals": True}}},
    "any purpose for storing": {"rules": {"store": {"any_purpose": True}}},
    "any purpose for purging": {"rules": {"purge": {"any_purpose": True}}},
    "retrievals of storing": {"rules": {"store": {"max_retrievals": 1}}},
    "identity as number": {"rules": {"retrieve": {"require_identity": 1}}},
    "an evaluator there is not": {"evaluator": "astrology"},
    "parameters for the rules": {"rules": {}, "parameters": {"a": 1}},
    "an unknown member": {"rules": {}, "allow_all": True},
}


@pytest.mark.parametrize("body", REFUSED_RULES.values(), ids=REFUSED_RULES.keys())
def test_a_faulty_access_policy_is_refused(vault: VaultServer, body: Any) -> None:
    answer = vault.call(ADMIN, "PUT", "/admin/access-policies/faulty", json_body=body)
    assert answer.status == 422, answer
    assert vault.row(answer)["outcome"] == "denied"


def test_a_faulty_access_policy_is_not_in_force(vault: VaultServer) -> None:
    vault.call(ADMIN, "PUT", "/admin/access-policies/faulty", json_body={"rules": {"read": {}}})
    assert_problem(vault.call(ADMIN, "GET", "/admin/access-policies/faulty"), 404, "policy-not-found")


WITH_ERRORS: dict[str, Any] = {
    "validation-failed": {"encrypted_value": 1},
    "invalid-text": {"encrypted_value": "v", "metadata": {"a": "\u0000"}},
    "invalid-base64": {"encrypted_value": "!", "encoding": "base64"},
    "metadata-too-large": {"encrypted_value": "v", "metadata": {"a": "x" * 2000}},
    "invalid-time": {"encrypted_value": "v", "expires_at": "tomorrow"},
    "expires-in-past": {"encrypted_value": "v", "expires_at": "2020-01-01T00:00:00Z"},
    "retention-exceeded": {"encrypted_value": "v", "expires_at": "2999-01-01T00:00:00Z"},
}


@pytest.mark.parametrize(("slug", "body"), WITH_ERRORS.items())
def test_a_422_names_the_fields_at_fault(vault: VaultServer, slug: str, body: Any) -> None:
    answer = put(vault, "errors-1", json.dumps(body).encode())
    assert answer.slug == slug
    assert answer.json.get("errors")


def test_the_purpose_is_checked_before_the_body(vault: VaultServer) -> None:
    answer = vault.call("other", "PUT", "/vault/card/order-1", body=b"not json", headers={"Content-Type": "text/x"})
    assert_refused(vault, answer, 403, "access-denied", "purpose-not-held")


@pytest.mark.parametrize("target", ["/admin/retention-policies/card", "/admin/access-policies/mine"])
def test_the_role_is_checked_before_the_body(vault: VaultServer, target: str) -> None:
    answer = vault.call("payments", "PUT", target, body=b"not json")
    assert_refused(vault, answer, 403, "role-required", "role")


def test_nothing_that_was_refused_is_stored(vault: VaultServer) -> None:
    refused = [
        "media-1",
        "encoded-1",
        "json-1",
        "json-2",
        "json-3",
        "text-1",
        "field-1",
        "meta-1",
        "base64-1",
        "errors-1",
    ]
    for external_id in refused:
        assert_problem(vault.get("payments", f"card/{external_id}"), 404, "not-found")


REPEATED = {
    ("PUT", "/vault/card/repeat-1"): ({"encrypted_value": MARKER}, {"purpose": "card", "external_id": "repeat-1"}),
    ("PATCH", "/vault/card/repeat-1"): ({"ttl": "30d"}, {"purpose": "card", "external_id": "repeat-1"}),
    ("PUT", "/admin/retention-policies/repeats"): (
        {"max_retention_days": 30, "purge_method": "physical-delete"},
        {"purpose": "repeats"},
    ),
    ("PUT", "/admin/access-policies/repeats"): ({"rules": {"store": {}}}, {"name": "repeats"}),
    ("PUT", "/admin/legal-holds/repeats"): (
        {"case_reference": "1", "reason": "r", "selector": {"purpose": "repeats"}},
        {"name": "repeats"},
    ),
}


def test_every_put_and_patch_route_is_among_them() -> None:
    found = [Router(OPERATIONS).find(method, target.encode()).operation for method, target in REPEATED]
    changing = [each for each in OPERATIONS if each.method in ("PUT", "PATCH")]
    assert sorted((each.method, each.path) for each in found if each) == sorted((e.method, e.path) for e in changing)


@pytest.mark.parametrize(("method", "target"), REPEATED)
def test_a_body_may_repeat_what_the_path_says(vault: VaultServer, method: str, target: str) -> None:
    body, repeated = REPEATED[method, target]
    if method == "PATCH":
        vault.put("payments", target.removeprefix("/vault/"))
    who = "payments" if target.startswith("/vault") else ADMIN
    for name in repeated:
        for other in ("another", None, 7):
            answer = vault.call(who, method, target, json_body={**body, **repeated, name: other})
            assert_problem(answer, 422, "validation-failed")
            assert answer.json["errors"] == [{"field": name, "expected": f"the {name} of the path, or left out"}]
    assert vault.call(who, method, target, json_body={**body, **repeated}).status in (200, 201)


WITHOUT_BODY = ("/admin/purge/sweep", "/admin/attestations")


@pytest.mark.parametrize("path", WITHOUT_BODY)
@pytest.mark.parametrize(
    ("body", "status", "fields"),
    [
        (b'{"dry_run": true}', 422, ["dry_run"]),
        (b'{"foo": 1, "bar": 2}', 422, ["foo", "bar"]),
        (b"[]", 422, [""]),
        (b"dry_run=true", 400, []),
    ],
)
def test_a_body_that_would_be_ignored_is_refused(
    vault: VaultServer, path: str, body: bytes, status: int, fields: list[str]
) -> None:
    def done() -> int:
        return len(vault.call(ADMIN, "GET", "/admin/attestations?limit=1000").json["attestations"]) + len(
            vault.rows("operation=sweep&outcome=granted&limit=1000")
        )

    before = done()
    answer = vault.call(ADMIN, "POST", path, body=body)
    slug, reason = ("validation-failed", "validation") if status == 422 else ("invalid-json", "invalid_json")
    assert_refused(vault, answer, status, slug, reason)
    assert [each["field"] for each in answer.json.get("errors", [])] == fields
    assert ("?dry_run=true" in answer.json.get("detail", "")) == (status == 422)
    assert done() == before


@pytest.mark.parametrize("path", WITHOUT_BODY)
@pytest.mark.parametrize("body", [b"", b"{}"])
def test_a_body_without_members_changes_nothing(vault: VaultServer, path: str, body: bytes) -> None:
    assert vault.call(ADMIN, "POST", path, body=body).status in {200, 201}
