"""Which names in settings, credentials, policies and holds nothing defines, and what was probably meant."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from vsqlvault.cli.undefined_names import undefined_names as names_in
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.access import Action
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.hold import HoldSelector
from vsqlvault.model.policy import AccessPolicy, Rule
from vsqlvault.testing import T0, a_legal_hold, a_retention_policy

SHARED = AccessPolicy("shared", 1, "rules", {Action.RETRIEVE: Rule(allowed_apps=frozenset({"biling", "@owner"}))})
RULES = PolicySnapshot(1, {"shared": SHARED}, {"card": a_retention_policy("card")})


def undefined_names(*arguments: Any, **options: Any) -> list[str]:
    return names_in(*arguments, **{"evaluators": ["rules"], "purge_methods": ["physical-delete"]} | options)


def credential(app: str, *purposes: str) -> KnownCredential:
    return KnownCredential(
        method="api-key", credential_id="a", app=app, source="settings", purposes=frozenset(purposes), roles=frozenset()
    )


def test_purposes_without_a_policy_and_apps_without_a_credential_are_named() -> None:
    found = undefined_names(RULES, [credential("billing", "card", "crad")], has_unlisted_apps=False)
    assert found == [
        "access policy shared: app biling has no credential (did you mean billing?)",
        "billing: purpose crad has no retention policy (did you mean card?)",
    ]


def test_apps_are_not_examined_where_tokens_name_apps() -> None:
    assert undefined_names(RULES, [credential("billing", "card")], has_unlisted_apps=True) == []


def test_all_purposes_are_none_that_is_undefined() -> None:
    everything = KnownCredential(
        method="api-key", credential_id="a", app="biling", source="settings", purposes=None, roles=frozenset()
    )
    assert undefined_names(RULES, [everything], has_unlisted_apps=False) == []


def test_names_of_plugins_in_stored_policies_are_examined() -> None:
    found = undefined_names(
        RULES, [], has_unlisted_apps=True, evaluators=["rule"], purge_methods=["crypto-shred", "physical-deletion"]
    )
    assert found == [
        "access policy shared: no plugin offers the evaluator rules (did you mean rule?)",
        "retention policy card: no plugin offers the purge method physical-delete (did you mean physical-deletion?)",
    ]


def test_allowed_access_policies_that_are_not_defined_are_named() -> None:
    limited = replace(RULES.retention["card"], allowed_access_policies=("share", "shared"))
    rules = PolicySnapshot(1, RULES.access, {"card": limited})
    assert undefined_names(rules, [], has_unlisted_apps=True) == [
        "retention policy card: access policy share is not defined (did you mean shared?)"
    ]


def test_the_selector_of_a_hold_in_force_is_examined() -> None:
    hold = a_legal_hold(selector=HoldSelector(purpose="crad", owner_app="biling"))
    rules = PolicySnapshot(1, {}, RULES.retention, holds={hold.name: hold})
    assert undefined_names(rules, [credential("billing", "card")], has_unlisted_apps=False) == [
        "legal hold case-17: app biling has no credential (did you mean billing?)",
        "legal hold case-17: purpose crad has no retention policy (did you mean card?)",
    ]
    released = PolicySnapshot(1, {}, RULES.retention, holds={hold.name: replace(hold, released_at=T0)})
    assert undefined_names(released, [credential("billing", "card")], has_unlisted_apps=False) == []
