from __future__ import annotations

import asyncio
import inspect
import json
import logging
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from vsqlvault_access_cedar import CedarEvaluator
from vsqlvault_access_cedar.compiled import MAX_CACHED_DOCUMENTS, compile_parameters

from vsqlvault.errors import ValidationFailed
from vsqlvault.model.access import AccessRequest, Action, Allow, Decision, Deny
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.model.principal import Principal, Role
from vsqlvault.testing import T0, a_principal, an_entry

ALL = "permit (principal, action, resource)"
NO_PERMIT = Deny("no-permit")


def decide(
    policies: str | list[str],
    action: Action = Action.RETRIEVE,
    *,
    principal: Principal | None = None,
    entry: Entry | None = None,
    at: datetime = T0,
    **members: Any,
) -> Decision:
    document = AccessPolicy("p", 1, "cedar", {}, json.dumps({"policies": policies, **members}))
    CedarEvaluator().check(document)
    key = entry.key if entry else EntryKey("card", "pay-1")
    request = AccessRequest(principal or a_principal(), action, key, entry, at)
    return CedarEvaluator().evaluate(request, document)


def holds(condition: str, action: Action = Action.RETRIEVE, **question: Any) -> bool:
    return decide(f"{ALL} when {{ {condition} }};", action, **question) == Allow()


def test_it_answers_without_waiting() -> None:
    assert not inspect.iscoroutinefunction(CedarEvaluator().evaluate)


@pytest.mark.parametrize("action", list(Action))
def test_the_action_is_the_one_asked(action: Action) -> None:
    allowed = [each for each in Action if holds(f'action == Action::"{action.value}"', each, entry=an_entry())]
    assert allowed == [action]


def test_what_no_policy_permits_is_denied() -> None:
    assert decide('permit (principal == App::"tellers", action, resource);') == NO_PERMIT


@pytest.mark.parametrize(
    "condition",
    [
        'principal == App::"payments"',
        'principal.app == "payments"',
        'principal.identity == "jane"',
        'principal.method == "api-key"',
        'principal in Role::"admin"',
        '!(principal in Role::"auditor")',
        'principal.purposes == ["card", "ach"] && !principal.all_purposes',
        'resource == Entry::"card/pay-1"',
        'resource in Purpose::"card"',
        'resource.purpose == "card" && resource.external_id == "pay-1"',
        'resource.owner_app == "shop" && resource.owner_identity == "joe"',
        'resource.key_ref == "k1" && resource.algorithm_hint == "AES-256-GCM"',
        "resource.version == 4 && resource.value_size == 6 && resource.retrievals == 2",
        'resource.created_at == datetime("2027-01-15T12:00:00.123Z")',
        "resource.updated_at == resource.created_at",
        'resource.expires_at.durationSince(resource.created_at) == duration("90d")',
        "!context.creating",
        'context.at == datetime("2027-01-15T12:00:00.123Z")',
    ],
)
def test_a_policy_sees_the_question(condition: str) -> None:
    principal = a_principal("payments", Role.ADMIN, identity="jane", purposes=frozenset({"card", "ach"}))
    entry = an_entry(owner_app="shop", owner_identity="joe", key_ref="k1", version=4, retrievals=2)
    optional = ("key_ref", "algorithm_hint", "owner_identity", "version", "value_size", "created_at", "updated_at")
    guard = " && ".join(f"resource has {name}" for name in (*optional, "expires_at"))
    assert holds(f"principal has identity && {guard} && ({condition})", principal=principal, entry=entry)


def test_what_is_not_there_is_not_there() -> None:
    entry = an_entry(key_ref=None, algorithm_hint=None)
    for name in ("key_ref", "algorithm_hint", "owner_identity"):
        assert not holds(f"resource has {name}", entry=entry)
    assert not holds("principal has identity", entry=entry)
    assert holds("principal.all_purposes && principal.purposes.isEmpty()", entry=entry)


def test_about_to_be_created_an_entry_has_an_owner_and_a_key_and_nothing_else() -> None:
    assert holds('context.creating && resource.owner_app == "payments" && resource in Purpose::"card"', Action.STORE)
    for name in ("key_ref", "version", "created_at", "expires_at", "value_size"):
        assert not holds(f"resource has {name}", Action.STORE)
    assert not holds("resource.metadata has region", Action.STORE, metadata={"region": "String"})


@pytest.mark.parametrize(
    ("kind", "value", "condition"),
    [
        ("String", "é'\"%s", r'resource.metadata.m == "é\u{27}\"%s"'),
        ("Long", -(2**53), "resource.metadata.m < 0"),
        ("Bool", True, "resource.metadata.m"),
        ("Set<String>", ["a", "b"], 'resource.metadata.m == ["b", "a"]'),
        ("Set<Long>", [3], "resource.metadata.m.contains(3)"),
    ],
)
def test_declared_metadata_comes_as_it_was_stored(kind: str, value: Any, condition: str) -> None:
    entry = an_entry(metadata=json.dumps({"m": value, "other": {"deep": [1.5, None]}}))
    assert holds(f"resource.metadata has m && {condition}", entry=entry, metadata={"m": kind})


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("String", 1),
        ("String", ["a"]),
        ("Long", "1"),
        ("Long", 1.0),
        ("Long", True),
        ("Long", 2**63),
        ("Bool", 1),
        ("Set<String>", "a"),
        ("Set<String>", ["a", 1]),
        ("Set<Long>", [True]),
        ("Bool", {"__entity": {"type": "App", "id": "payments"}}),
    ],
)
def test_metadata_of_another_type_denies_even_what_no_policy_looks_at(kind: str, value: Any) -> None:
    entry = an_entry(metadata=json.dumps({"m": value}))
    assert decide(f"{ALL};", entry=entry, metadata={"m": kind}) == Deny("metadata-mismatch")


def test_metadata_that_is_null_is_not_there() -> None:
    assert not holds("resource.metadata has m", entry=an_entry(metadata='{"m":null}'), metadata={"m": "Long"})


@pytest.mark.parametrize(
    "text", ['{"__extn":{"fn":"ip","arg":"::1"}}', '"App::\\"payments\\""', '{"__expr":"principal"}']
)
def test_metadata_cannot_pass_for_something_of_cedars_own(text: str) -> None:
    entry = an_entry(metadata=f'{{"m":{text}}}')
    assert not holds(
        'resource.metadata has m && resource.metadata.m == "payments"', entry=entry, metadata={"m": "String"}
    )


def test_a_forbid_outweighs_every_permit_and_its_id_is_the_reason() -> None:
    assert decide(f'{ALL}; @id("no") forbid (principal, action, resource);') == Deny("no")
    assert decide(f"{ALL}; forbid (principal, action, resource);") == Deny("forbidden")


def test_of_many_forbids_the_first_that_has_an_id_is_the_reason() -> None:
    forbids = [f'@id("f{number}") forbid (principal, action, resource);' for number in range(2, 12)]
    assert decide([f"{ALL};", "forbid (principal, action, resource);", *forbids]) == Deny("f2")


OVERFLOW = "9223372036854775807 + resource.retrievals > 0"


@pytest.mark.parametrize("effect", ["permit", "forbid"])
def test_a_policy_that_fails_denies_though_another_one_permits(effect: str, caplog: pytest.LogCaptureFixture) -> None:
    """Cedar alone would leave the failing one out, and allow."""
    text = f'{ALL}; @id("x") {effect} (principal, action, resource) when {{ {OVERFLOW} }};'
    assert decide(text, entry=an_entry(retrievals=1)) == Deny("policy-error")
    assert [vars(line)["policy"] for line in caplog.records if line.levelno == logging.WARNING] == ["p"]
    if effect == "permit":
        assert decide(text, entry=an_entry(retrievals=0)) == Allow()


def test_an_app_that_does_not_hold_the_purpose_is_denied_whatever_the_policies_say() -> None:
    principal = a_principal(purposes=frozenset({"ach"}))
    assert decide(f"{ALL};", principal=principal, entry=an_entry()) == Deny("purpose-not-held")


def test_a_permit_may_limit_retrievals() -> None:
    text = f'@max_retrievals("2") {ALL};'
    assert decide(text, entry=an_entry(retrievals=1)) == Allow(max_retrievals=2)
    assert decide(text, entry=an_entry(retrievals=2)) == Deny("max-retrievals-reached")
    assert decide(text, Action.INSPECT, entry=an_entry(retrievals=2)) == Allow()


def test_of_several_permits_the_most_generous_limit_holds_and_none_lifts_it() -> None:
    two, three = f'@max_retrievals("2") {ALL};', f'@max_retrievals("3") {ALL};'
    assert decide(two + three, entry=an_entry()) == Allow(max_retrievals=3)
    assert decide(three + two, entry=an_entry()) == Allow(max_retrievals=3)
    assert decide(two + f"{ALL};", entry=an_entry(retrievals=9)) == Allow()
    assert decide(two + 'permit (principal == App::"other", action, resource);', entry=an_entry()) == Allow(2)


@pytest.mark.parametrize(
    ("zone", "date", "weekday", "since_midnight"),
    [
        ("UTC", "2027-01-15", "fri", timedelta(hours=23, minutes=30, milliseconds=7)),
        ("Asia/Tokyo", "2027-01-16", "sat", timedelta(hours=8, minutes=30, milliseconds=7)),
        ("America/New_York", "2027-01-15", "fri", timedelta(hours=18, minutes=30, milliseconds=7)),
    ],
)
def test_local_time_is_that_of_the_clock_on_the_wall(
    zone: str, date: str, weekday: str, since_midnight: timedelta
) -> None:
    at = datetime(2027, 1, 15, 23, 30, 0, 7999, tzinfo=UTC)
    millis = since_midnight // timedelta(milliseconds=1)
    condition = (
        f'context.local.date == "{date}" && context.local.weekday == "{weekday}" && '
        f'context.local.time == duration("{millis}ms")'
    )
    assert holds(condition, at=at, timezone=zone)


@pytest.mark.parametrize("hour", ["08:00", "17:59:59.999"])
def test_hours_follow_summer_time(hour: str) -> None:
    open_hours = 'context.local.time >= duration("8h") && context.local.time < duration("18h")'
    for day in ("2027-01-15", "2027-07-15"):
        at = datetime.fromisoformat(f"{day}T{hour}").replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)
        assert holds(open_hours, at=at, timezone="Europe/Berlin")


@pytest.mark.parametrize(
    "app", ["a" * 256, "\U0001f510 o'brien; --", 'x"; permit (principal, action, resource); //', "\n"]
)
def test_a_name_is_a_name_whatever_stands_in_it(app: str) -> None:
    principal = a_principal(app, identity=app)
    entry = an_entry(owner_app=app, owner_identity=app)
    owned = "resource.owner_app == principal.app && principal has identity && principal.identity == principal.app"
    assert holds(owned, principal=principal, entry=entry)
    assert decide('permit (principal == App::"x", action, resource);', principal=principal) == NO_PERMIT


def test_the_ends_of_time_can_be_asked_about() -> None:
    entry = an_entry(expires_at=datetime.max.replace(tzinfo=UTC), created_at=datetime.min.replace(tzinfo=UTC))
    assert holds("resource has expires_at && resource.expires_at > context.at", entry=entry)


def test_stored_parameters_that_cannot_be_read_allow_nothing() -> None:
    request = AccessRequest(a_principal(), Action.RETRIEVE, EntryKey("card", "pay-1"), an_entry(), T0)
    for parameters in ("{}", "", "[]", '{"policies":"permit"}'):
        with pytest.raises(ValidationFailed):
            CedarEvaluator().evaluate(request, AccessPolicy("p", 1, "cedar", {}, parameters))


def test_a_document_is_compiled_once_and_the_cache_is_bounded() -> None:
    compile_parameters.cache_clear()
    for _ in range(3):
        decide(f"{ALL};")
    assert compile_parameters.cache_info().misses == 1
    for number in range(MAX_CACHED_DOCUMENTS + 9):
        decide(f'permit (principal == App::"a{number}", action, resource);')
    assert compile_parameters.cache_info().currsize == MAX_CACHED_DOCUMENTS


def test_two_policies_are_not_taken_for_each_other() -> None:
    mine, yours = (f'permit (principal == App::"{app}", action, resource);' for app in ("payments", "shop"))
    assert [decide(text) for text in (mine, yours, mine)] == [Allow(), NO_PERMIT, Allow()]


def test_there_are_no_built_in_policies() -> None:
    assert list(CedarEvaluator().built_in_policies()) == []


def test_many_at_once_are_each_answered_for_themselves() -> None:
    async def ask(app: str) -> Decision:
        return decide('permit (principal == App::"a7", action, resource);', principal=a_principal(app))

    async def all_of_them() -> list[Decision]:
        return await asyncio.gather(*(ask(f"a{number}") for number in range(20)))

    answers = asyncio.run(all_of_them())
    assert [number for number, answer in enumerate(answers) if answer == Allow()] == [7]
