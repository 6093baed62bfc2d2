from __future__ import annotations

import asyncio
import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError
from vsqlvault_access_hours import OfficeHoursEvaluator

from vsqlvault.errors import ValidationFailed
from vsqlvault.model.access import AccessRequest, Action, Allow, Decision, Deny
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.policy import AccessPolicy, Rule
from vsqlvault.model.principal import Principal

PARAMETERS = {"timezone": "Europe/Berlin", "days": ["mon", "tue"], "opens": "08:00", "closes": "18:00"}
MONDAY_NOON = datetime(2026, 3, 2, 11, tzinfo=UTC)
MONDAY_NIGHT = datetime(2026, 3, 2, 22, tzinfo=UTC)
SUPPORT = Rule(allowed_apps=frozenset({"support"}), max_retrievals=3)


def policy(parameters: str | None = None, rules: dict[Action, Rule] | None = None) -> AccessPolicy:
    rules = dict.fromkeys(Action, SUPPORT) if rules is None else rules
    return AccessPolicy("desk", 1, "office-hours", rules, json.dumps(PARAMETERS) if parameters is None else parameters)


def decide(action: Action, at: datetime, app: str = "support", document: AccessPolicy | None = None) -> Decision:
    request = AccessRequest(Principal(app, "api-key", "key-1"), action, EntryKey("card", "p1"), None, at)
    return asyncio.run(OfficeHoursEvaluator().evaluate(request, document or policy()))


def faults(parameters: str) -> dict[str, str]:
    with pytest.raises(ValidationFailed) as refused:
        OfficeHoursEvaluator().check(policy(parameters))
    return {error.field: error.expected for error in refused.value.errors}


def test_retrieving_inside_the_hours_is_what_the_rule_says() -> None:
    assert decide(Action.RETRIEVE, MONDAY_NOON) == Allow(max_retrievals=3)


def test_retrieving_outside_the_hours_is_denied() -> None:
    assert decide(Action.RETRIEVE, MONDAY_NIGHT) == Deny("outside-office-hours")


@pytest.mark.parametrize("action", [Action.STORE, Action.INSPECT, Action.PURGE])
def test_nothing_but_retrieving_has_hours(action: Action) -> None:
    assert decide(action, MONDAY_NIGHT) == Allow()


def test_inspecting_by_the_rule_for_retrieving_has_no_hours() -> None:
    assert decide(Action.INSPECT, MONDAY_NIGHT, document=policy(rules={Action.RETRIEVE: Rule()})) == Allow()


@pytest.mark.parametrize("at", [MONDAY_NOON, MONDAY_NIGHT])
def test_whom_the_rules_deny_learns_nothing_of_the_hours(at: datetime) -> None:
    assert decide(Action.RETRIEVE, at, app="stranger") == Deny("app-not-allowed")
    assert decide(Action.RETRIEVE, at, document=policy(rules={})) == Deny("no-rule")


@pytest.mark.parametrize("action", list(Action))
def test_stored_parameters_that_cannot_be_read_allow_nothing(action: Action) -> None:
    with pytest.raises(ValidationError):
        decide(action, MONDAY_NOON, document=policy("{}"))


def test_there_are_no_built_in_policies() -> None:
    assert list(OfficeHoursEvaluator().built_in_policies()) == []


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timezone": "UTC"},
        {"timezone": "America/Argentina/Buenos_Aires"},
        {"days": ["sun"]},
        {"days": ["sun", "sat", "fri", "thu", "wed", "tue", "mon"]},
        {"opens": "22:00", "closes": "06:00"},
        {"opens": "00:00", "closes": "23:59"},
        {"opens": "08:00", "closes": "00:00"},
        {"opens": "00:00", "closes": "24:00"},
    ],
)
def test_parameters_that_are_hours_are_taken(changes: dict[str, Any]) -> None:
    OfficeHoursEvaluator().check(policy(json.dumps({**PARAMETERS, **changes})))


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"timezone": "Europe/Atlantis"}, "parameters.timezone"),
        ({"timezone": "europe/berlin"}, "parameters.timezone"),
        ({"timezone": "../../etc/passwd"}, "parameters.timezone"),
        ({"timezone": "localtime"}, "parameters.timezone"),
        ({"timezone": "Europe"}, "parameters.timezone"),
        ({"timezone": "Z" * 8000}, "parameters.timezone"),
        ({"timezone": ""}, "parameters.timezone"),
        ({"timezone": None}, "parameters.timezone"),
        ({"timezone": 1}, "parameters.timezone"),
        ({"days": []}, "parameters.days"),
        ({"days": ["mon", "mon"]}, "parameters.days"),
        ({"days": "mon"}, "parameters.days"),
        ({"days": ["mon"] * 8}, "parameters.days"),
        ({"days": ["mon", "Tue"]}, "parameters.days"),
        ({"days": ["monday"]}, "parameters.days"),
        ({"days": [0]}, "parameters.days"),
        ({"opens": "8:00"}, "parameters.opens"),
        ({"opens": "24:00"}, "parameters.opens"),
        ({"opens": "08:60"}, "parameters.opens"),
        ({"opens": "08:00:00"}, "parameters.opens"),
        ({"opens": "08:00\n"}, "parameters.opens"),
        ({"opens": "\u0660\u0668:\u0660\u0660"}, "parameters.opens"),
        ({"opens": 8}, "parameters.opens"),
        ({"opens": ["08:00"]}, "parameters.opens"),
        ({"closes": "18.00"}, "parameters.closes"),
        ({"closes": "24:01"}, "parameters.closes"),
        ({"closes": "25:00"}, "parameters.closes"),
        ({"closes": "08:00"}, "parameters.closes"),
        ({"holidays": ["2026-12-25"]}, "parameters"),
    ],
)
def test_one_bad_field_is_named(changes: dict[str, Any], field: str) -> None:
    assert list(faults(json.dumps({**PARAMETERS, **changes}))) == [field]


@pytest.mark.parametrize("missing", sorted(PARAMETERS))
def test_a_missing_field_is_named(missing: str) -> None:
    present = {name: value for name, value in PARAMETERS.items() if name != missing}
    assert list(faults(json.dumps(present))) == [f"parameters.{missing}"]


def test_all_bad_fields_are_named_at_once() -> None:
    assert list(faults("{}")) == [f"parameters.{name}" for name in PARAMETERS]


@pytest.mark.parametrize("text", ["", "[]", "null", '"mon"', "{", "\ud800"])
def test_what_is_no_object_is_a_fault_of_the_whole(text: str) -> None:
    assert list(faults(text)) == ["parameters"]


def test_no_value_and_no_made_up_name_is_shown() -> None:
    planted = "4111111111111111"
    found = faults(
        json.dumps({"timezone": planted, "days": [planted], "opens": planted, "closes": planted, planted: 1})
    )
    assert set(found) == {
        "parameters",
        "parameters.timezone",
        "parameters.days",
        "parameters.opens",
        "parameters.closes",
    }
    assert not re.search(planted, json.dumps(found))
