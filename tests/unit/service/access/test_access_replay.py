"""Replaying: what a candidate would have said of the past, and plainly nothing where the past does not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from vsqlvault.errors import (
    BuiltInPolicy,
    InvalidQuery,
    ReplayRunning,
    RoleRequired,
    ValidationFailed,
    VaultError,
)
from vsqlvault.model.access import Action, Allow, Deny
from vsqlvault.model.audit import Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.policy import Rule
from vsqlvault.model.principal import Role
from vsqlvault.service.access.replay import MAX_CHANGES, Replayed, Window
from vsqlvault.service.entries.requests import Preconditions
from vsqlvault.testing import T0, a_call, an_access_policy, an_access_record

DAY = timedelta(days=1)
ALL = frozenset({"@owner"})
OPEN = an_access_policy(
    "team", rules={Action.STORE: Rule(), Action.RETRIEVE: Rule(), Action.PURGE: Rule(frozenset({"@owner", "@admin"}))}
)
CLOSED = replace(OPEN, rules={**OPEN.rules, Action.RETRIEVE: Rule(frozenset({"@owner"}))})
JANE = a_call("payments", identity="jane")
NOBODY = a_call("payments")
SHOP = a_call("shop")
AUDITOR = a_call("auditor", Role.AUDITOR, purposes=frozenset())


def key(name: str = "pay-1") -> EntryKey:
    return EntryKey("card", name)


async def get(scene: Any, call: Any, name: str = "pay-1") -> None:
    with suppress(VaultError):
        await scene.vault.entries.retrieve(call, key(name))


async def replay(scene: Any, candidate: Any, *, call: Any = None, limit: int = 10_000, **window: Any) -> Replayed:
    asked = Window(window.get("since", T0 - DAY), window.get("until"), limit)
    scene.clock.advance(seconds=1)
    found: Replayed = await scene.vault.access.replay.replay(call or scene.admin, candidate, asked)
    return found


async def in_force(scene: Any, policy: Any = OPEN) -> None:
    await scene.vault.rules.policies.save_access_policy(scene.admin, policy)


async def test_a_stricter_candidate_shows_whom_it_would_have_refused(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    for call in (JANE, SHOP, SHOP):
        await get(scene, call)
    found = await replay(scene, CLOSED)
    assert (found.rows, found.complete) == (4, True)
    assert (found.unchanged, found.granted_to_denied, found.denied_to_granted) == (2, 2, 0)
    assert [(change.row.app, change.would_be) for change in found.changes] == [("shop", Deny("app-not-allowed"))] * 2
    assert not found.not_replayable


async def test_a_wider_candidate_shows_whom_it_would_have_let_in(scene) -> None:
    await in_force(scene, CLOSED)
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    found = await replay(scene, OPEN)
    assert (found.denied_to_granted, found.granted_to_denied) == (1, 0)
    assert (found.changes[0].row.reason, found.changes[0].would_be) == ("app-not-allowed", Allow())


async def test_the_policy_in_force_changes_nothing(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    for call in (JANE, NOBODY, SHOP, AUDITOR, scene.admin):
        await get(scene, call)
        with suppress(VaultError):
            await scene.vault.entries.inspect(call, key())
    await scene.store(access_policy="team", value=b"2")
    with pytest.raises(VaultError):
        await scene.store(access_policy="team", value=b"3", call=SHOP)
    found = await replay(scene, OPEN)
    assert (found.rows, found.unchanged) == (13, 13)


async def test_a_purpose_is_guessed_only_as_it_fits_what_happened(scene) -> None:
    """Who was let in by a rule that demands the purpose held it; who was refused for the lack of it did not."""
    await in_force(scene)
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    await get(scene, a_call("stranger", purposes=frozenset()))
    found = await replay(scene, replace(OPEN, rules={**OPEN.rules, Action.RETRIEVE: Rule(any_purpose=True)}))
    assert (found.unchanged, found.denied_to_granted) == (2, 1)
    assert found.changes[0].row.app == "stranger"
    assert not found.not_replayable


async def test_where_it_takes_to_know_the_role_nobody_knows(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    await get(scene, scene.admin)
    found = await replay(scene, replace(OPEN, rules={**OPEN.rules, Action.RETRIEVE: Rule(frozenset({"@admin"}))}))
    assert (found.rows, dict(found.not_replayable)) == (3, {"roles": 2})


async def test_where_it_takes_to_know_the_purpose_nobody_knows(scene) -> None:
    await in_force(scene, replace(OPEN, rules={**OPEN.rules, Action.RETRIEVE: Rule(any_purpose=True)}))
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    found = await replay(scene, OPEN)
    assert dict(found.not_replayable) == {"purposes": 1}


async def test_a_limit_can_be_replayed_only_where_it_makes_no_difference(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    for call in (JANE, SHOP):
        await get(scene, call)
    limited = replace(OPEN, rules={**OPEN.rules, Action.RETRIEVE: Rule(frozenset({"payments"}), max_retrievals=1)})
    found = await replay(scene, limited)
    assert (dict(found.not_replayable), found.granted_to_denied) == ({"retrieval-count": 1}, 1)


async def test_who_was_refused_by_a_limit_would_be_let_in_without_it(scene) -> None:
    await in_force(scene, replace(OPEN, rules={**OPEN.rules, Action.RETRIEVE: Rule(max_retrievals=1)}))
    await scene.store(access_policy="team")
    for _ in range(3):
        await get(scene, SHOP)
    found = await replay(scene, OPEN)
    assert (found.denied_to_granted, found.unchanged) == (2, 2)


async def test_the_policy_itself_refuses_again_what_its_limit_refused(scene) -> None:
    limited = replace(OPEN, rules={**OPEN.rules, Action.RETRIEVE: Rule(max_retrievals=1)})
    await in_force(scene, limited)
    await scene.store(access_policy="team")
    for _ in range(3):
        await get(scene, SHOP)
    found = await replay(scene, limited)
    assert (dict(found.not_replayable), found.unchanged, found.changed) == ({}, 4, 0)


async def test_identities_stand_on_the_rows(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team", call=NOBODY)
    for call in (JANE, NOBODY):
        await get(scene, call)
    demanding = replace(OPEN, rules={**OPEN.rules, Action.RETRIEVE: Rule(require_identity=True)})
    found = await replay(scene, demanding)
    assert [(change.row.identity, change.would_be) for change in found.changes] == [(None, Deny("identity-required"))]


async def test_what_was_refused_for_another_reason_is_refused_anyway(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team", expires_at=T0 + DAY)
    scene.clock.advance(days=1)
    await get(scene, SHOP)
    found = await replay(scene, CLOSED)
    assert (found.refused_anyway, found.granted_to_denied) == (1, 0)


async def test_of_an_entry_that_is_gone_nothing_is_said(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    await scene.purge()
    found = await replay(scene, CLOSED)
    assert dict(found.not_replayable) == {"entry-gone": 2}
    assert found.unchanged == 1  # a creation needs no entry to be decided again
    await scene.store(access_policy="team")  # another entry under the same id
    assert dict((await replay(scene, CLOSED)).not_replayable) == {"entry-gone": 2}


async def test_a_replaced_entry_is_replayed_by_rules_for_they_look_at_nothing_that_changed(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    await scene.store(access_policy="team", value=b"2")
    found = await replay(scene, CLOSED)
    assert (found.granted_to_denied, found.not_replayable.total()) == (1, 0)


async def test_a_shredded_entry_is_replayed_by_rules(scene) -> None:
    await in_force(scene)
    await scene.retain(purge_method="crypto-shred")
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    await scene.purge()
    await get(scene, SHOP)
    found = await replay(scene, CLOSED)
    assert (found.granted_to_denied, found.refused_anyway, found.not_replayable.total()) == (1, 1, 0)


async def test_each_row_is_held_against_the_version_that_decided_it(scene) -> None:
    await in_force(scene, CLOSED)
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    await in_force(scene, OPEN)
    await get(scene, SHOP)
    found = await replay(scene, CLOSED)
    assert [(change.row.policy_version, change.would_be) for change in found.changes] == [(2, Deny("app-not-allowed"))]
    found = await replay(scene, OPEN)
    assert [(change.row.policy_version, change.would_be) for change in found.changes] == [(1, Allow())]


async def test_a_name_that_was_never_defined_is_replayed_on_what_names_it(scene) -> None:
    await scene.store(access_policy="team")
    await scene.store("other")
    for name in ("pay-1", "other"):
        await get(scene, SHOP, name)
    found = await replay(scene, OPEN)
    assert (found.rows, found.denied_to_granted) == (2, 1)
    assert found.changes[0].row.external_id == "pay-1"


async def test_a_policy_that_was_dropped_is_replayed_too(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    await scene.store(access_policy="owner-only")
    await scene.vault.rules.policies.delete_access_policy(scene.admin, "team")
    assert (await replay(scene, CLOSED)).granted_to_denied == 1


async def test_storing_under_a_policy_is_decided_as_of_a_new_entry(scene) -> None:
    """An entry of ``owner-only`` that is to be of ``team``: the row names the policy that refused, and there was an entry."""
    await in_force(scene, replace(OPEN, rules={**OPEN.rules, Action.STORE: Rule(frozenset({"shop"}))}))
    await scene.store()
    with pytest.raises(VaultError):
        await scene.store(access_policy="team", value=b"2")
    assert (await scene.last_row()).policy == "team"
    found = await replay(scene, OPEN)
    assert (found.denied_to_granted, found.rows) == (1, 1)


class Fickle:
    """An evaluator that reads the entry's metadata, or fails if configured."""

    name = "fickle"
    broken = False

    def built_in_policies(self) -> tuple[()]:
        return ()

    def check(self, policy: Any) -> None:
        pass

    def evaluate(self, request: Any, policy: Any) -> Any:
        if self.broken:
            raise RuntimeError
        if request.action is Action.RETRIEVE and request.entry and "secret" in request.entry.metadata:
            return Deny("secret")
        return Allow()


@pytest.fixture
def fickle(install: Any, offering: Any) -> Fickle:
    evaluator = Fickle()
    install(fickle=offering("vault_access_policies", evaluator))
    return evaluator


async def test_an_evaluator_is_not_shown_an_entry_that_has_changed_since(fickle, open_scene) -> None:
    scene = await open_scene()
    await in_force(scene)
    await scene.store(access_policy="team")
    await get(scene, SHOP)
    await scene.store(access_policy="team", metadata='{"secret":1}')
    await get(scene, SHOP)
    found = await replay(scene, replace(OPEN, evaluator="fickle", rules={}))
    assert dict(found.not_replayable) == {"entry-changed": 1}
    assert [change.would_be for change in found.changes] == [Deny("secret")]


async def test_an_evaluator_that_fails_has_nothing_to_say(fickle, open_scene) -> None:
    scene = await open_scene()
    await in_force(scene)
    await scene.store(access_policy="team")
    fickle.broken = True
    found = await replay(scene, replace(OPEN, evaluator="fickle", rules={}))
    assert dict(found.not_replayable) == {"plugin-failure": 1}
    await in_force(scene, replace(OPEN, evaluator="fickle", rules={}))
    await get(scene, SHOP)
    found = await replay(scene, OPEN)
    assert found.not_replayable["nothing-decided"] == 1


async def test_a_row_that_no_guess_explains_is_not_replayed(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    entry = (await scene.vault.entries.inspect(JANE, key())).entry
    row = an_access_record(
        outcome=Outcome.DENIED, status=403, reason="by-whim", policy="team", policy_version=1, stamp=entry.stamp
    )
    old = replace(row, reason="app-not-allowed", policy_version=9)
    await scene.vault.queue.record(row, old)
    found = await replay(scene, CLOSED)
    assert dict(found.not_replayable) == {"not-as-recorded": 1, "policy-version-gone": 1}


class TestBounds:
    async def rows(self, scene: Any, count: int) -> None:
        await in_force(scene)
        await scene.store(access_policy="team")
        entry = (await scene.vault.entries.inspect(JANE, key())).entry
        for start in range(0, count, 100):
            rows = [
                an_access_record(app="shop", policy="team", policy_version=1, stamp=entry.stamp)
                for _ in range(start, min(start + 100, count))
            ]
            await scene.vault.queue.record(*rows)

    async def test_it_reads_a_limited_number_of_rows_and_reports_that_there_are_more(self, scene) -> None:
        await self.rows(scene, 30)
        found = await replay(scene, CLOSED, limit=10)
        assert (found.rows, found.complete, found.granted_to_denied) == (10, False, 10)
        found = await replay(scene, CLOSED, limit=32)
        assert (found.rows, found.complete) == (32, True)

    async def test_it_reads_many_pages_and_lists_a_limited_number_of_changes(self, scene) -> None:
        await self.rows(scene, 2100)
        found = await replay(scene, CLOSED)
        assert (found.rows, found.complete, found.granted_to_denied) == (2102, True, 2100)
        assert len(found.changes) == MAX_CHANGES

    async def test_rows_outside_the_window_are_left_out(self, scene) -> None:
        await in_force(scene)
        await scene.store(access_policy="team")
        for _ in range(3):
            scene.clock.advance(hours=1)
            await get(scene, SHOP)
        hour = timedelta(hours=1)
        found = await replay(scene, CLOSED, since=T0 + hour, until=T0 + hour * 3)
        assert (found.rows, found.granted_to_denied) == (2, 2)

    @pytest.mark.parametrize("window", [{"since": T0 + DAY}, {"since": T0, "until": T0}], ids=repr)
    async def test_a_window_that_is_none_is_refused(self, scene, window) -> None:
        with pytest.raises(InvalidQuery):
            await replay(scene, OPEN, **window)

    async def test_one_at_a_time(self, scene) -> None:
        await self.rows(scene, 10)
        scene.clock.advance(seconds=1)
        window = Window(T0 - DAY, None, 100)
        done = await asyncio.gather(
            *(scene.vault.access.replay.replay(scene.admin, CLOSED, window) for _ in range(2)), return_exceptions=True
        )
        assert sorted(type(each).__name__ for each in done) == ["ReplayRunning", "Replayed"]
        assert any(isinstance(each, ReplayRunning) for each in done)
        assert (await replay(scene, CLOSED)).rows == 12


async def test_nothing_is_put_in_force_and_the_replay_is_on_record(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    await replay(scene, CLOSED, call=a_call("auditor", Role.AUDITOR))
    row = await scene.last_row()
    assert (row.operation.value, row.app, row.status) == ("replay-access-policy", "auditor", 200)
    assert row.detail == "team: 1 rows, 0 would change, 0 not replayable"
    assert '"allowed_apps":["@owner"]' in (row.new_value or "")
    assert (await scene.vault.rules.policies.access_policy(scene.admin, "team")).version == 1


async def test_what_could_not_be_put_in_force_is_not_replayed(scene) -> None:
    with pytest.raises(BuiltInPolicy):
        await replay(scene, replace(OPEN, name="owner-only"))
    with pytest.raises(ValidationFailed):
        await replay(scene, replace(OPEN, evaluator="nobodys"))
    with pytest.raises(RoleRequired):
        await replay(scene, OPEN, call=SHOP)


RULES = [None, Rule(), Rule(frozenset({"@owner"})), Rule(frozenset({"@admin", "shop"})), Rule(any_purpose=True)]
RULES += [Rule(require_identity=True), Rule(max_retrievals=1), Rule(frozenset({"payments"}), max_retrievals=2)]
CALLS = [JANE, NOBODY, SHOP, a_call("stranger", purposes=frozenset()), AUDITOR, a_call("root", Role.ADMIN)]


def documents() -> Iterator[Any]:
    for retrieve in RULES:
        rules = {Action.STORE: Rule(), Action.PURGE: Rule(frozenset({"@owner"}))}
        yield replace(OPEN, rules={**rules, Action.RETRIEVE: retrieve} if retrieve else rules)


@pytest.mark.parametrize("old", range(len(RULES)))
async def test_what_it_says_is_true_for_every_pair_of_rules(scene, old) -> None:
    """Every reported change is real once the candidate is in force; the rest is unchanged or reported as unknown."""
    rules = list(documents())
    await in_force(scene, rules[old])
    was = await answers(scene, "old")
    for number, candidate in enumerate(rules):
        await in_force(scene, rules[old])
        found = await replay(scene, candidate, until=T0 + timedelta(seconds=1))
        said = {change.row.external_id.partition(".")[2] for change in found.changes}
        await in_force(scene, candidate)
        now = await answers(scene, f"new-{number}")
        true = {name for name in was if was[name] is not now[name]}
        assert said <= true
        assert len(true - said) <= found.not_replayable.total()
        assert (found.rows, found.complete) == (len(was) * 2, True)
        if number == old:
            assert not said


async def answers(scene: Any, prefix: str) -> dict[str, bool]:
    """Ask everything once, each of an entry of its own, and return what was granted."""
    asked = {
        f"{place}-{action}": (call, action) for place, call in enumerate(CALLS) for action in ("retrieve", "inspect")
    }
    await asyncio.gather(*(scene.store(f"{prefix}.{name}", access_policy="team") for name in asked))
    found = await asyncio.gather(*(ask(scene, *who, f"{prefix}.{name}") for name, who in asked.items()))
    return dict(zip(asked, found, strict=True))


async def ask(scene: Any, call: Any, action: str, name: str) -> bool:
    """Do it, and return whether it was granted."""
    try:
        await getattr(scene.vault.entries, action)(call, key(name))
    except VaultError:
        return False
    return True


async def test_a_purge_is_replayed_while_its_row_is_a_refusal(scene) -> None:
    await in_force(scene)
    await scene.store(access_policy="team")
    with pytest.raises(VaultError):
        await scene.vault.entries.purge(SHOP, key(), Preconditions())
    candidate = replace(OPEN, rules={**OPEN.rules, Action.PURGE: Rule()})
    assert (await replay(scene, candidate)).denied_to_granted == 1
