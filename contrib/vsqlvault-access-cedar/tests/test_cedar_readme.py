"""What the README shows is what happens."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import vsqlvault_access_cedar
from vsqlvault_access_cedar import CedarEvaluator, policy_text

from vsqlvault.model.access import AccessRequest, Action, Allow, Deny
from vsqlvault.model.policy import AccessPolicy
from vsqlvault.testing import a_principal, an_entry

ACTIONS = {"GET": Action.RETRIEVE, "HEAD": Action.INSPECT, "DELETE": Action.PURGE}
DAYS = {"Friday": "2027-01-15", "Sunday": "2027-01-17", "any time": "2027-01-14T12:00"}


def instant(when: str) -> datetime:
    day, _, time = when.partition(", ")
    text = f"{DAYS[day]}T{time}" if time else DAYS[day]
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Berlin")).astimezone(UTC)


def asked(who: str, asks: str, when: str, retrievals: int) -> AccessRequest:
    app = re.match(r"`(\w+)`", who)
    principal = a_principal(
        app[1] if app else "stranger",
        identity="settlement-job" if "with an identity" in who else None,
        purposes=frozenset({"ach"}) if "without the purpose" in who else None,
    )
    key_ref = "akv:payez-kv:card-key-v6" if "card-key-v6" in asks else "akv:payez-kv:card-key-v7"
    entry = an_entry(metadata='{"merchant_id":42,"region":"eu"}', key_ref=key_ref, retrievals=retrievals)
    return AccessRequest(principal, ACTIONS[asks.split(maxsplit=1)[0]], entry.key, entry, instant(when))


def test_the_text_and_the_document_say_the_same(readme_cedar: str, readme_document: dict[str, Any]) -> None:
    assert readme_cedar.splitlines() == readme_document["parameters"]["policies"]


def test_each_row_of_the_table_is_how_it_answers(
    readme_document: dict[str, Any], readme_answers: list[list[str]]
) -> None:
    policy = AccessPolicy("payment-team", 1, "cedar", {}, json.dumps(readme_document["parameters"]))
    evaluator = CedarEvaluator()
    evaluator.check(policy)
    assert len(readme_answers) == 8
    for who, asks, when, answer, reason in readme_answers:
        fresh = evaluator.evaluate(asked(who, asks, when, 0), policy)
        word = re.match(r"`([\w-]+)`", reason)
        if answer.startswith("403"):
            assert word
            assert fresh == Deny(word[1]), (who, asks, when)
        elif word:
            assert fresh == Allow(max_retrievals=10)
            assert evaluator.evaluate(asked(who, asks, when, 10), policy) == Deny(word[1])
        else:
            assert fresh == Allow(), (who, asks, when)


def test_entries_of_another_region_are_not_the_providers(readme_document: dict[str, Any]) -> None:
    policy = AccessPolicy("payment-team", 1, "cedar", {}, json.dumps(readme_document["parameters"]))
    for metadata in ("{}", '{"region":"us"}', '{"region":null}'):
        entry = an_entry(metadata=metadata)
        psp = a_principal("psp", identity="settlement-job")
        request = AccessRequest(psp, Action.RETRIEVE, entry.key, entry, instant("Friday, 12:00"))
        assert CedarEvaluator().evaluate(request, policy) == Deny("no-permit")


@pytest.mark.parametrize("limit", ["MAX_TEXT", "MAX_NESTING", "MAX_CONDITIONALS"])
def test_the_limits_are_those_of_the_code(limit: str) -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text("utf-8")
    assert re.search(rf"\b{getattr(policy_text, limit)}\b", readme)


def test_the_schema_is_where_the_readme_says() -> None:
    assert (Path(vsqlvault_access_cedar.__file__).parent / "vault.cedarschema").is_file()
