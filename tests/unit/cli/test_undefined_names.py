"""Which names in credentials and policies nothing defines, and what was probably meant."""

from __future__ import annotations

from vsqlvault.cli.undefined_names import undefined_names
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.access import Action
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.policy import AccessPolicy, Rule
from vsqlvault.testing import a_retention_policy

SHARED = AccessPolicy("shared", 1, "rules", {Action.RETRIEVE: Rule(allowed_apps=frozenset({"biling", "@owner"}))})
RULES = PolicySnapshot(1, {"shared": SHARED}, {"card": a_retention_policy("card")})


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
