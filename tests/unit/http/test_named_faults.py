"""An error names the field, and says in plain words what was expected."""

from __future__ import annotations

from typing import Any

import pytest

from vsqlvault.cli.imports.lines import ImportedBody
from vsqlvault.config import Settings
from vsqlvault.errors import DuplicateKey, InvalidQuery, ValidationFailed
from vsqlvault.errors.wording import expected_by
from vsqlvault.http.json_body import parse_json
from vsqlvault.http.messages import Request
from vsqlvault.http.schemas.admin_bodies import AccessReviewBody, ExplainBody, LegalHoldBody
from vsqlvault.http.schemas.bodies import AccessPolicyBody, ApiKeyBody, Body, RetentionPolicyBody, StoreBody, read_body

RETENTION = {"max_retention_days": 9, "purge_method": "physical-delete"}
VALUE = {"encrypted_value": "v"}
TTL = "a number and w, d, h, m or s, such as 90d"
FAULTS: dict[str, tuple[type[Body], dict[str, Any], str, str]] = {
    "default_ttl over the maximum": (
        RetentionPolicyBody,
        {**RETENTION, "default_ttl_days": 10},
        "default_ttl_days",
        "default_ttl_days within max_retention_days",
    ),
    "inactivity with a default": (
        RetentionPolicyBody,
        {**RETENTION, "default_ttl_days": 5, "inactivity_days": 5},
        "inactivity_days",
        "default_ttl_days or inactivity_days, not both",
    ),
    "ttl with expires_at": (
        StoreBody,
        {**VALUE, "ttl": "90d", "expires_at": "2027-01-01T00:00:00Z"},
        "ttl",
        "expires_at or ttl, not both",
    ),
    "ttl in words": (StoreBody, {**VALUE, "ttl": "90 days"}, "ttl", TTL),
    "any_purpose of store": (
        AccessPolicyBody,
        {"rules": {"store": {"any_purpose": True}}},
        "rules.store.any_purpose",
        "any_purpose in the rules for retrieve and inspect only",
    ),
    "max_retrievals of purge": (
        AccessPolicyBody,
        {"rules": {"purge": {"max_retrievals": 1}}},
        "rules.purge.max_retrievals",
        "max_retrievals in the rule for retrieve only",
    ),
    "a selector by no metadata": (
        LegalHoldBody,
        {"case_reference": "1", "reason": "r", "selector": {"metadata": {}}},
        "selector.metadata",
        "at least 1 item",
    ),
    "a hold on an app with a sign": (
        LegalHoldBody,
        {"case_reference": "1", "reason": "r", "selector": {"owner_app": "@admin"}},
        "selector.owner_app",
        "an app, whose name does not begin with @",
    ),
}


@pytest.mark.parametrize(("model", "body", "field", "expected"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_names_its_field_in_plain_words(
    model: type[Body], body: dict[str, Any], field: str, expected: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_body(model, body)
    assert (field, expected) in [(each.field, each.expected) for each in refused.value.errors]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"a":1,"b":2,"b":3}', "b"),
        (b'{"a":{"c":1,"c":2}}', "c"),
        (b'{"' + b"k" * 200 + b'":1,"' + b"k" * 200 + b'":2}', "k" * 128),
        ('{"é":1,"é":2}'.encode(), "(unprintable)"),
    ],
)
def test_a_key_that_occurs_twice_is_named(body: bytes, field: str) -> None:
    with pytest.raises(DuplicateKey) as refused:
        parse_json(body)
    assert [each.field for each in refused.value.errors] == [field]


def test_a_query_parameter_that_occurs_twice_is_named() -> None:
    async def no_body(_limit: int) -> bytes:
        return b""

    request = Request("GET", b"/vault/card", b"limit=1&limit=2", [], None, True, "0" * 32, no_body)
    with pytest.raises(InvalidQuery) as refused:
        request.query()
    assert [each.field for each in refused.value.errors] == ["limit"]


def patterns(schema: Any) -> set[str]:
    if isinstance(schema, list):
        return set().union(*map(patterns, schema))
    if not isinstance(schema, dict):
        return set()
    own = {schema["pattern"]} if isinstance(schema.get("pattern"), str) else set()
    return own.union(*map(patterns, schema.values()))


BODIES = [StoreBody, RetentionPolicyBody, AccessPolicyBody, ApiKeyBody, LegalHoldBody, AccessReviewBody, ExplainBody]


@pytest.mark.parametrize("model", [*BODIES, ImportedBody, Settings], ids=lambda model: model.__name__)
def test_no_error_shows_a_regular_expression(model: type[Any]) -> None:
    found = patterns(model.model_json_schema())
    said = {
        expected_by({"type": "string_pattern_mismatch", "ctx": {"pattern": each}, "msg": "match pattern"})
        for each in found
    }
    assert "match pattern" not in said


def test_a_text_that_is_too_short_is_said_in_words() -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_body(StoreBody, {**VALUE, "key_ref": ""})
    assert [each.expected for each in refused.value.errors] == ["at least 1 character"]
