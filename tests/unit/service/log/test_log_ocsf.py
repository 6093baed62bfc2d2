"""Events of the OCSF format are valid by its published schema, and keep what a receiver needs to rebuild the root."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from typing import Any

import jsonschema
import pytest
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema

from vsqlvault.interfaces.log_sink import ExportedRow
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import EntryVersion
from vsqlvault.model.transparency import LogName
from vsqlvault.proof.leaf import row_hash, row_leaf
from vsqlvault.service.log import ocsf
from vsqlvault.service.log.ocsf import OcsfRow, class_of, event
from vsqlvault.testing import a_purge_record

VERSIONS = ("1.5.0", "1.8.0")
AT = datetime(2026, 3, 1, 8, 15, 30, 123456, tzinfo=UTC)
BARE: dict[str, Any] = {"at": AT, "request_id": "r-1", "outcome": Outcome.GRANTED, "status": 200}
FULL: dict[str, Any] = {
    **BARE,
    "outcome": Outcome.DENIED,
    "status": 403,
    "purpose": "card",
    "external_id": "payment-1",
    "stamp": EntryVersion("e-1", 2),
    "app": "payments",
    "identity": "jane@example.org",
    "method": "api-key",
    "credential_id": "key-1",
    "client_address": "192.0.2.7",
    "reason": "not-owner",
    "policy": "owner-only",
    "policy_version": 3,
    "count": 5,
    "detail": "a detail",
    "old_value": "no JSON",
    "new_value": '{"app":"billing","key_id":"key-2"}',
    "role": "admin",
}


@cache
def schema(version: str) -> OcsfJsonSchemaEmbedded:
    return OcsfJsonSchemaEmbedded(get_ocsf_schema(version))


@cache
def validator(version: str, class_uid: int) -> jsonschema.Draft202012Validator:
    name = schema(version).lookup_class_name_from_uid(class_uid)
    return jsonschema.Draft202012Validator(schema(version).get_class_schema(name))


def assert_valid(found: dict[str, Any]) -> None:
    for version in VERSIONS:
        validator(version, found["class_uid"]).validate(found)
        assert_constraints(version, found)


def assert_constraints(version: str, found: dict[str, Any]) -> None:
    """Check ``at_least_one``, which the JSON Schema leaves out, of the class and of the objects that the event has."""
    definition = get(version)["classes"][schema(version).lookup_class_name_from_uid(found["class_uid"])]
    waiting = [(found, definition)]
    while waiting:
        value, kind = waiting.pop()
        needed = (kind.get("constraints") or {}).get("at_least_one")
        assert not needed or set(needed) & value.keys(), (kind["name"], value)
        for name, member in value.items():
            of = kind["attributes"].get(name, {}).get("object_type")
            members = member if isinstance(member, list) else [member]
            if of in get(version)["objects"] and of != "object":
                waiting += [(each, get(version)["objects"][of]) for each in members]


@cache
def get(version: str) -> Any:
    return get_ocsf_schema(version)


def event_of(record: Any, log: LogName = LogName.ACCESS) -> dict[str, Any]:
    return event(ExportedRow(17, log, row_leaf(record)))


@pytest.mark.parametrize("operation", Operation)
def test_each_operation_becomes_a_valid_event(operation: Operation) -> None:
    for members in (BARE, FULL):
        found = event_of(AccessRecord(operation=operation, **members))
        assert_valid(found)
        activities = get("1.5.0")["classes"][schema("1.5.0").lookup_class_name_from_uid(found["class_uid"])]
        assert str(found["activity_id"]) in activities["attributes"]["activity_id"]["enum"]


def test_a_purge_is_a_deletion_in_the_datastore() -> None:
    found = event_of(a_purge_record(), LogName.PURGE)
    assert_valid(found)
    assert (found["class_uid"], found["activity_id"], found["type_uid"]) == (6005, 7, 600507)
    assert found["metadata"]["log_name"] == "purge"


def test_a_row_of_a_newer_version_becomes_a_valid_event() -> None:
    leaf = b'{"access":{"at":"2026-03-01T08:15:30.123456Z","operation":"of-tomorrow","outcome":"granted","status":200}}'
    found = event(ExportedRow(0, LogName.ACCESS, leaf))
    assert_valid(found)
    assert (found["class_uid"], found["activity_id"]) == (6003, 99)


def test_a_row_whose_texts_are_too_long_becomes_a_valid_event() -> None:
    long = AccessRecord(
        operation=Operation.CHANGE_ACCESS_POLICY, **{**FULL, "new_value": "x" * 70_000, "policy": "p" * 300}
    )
    found = event_of(long)
    assert_valid(found)
    assert found["entity"]["name"] == "payment-1"
    assert found["actor"]["authorizations"][0]["policy"]["name"].startswith("sha256:")


def test_members_of_a_denied_retrieval() -> None:
    found = event_of(AccessRecord(operation=Operation.RETRIEVE, **FULL))
    assert found["time"] == int(AT.timestamp() * 1000)
    assert (found["severity_id"], found["status_id"], found["status_code"]) == (2, 2, "403")
    assert (found["status_detail"], found["count"]) == ("not-owner", 5)
    assert found["actor"] == {
        "app_name": "payments",
        "user": {"name": "jane@example.org", "credential_uid": "key-1"},
        "authorizations": [{"decision": "denied", "policy": {"name": "owner-only", "version": "3"}}],
    }
    assert found["src_endpoint"] == {"ip": "192.0.2.7"}
    assert found["databucket"]["name"] == "card"
    assert found["databucket"]["file"]["name"] == "payment-1"


def test_a_granted_row_is_a_success() -> None:
    found = event_of(AccessRecord(operation=Operation.RETRIEVE, **BARE))
    assert (found["severity_id"], found["status_id"], found["status_code"]) == (1, 1, "200")


@pytest.mark.parametrize(
    ("members", "name"),
    [
        ({"external_id": "payment-1", "policy": "owner-only", "purpose": "card"}, "payment-1"),
        ({"policy": "owner-only", "purpose": "card"}, "owner-only"),
        ({"purpose": "card"}, "card"),
        ({}, "all"),
    ],
)
def test_an_entity_has_the_most_exact_name_of_its_row(members: dict[str, str], name: str) -> None:
    found = event_of(AccessRecord(operation=Operation.CHANGE_ACCESS_POLICY, **BARE, **members))
    assert found["entity"] == {"name": name, "type": "access policy"}


def test_the_actor_of_a_row_without_an_app_is_the_vault() -> None:
    assert event_of(AccessRecord(operation=Operation.RETRIEVE, **BARE))["actor"] == {"app_name": "vsqlvault"}


def test_the_user_of_an_account_change_is_the_credential_that_is_changed() -> None:
    found = event_of(AccessRecord(operation=Operation.CREATE_API_KEY, **FULL))
    assert found["user"] == {"name": "billing", "credential_uid": "key-2"}
    assert found["actor"]["app_name"] == "payments"


def test_a_change_that_is_no_json_is_of_the_account_of_the_caller() -> None:
    for text in ("x", "[]", "[" * 60_000):
        found = event_of(AccessRecord(operation=Operation.CREATE_API_KEY, **{**FULL, "new_value": text}))
        assert found["user"] == {"name": "payments"}


def test_a_failed_control_is_severe() -> None:
    assert event_of(AccessRecord(operation=Operation.CONTROL_FAILED, **BARE))["severity_id"] == 4


@pytest.mark.parametrize(
    ("operation", "expected"),
    [
        ("retrieve", (ocsf.DATASTORE_ACTIVITY, 1)),
        ("sign-out", (ocsf.AUTHENTICATION, 2)),
        ("revoke-api-key", (ocsf.ACCOUNT_CHANGE, 6)),
        ("delete-access-policy", (ocsf.ENTITY_MANAGEMENT, 4)),
        ("server-started", (ocsf.APPLICATION_LIFECYCLE, 3)),
        ("sweep", (ocsf.APPLICATION_LIFECYCLE, 99)),
        ("read-report", (ocsf.API_ACTIVITY, 2)),
        ("attest", (ocsf.API_ACTIVITY, 1)),
    ],
)
def test_classes(operation: str, expected: tuple[int, int]) -> None:
    assert class_of(operation) == expected


def test_the_line_has_the_leaf_its_index_and_its_hash() -> None:
    record = AccessRecord(operation=Operation.RETRIEVE, **FULL)
    found = json.loads(OcsfRow(17, LogName.ACCESS, row_leaf(record)).line())
    assert found["metadata"]["sequence"] == 17
    assert found["raw_data"].encode() == row_leaf(record)
    assert found["unmapped"]["leaf_hash"] == row_hash(record).hex()
    assert sha256(b"\0" + found["raw_data"].encode()).hexdigest() == row_hash(record).hex()
