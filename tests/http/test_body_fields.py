"""Fields of a body: faults, unknown names with the nearest one, and warnings of undefined names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.http.body_requests import put
from tests.support.checks import assert_refused
from tests.support.fixtures import MARKER
from tests.support.server import ADMIN, VaultServer

FAULTY: dict[str, tuple[Any, str]] = {
    "no value": ({}, "encrypted_value"),
    "an empty value": ({"encrypted_value": ""}, "encrypted_value"),
    "null for the value": ({"encrypted_value": None}, "encrypted_value"),
    "a number for the value": ({"encrypted_value": 1}, "encrypted_value"),
    "a list for the value": ({"encrypted_value": ["v"]}, "encrypted_value"),
    "an unknown field": ({"encrypted_value": "v", "colour": 1}, "colour"),
    "the owner as field": ({"encrypted_value": "v", "owner_app": "vault-admin"}, "owner_app"),
    "a field in other case": ({"encrypted_value": "v", "Key_Ref": "k"}, "Key_Ref"),
    "an encoding there is not": ({"encrypted_value": "v", "encoding": "utf-16"}, "encoding"),
    "null for the encoding": ({"encrypted_value": "v", "encoding": None}, "encoding"),
    "a number for key_ref": ({"encrypted_value": "v", "key_ref": 7}, "key_ref"),
    "an empty key_ref": ({"encrypted_value": "v", "key_ref": ""}, "key_ref"),
    "a key_ref of 257": ({"encrypted_value": "v", "key_ref": "k" * 257}, "key_ref"),
    "a hint of 65": ({"encrypted_value": "v", "algorithm_hint": "h" * 65}, "algorithm_hint"),
    "a boolean for the hint": ({"encrypted_value": "v", "algorithm_hint": True}, "algorithm_hint"),
    "a list for metadata": ({"encrypted_value": "v", "metadata": []}, "metadata"),
    "a text for metadata": ({"encrypted_value": "v", "metadata": "{}"}, "metadata"),
    "null for metadata": ({"encrypted_value": "v", "metadata": None}, "metadata"),
    "a number for expires_at": ({"encrypted_value": "v", "expires_at": 1}, "expires_at"),
    "a policy name in upper case": ({"encrypted_value": "v", "access_policy": "Owner-Only"}, "access_policy"),
    "an empty policy name": ({"encrypted_value": "v", "access_policy": ""}, "access_policy"),
    "a policy name of 129": ({"encrypted_value": "v", "access_policy": "p" * 129}, "access_policy"),
    "a policy name with a line break": ({"encrypted_value": "v", "access_policy": "owner-only\n"}, "access_policy"),
}


@pytest.mark.parametrize(("body", "field"), FAULTY.values(), ids=FAULTY.keys())
def test_a_faulty_field_is_named_but_not_its_value(vault: VaultServer, body: Any, field: str) -> None:
    answer = put(vault, "field-1", json.dumps(body).encode())
    assert answer.status == 422
    assert field in [fault["field"] for fault in answer.json["errors"]]


@pytest.mark.parametrize("body", [body for body, _ in FAULTY.values() if "\n" not in str(body.get("access_policy"))])
def test_a_faulty_field_is_refused_with_a_row(vault: VaultServer, body: Any) -> None:
    answer = put(vault, "field-1", json.dumps(body).encode())
    assert_refused(vault, answer, 422, "validation-failed", "validation")


@pytest.mark.parametrize(
    ("field", "right"),
    [("Key_Ref", "key_ref"), ("encypted_value", "encrypted_value"), ("expires", "expires_at"), ("meta", "metadata")],
)
def test_an_unknown_field_names_the_nearest_right_one(vault: VaultServer, field: str, right: str) -> None:
    answer = put(vault, "field-4", json.dumps({"encrypted_value": "v", field: "x"}).encode())
    assert answer.json["errors"] == [{"field": field, "expected": f"unknown field (did you mean {right}?)"}]


def test_an_unknown_field_inside_another_names_the_nearest_of_that_one(vault: VaultServer) -> None:
    body = {"rules": {"retrieve": {"allow_apps": None}}}
    answer = vault.call(ADMIN, "PUT", "/admin/access-policies/near", json_body=body)
    assert answer.json["errors"] == [
        {"field": "rules.retrieve.allow_apps", "expected": "unknown field (did you mean allowed_apps?)"}
    ]


def test_an_unknown_member_of_a_query_names_the_nearest(vault: VaultServer) -> None:
    answer = vault.call("payments", "GET", "/vault/card?keyref=x")
    assert answer.json["errors"] == [{"field": "keyref", "expected": "unknown field (did you mean key_ref?)"}]


@pytest.mark.parametrize(
    ("target", "body", "near"),
    [
        ("/admin/access-policies/near", {"evaluator": "rule"}, "(did you mean rules?)"),
        (
            "/admin/retention-policies/near",
            {"max_retention_days": 1, "purge_method": "crypto-shed"},
            "(did you mean crypto-shred?)",
        ),
    ],
)
def test_a_name_that_no_plugin_offers_comes_with_the_nearest(
    vault: VaultServer, target: str, body: Any, near: str
) -> None:
    answer = vault.call(ADMIN, "PUT", target, json_body=body)
    assert answer.status == 422
    assert answer.json["errors"][0]["expected"].endswith(near)


UNDEFINED: dict[str, tuple[str, str, Any, str]] = {
    "the purpose of a key": (
        "POST",
        "/admin/api-keys",
        {"app": "typo", "purposes": ["card", "cart"]},
        "purpose cart is not defined (did you mean card?): nothing can be stored until it has a retention policy",
    ),
    "the app of a policy": (
        "PUT",
        "/admin/access-policies/typo",
        {"rules": {"retrieve": {"allowed_apps": ["@owner", "payments", "biling"]}}},
        "app biling is not defined (did you mean billing?): no credential names it",
    ),
    "the purpose of a hold": (
        "PUT",
        "/admin/legal-holds/typo-purpose",
        {"case_reference": "17 O 4/27", "reason": "Litigation", "selector": {"purpose": "cart"}},
        "purpose cart is not defined (did you mean card?): the hold keeps no entry",
    ),
    "the app of a hold": (
        "PUT",
        "/admin/legal-holds/typo-app",
        {"case_reference": "17 O 4/27", "reason": "Litigation", "selector": {"owner_app": "biling"}},
        "app biling is not defined (did you mean billing?): no credential names it",
    ),
    "the purpose of a new retention policy": (
        "PUT",
        "/admin/retention-policies/crad",
        {"max_retention_days": 9, "purge_method": "physical-delete"},
        "purpose crad is named by no credential (did you mean card?)",
    ),
    "an allowed access policy": (
        "PUT",
        "/admin/retention-policies/typo",
        {
            "max_retention_days": 9,
            "purge_method": "physical-delete",
            "allowed_access_policies": ["owner-only", "same-porpoise"],
        },
        "access policy same-porpoise is not defined (did you mean same-purpose?): owner-only rules apply until it is",
    ),
}


@pytest.mark.parametrize(("method", "target", "body", "warning"), UNDEFINED.values(), ids=UNDEFINED.keys())
def test_a_name_that_nothing_defines_is_warned_of(
    vault: VaultServer, method: str, target: str, body: Any, warning: str
) -> None:
    answer = vault.call(ADMIN, method, target, json_body=body)
    assert answer.status in {200, 201}
    assert answer.json["warnings"] == [warning]


def warnings_of_new_purpose(vault: VaultServer, purpose: str) -> list[str]:
    policy = {"max_retention_days": 9, "purge_method": "physical-delete"}
    answer = vault.call(ADMIN, "PUT", f"/admin/retention-policies/{purpose}?dry_run=true", json_body=policy)
    assert answer.status == 200
    return list(answer.json.get("warnings", []))


def test_a_new_purpose_like_another_is_not_warned_of_where_a_key_names_it(vault: VaultServer) -> None:
    assert warnings_of_new_purpose(vault, "carb") != []
    key = vault.call(ADMIN, "POST", "/admin/api-keys", json_body={"app": "carbon", "purposes": ["carb"]})
    assert key.status == 201
    assert warnings_of_new_purpose(vault, "carb") == []


def test_a_new_purpose_like_no_other_is_not_warned_of(vault: VaultServer) -> None:
    assert warnings_of_new_purpose(vault, "wholly-other") == []


@pytest.mark.parametrize("body", [b"[]", b'"text"', b"1", b"null", b"true"])
def test_a_body_that_is_no_object_is_refused_with_a_row(vault: VaultServer, body: bytes) -> None:
    assert_refused(vault, put(vault, "field-2", body), 422, "validation-failed", "validation")


def test_a_refused_value_is_not_repeated(vault: VaultServer) -> None:
    answer = put(vault, "field-3", json.dumps({"encrypted_value": "v", "key_ref": MARKER * 40}).encode())
    assert MARKER.encode() not in answer.body
