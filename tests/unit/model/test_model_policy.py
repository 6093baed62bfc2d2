"""Rules and policies: who may do what."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from vsqlvault.model.access import AccessRequest, Action, Allow, Deny
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy, Rule
from vsqlvault.model.principal import SYSTEM, Principal, Role
from vsqlvault.testing import T0, a_principal, an_access_policy, an_entry
from vsqlvault_plugins.access.rules import RulesEvaluator

KEY = EntryKey("card", "pay-1")
ENTRY = an_entry(owner_app="payments")
OWNER = a_principal("payments")
OTHER = a_principal("shop")
ADMIN = a_principal("vault-admin", Role.ADMIN)
AUDITOR = a_principal("auditors", Role.AUDITOR)
BUILT_IN = {policy.name: policy for policy in RulesEvaluator().built_in_policies()}


def asking(principal: Principal, action: Action = Action.RETRIEVE, entry: Entry | None = ENTRY) -> AccessRequest:
    return AccessRequest(principal, action, KEY, entry, T0)


def rules(action: Action, **rule: Any) -> AccessPolicy:
    return an_access_policy(rules={action: Rule(**rule)})


class TestRule:
    @pytest.mark.parametrize("principal", [OWNER, OTHER, ADMIN])
    def test_no_list_of_apps_is_any_app_that_holds_the_purpose(self, principal) -> None:
        assert Rule().decide(asking(principal)) == Allow()

    def test_an_empty_list_of_apps_is_nobody(self) -> None:
        assert Rule(frozenset()).decide(asking(OWNER)) == Deny("app-not-allowed")

    @pytest.mark.parametrize("action", Action)
    def test_an_app_is_allowed_by_its_name(self, action) -> None:
        rule = Rule(frozenset({"shop"}))
        assert rule.decide(asking(OTHER, action)) == Allow()
        assert rule.decide(asking(OWNER, action)) == Deny("app-not-allowed")

    @pytest.mark.parametrize("app", ["Shop", "shop ", "sho", "shops", "@owner", "*"])
    def test_an_app_is_allowed_by_its_exact_name_only(self, app) -> None:
        assert Rule(frozenset({app})).decide(asking(OTHER)) == Deny("app-not-allowed")

    def test_the_owner_is_who_stored_the_entry(self) -> None:
        rule = Rule(frozenset({"@owner"}))
        assert rule.decide(asking(OWNER)) == Allow()
        assert rule.decide(asking(OTHER)) == Deny("app-not-allowed")
        assert rule.decide(asking(ADMIN)) == Deny("app-not-allowed")

    def test_the_admin_is_who_has_the_role(self) -> None:
        rule = Rule(frozenset({"@admin"}))
        assert rule.decide(asking(ADMIN)) == Allow()
        assert rule.decide(asking(AUDITOR)) == Deny("app-not-allowed")
        assert rule.decide(asking(OWNER)) == Deny("app-not-allowed")

    def test_the_creator_of_an_entry_becomes_its_owner(self) -> None:
        rule = Rule(frozenset({"@owner"}))
        assert rule.decide(asking(OTHER, Action.STORE, None)) == Allow()

    def test_an_open_store_rule_lets_anybody_create_and_the_owner_replace(self) -> None:
        assert Rule().decide(asking(OTHER, Action.STORE, None)) == Allow()
        assert Rule().decide(asking(OWNER, Action.STORE)) == Allow()
        assert Rule().decide(asking(OTHER, Action.STORE)) == Deny("app-not-allowed")
        assert Rule().decide(asking(ADMIN, Action.STORE)) == Deny("app-not-allowed")

    @pytest.mark.parametrize("action", Action)
    def test_a_purpose_that_is_not_held_denies_first(self, action) -> None:
        stranger = a_principal("payments", purposes=frozenset({"ach"}))
        assert Rule(require_identity=True).decide(asking(stranger, action)) == Deny("purpose-not-held")

    def test_any_purpose_lifts_that_and_nothing_else(self) -> None:
        stranger = a_principal("shop", purposes=frozenset())
        assert Rule(any_purpose=True).decide(asking(stranger)) == Allow()
        assert Rule(frozenset({"@owner"}), any_purpose=True).decide(asking(stranger)) == Deny("app-not-allowed")

    def test_an_identity_may_be_required(self) -> None:
        rule = Rule(require_identity=True)
        assert rule.decide(asking(OWNER)) == Deny("identity-required")
        assert rule.decide(asking(a_principal("payments", identity="jane"))) == Allow()

    @pytest.mark.parametrize(
        ("used", "answer"),
        [(0, Allow(3)), (2, Allow(3)), (3, Deny("max-retrievals-reached")), (4, Deny("max-retrievals-reached"))],
    )
    def test_retrievals_are_limited(self, used, answer) -> None:
        assert Rule(max_retrievals=3).decide(asking(OWNER, entry=an_entry(retrievals=used))) == answer

    @pytest.mark.parametrize("action", [Action.STORE, Action.INSPECT, Action.PURGE])
    def test_the_limit_binds_retrieving_only(self, action) -> None:
        used_up = an_entry(retrievals=99)
        assert Rule(max_retrievals=1).decide(asking(OWNER, action, used_up)) == Allow(None)


class TestPolicy:
    @pytest.mark.parametrize("action", Action)
    @pytest.mark.parametrize("principal", [OWNER, OTHER])
    def test_without_a_rule_nothing_is_allowed(self, principal, action) -> None:
        assert an_access_policy(rules={}).decide_by_rules(asking(principal, action)) == Deny("no-rule")

    @pytest.mark.parametrize("action", [Action.STORE, Action.RETRIEVE, Action.PURGE])
    def test_an_admin_is_allowed_nothing_by_being_admin(self, action) -> None:
        assert an_access_policy(rules={}).decide_by_rules(asking(ADMIN, action)) == Deny("no-rule")

    @pytest.mark.parametrize("principal", [ADMIN, AUDITOR])
    def test_admins_and_auditors_always_inspect(self, principal) -> None:
        assert (
            rules(Action.INSPECT, allowed_apps=frozenset()).decide_by_rules(asking(principal, Action.INSPECT))
            == Allow()
        )

    @pytest.mark.parametrize("principal", [ADMIN, AUDITOR])
    def test_they_inspect_without_the_purpose_and_without_counting(self, principal) -> None:
        without = a_principal("x", *principal.roles, purposes=frozenset())
        used_up = an_entry(retrievals=99)
        policy = rules(Action.RETRIEVE, max_retrievals=1)
        assert policy.decide_by_rules(asking(without, Action.INSPECT, used_up)) == Allow(None)

    def test_inspecting_without_a_rule_follows_retrieving(self) -> None:
        policy = rules(Action.RETRIEVE, allowed_apps=frozenset({"shop"}))
        assert policy.decide_by_rules(asking(OTHER, Action.INSPECT)) == Allow()
        assert policy.decide_by_rules(asking(OWNER, Action.INSPECT)) == Deny("app-not-allowed")

    def test_inspecting_by_a_rule_of_its_own_does_not_follow_retrieving(self) -> None:
        policy = an_access_policy(
            rules={Action.RETRIEVE: Rule(), Action.INSPECT: Rule(allowed_apps=frozenset({"shop"}))}
        )
        assert policy.decide_by_rules(asking(OWNER, Action.INSPECT)) == Deny("app-not-allowed")

    def test_inspecting_what_cannot_be_retrieved_any_more_is_allowed(self) -> None:
        used_up = an_entry(retrievals=5)
        assert (
            rules(Action.RETRIEVE, max_retrievals=5).decide_by_rules(asking(OWNER, Action.INSPECT, used_up)) == Allow()
        )


class TestBuiltIn:
    """The table of the four built-in policies, every cell of it."""

    WHO = {
        "owner": OWNER,
        "other": OTHER,
        "without the purpose": a_principal("shop", purposes=frozenset({"ach"})),
        "owner who lost the purpose": a_principal("payments", purposes=frozenset()),
        "admin": ADMIN,
        "auditor": AUDITOR,
    }
    HOLDERS = frozenset({"owner", "other", "admin", "auditor"})
    TABLE = {
        ("owner-only", "create"): HOLDERS,
        ("owner-only", "replace"): {"owner"},
        ("owner-only", "retrieve"): {"owner"},
        ("owner-only", "purge"): {"owner", "admin"},
        ("same-purpose", "create"): HOLDERS,
        ("same-purpose", "replace"): {"owner"},
        ("same-purpose", "retrieve"): HOLDERS,
        ("same-purpose", "purge"): {"owner", "admin"},
        ("open-retrieve", "create"): HOLDERS,
        ("open-retrieve", "replace"): {"owner"},
        ("open-retrieve", "retrieve"): frozenset(WHO),
        ("open-retrieve", "purge"): {"owner", "admin"},
        ("admin-only", "create"): {"admin"},
        ("admin-only", "replace"): {"admin"},
        ("admin-only", "retrieve"): {"admin"},
        ("admin-only", "purge"): {"admin"},
    }

    @pytest.mark.parametrize(
        ("cell", "who"),
        list(itertools.product(TABLE, WHO)),
        ids=lambda part: " ".join(part) if isinstance(part, tuple) else part,
    )
    def test_the_table_is_kept(self, cell, who) -> None:
        name, operation = cell
        action = {"create": Action.STORE, "replace": Action.STORE, "retrieve": Action.RETRIEVE, "purge": Action.PURGE}
        request = asking(self.WHO[who], action[operation], None if operation == "create" else ENTRY)
        allowed = isinstance(BUILT_IN[name].decide_by_rules(request), Allow)
        assert allowed is (who in self.TABLE[cell])

    def test_there_are_four(self) -> None:
        assert list(BUILT_IN) == ["owner-only", "same-purpose", "open-retrieve", "admin-only"]
        assert all(policy.built_in and policy.created_by is None for policy in BUILT_IN.values())


class TestPrincipal:
    def test_no_list_of_purposes_is_every_purpose(self) -> None:
        assert a_principal().has_purpose("anything")

    def test_an_empty_list_of_purposes_is_none(self) -> None:
        assert not a_principal(purposes=frozenset()).has_purpose("card")

    @pytest.mark.parametrize(
        ("roles", "admin", "inspects"),
        [((), False, False), ((Role.AUDITOR,), False, True), ((Role.ADMIN,), True, True)],
    )
    def test_roles(self, roles, admin, inspects) -> None:
        principal = a_principal("x", *roles)
        assert (principal.is_admin, principal.may_inspect_all) == (admin, inspects)

    def test_the_vault_itself_is_an_admin(self) -> None:
        assert SYSTEM.is_admin


class TestRetention:
    def test_its_reference_names_purpose_and_version(self) -> None:
        assert RetentionPolicy("card", 3, 365, 90, "physical-delete").reference == "card v3"

    @pytest.mark.parametrize(
        ("default", "text"), [(90, "365 days max, 90 day default TTL"), (None, "365 days max, no default TTL")]
    )
    def test_its_summary_is_the_sentence_of_the_report(self, default, text) -> None:
        assert RetentionPolicy("card", 1, 365, default, "physical-delete").summary == text
