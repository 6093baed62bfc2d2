"""Decisions: whatever an evaluator does, only an Allow is an Allow."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from vsqlvault.errors import AccessDenied, FieldError, PluginFailed, ValidationFailed
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.access import AccessRequest, Action, Allow, AuthorizationResult, Deny
from vsqlvault.model.audit import Outcome
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.principal import Role
from vsqlvault.service.access.authorizer import Authorizer
from vsqlvault.service.entries.requests import ListRequest
from vsqlvault.testing import T0, a_call, a_principal, an_access_policy, an_entry
from vsqlvault_plugins.access.rules import RulesEvaluator

KEY = EntryKey("card", "pay-1")
REQUEST = AccessRequest(a_principal(), Action.RETRIEVE, KEY, an_entry(), T0)
BUILT_IN = {policy.name: policy for policy in RulesEvaluator().built_in_policies()}
CAPRICE = an_access_policy("caprice", 4, evaluator="caprice")
BOOK = PolicySnapshot(1, {**BUILT_IN, "caprice": CAPRICE}, {})


class MisbehavingPlugin:
    """An evaluator that does as a test says."""

    name = "caprice"

    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def built_in_policies(self) -> list[Any]:
        return []

    def check(self, policy: Any) -> None:
        pass

    async def evaluate(self, request: AccessRequest, policy: Any) -> Any:
        return await self.answer()


class NotEvenAsync(MisbehavingPlugin):
    """An evaluator written as a plain function."""

    def evaluate(self, request: AccessRequest, policy: Any) -> Any:
        return self.answer()


def raising(error: BaseException) -> Callable[[], Any]:
    async def answer() -> Any:
        raise error

    return answer


def returning(value: Any) -> Callable[[], Any]:
    async def answer() -> Any:
        return value

    return answer


async def saying_once_what_it_is() -> Any:
    return Liar(honest=1)


async def hanging() -> Any:
    await asyncio.sleep(3600)


async def exiting() -> Any:
    sys.exit(0)


async def allowing_after_the_deadline() -> Any:
    try:
        await asyncio.sleep(3600)
    except asyncio.CancelledError:
        return Allow()


async def deaf_to_cancellation() -> Any:
    for _ in range(5):
        try:
            await asyncio.sleep(0.6)
        except asyncio.CancelledError:
            continue
    return Allow()


class Liar:
    """Returns its class a number of times, and then raises."""

    def __init__(self, honest: int = 0) -> None:
        self.honest = honest

    @property
    def __class__(self) -> Any:  # type: ignore[override]
        self.honest -= 1
        if self.honest < 0:
            raise RuntimeError("secret words")
        return Liar


FAILING: dict[str, Callable[[], Any]] = {
    "raises": raising(RuntimeError("secret words")),
    "raises what is denied otherwise": raising(AccessDenied()),
    "raises a group": raising(ExceptionGroup("g", [ValueError()])),
    "raises TimeoutError": raising(TimeoutError()),
    "raises CancelledError": raising(asyncio.CancelledError()),
    "raises GeneratorExit": raising(GeneratorExit()),
    "exits": exiting,
    "hangs": hanging,
    "allows after its deadline": allowing_after_the_deadline,
    "returns what will not say what it is": returning(Liar()),
    "returns what says it only once": saying_once_what_it_is,
    "returns None": returning(None),
    "returns True": returning(True),
    "returns a text": returning("allow"),
    "returns the class": returning(Allow),
    "returns a pair": returning((Allow(), 1)),
    "returns a limit that is a text": returning(Allow(max_retrievals="10")),
    "returns a limit that is not whole": returning(Allow(max_retrievals=1.5)),
}


def authorizer(evaluator: Any, timeout_seconds: float = 0.05) -> Authorizer:
    return Authorizer({"rules": RulesEvaluator(), "caprice": evaluator}, timeout_seconds)


@pytest.mark.parametrize("answer", FAILING.values(), ids=FAILING)
async def test_an_evaluator_that_does_not_decide_denies(answer) -> None:
    decided = await authorizer(MisbehavingPlugin(answer)).decide(REQUEST, "caprice", BOOK)
    assert decided == AuthorizationResult(Deny("plugin_failure"), "caprice", 4, failed=True)


async def test_an_evaluator_that_returns_a_coroutine_denies() -> None:
    coroutine = hanging()
    decided = await authorizer(MisbehavingPlugin(returning(coroutine))).decide(REQUEST, "caprice", BOOK)
    coroutine.close()
    assert decided.failed


async def test_an_evaluator_that_does_not_heed_its_cancellation_does_not_hold_the_request() -> None:
    task = asyncio.create_task(authorizer(MisbehavingPlugin(deaf_to_cancellation)).decide(REQUEST, "caprice", BOOK))
    done, _ = await asyncio.wait([task], timeout=1.5)
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    assert done
    assert task.result().failed


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), TypeError("x"), SystemExit(0)], ids=lambda error: type(error).__name__
)
async def test_an_evaluator_that_raises_before_there_is_anything_to_await_denies(error) -> None:
    def answer() -> Any:
        raise error

    decided = await authorizer(NotEvenAsync(answer)).decide(REQUEST, "caprice", BOOK)
    assert decided.failed


@pytest.mark.parametrize("decision", [Allow(3), Deny("not-today")])
async def test_a_decision_of_a_plain_function_is_a_decision(decision) -> None:
    decided = await authorizer(NotEvenAsync(lambda: decision)).decide(REQUEST, "caprice", BOOK)
    assert decided == AuthorizationResult(decision, "caprice", 4)


@pytest.mark.parametrize("given", [None, True, "allow"])
async def test_anything_else_from_a_plain_function_denies(given) -> None:
    assert (await authorizer(NotEvenAsync(lambda: given)).decide(REQUEST, "caprice", BOOK)).failed


@pytest.mark.parametrize("decision", [Allow(), Allow(3), Deny("not-today")])
async def test_a_decision_is_passed_on_with_its_policy(decision) -> None:
    decided = await authorizer(MisbehavingPlugin(returning(decision))).decide(REQUEST, "caprice", BOOK)
    assert decided == AuthorizationResult(decision, "caprice", 4)


async def test_an_evaluator_that_nobody_offers_denies() -> None:
    decided = await Authorizer({"rules": RulesEvaluator()}, 1).decide(REQUEST, "caprice", BOOK)
    assert decided.failed


async def test_a_policy_that_is_not_defined_is_owner_only() -> None:
    owner = AccessRequest(a_principal("payments"), Action.RETRIEVE, KEY, an_entry(owner_app="payments"), T0)
    other = AccessRequest(a_principal("shop"), Action.RETRIEVE, KEY, an_entry(owner_app="payments"), T0)
    asked = Authorizer({"rules": RulesEvaluator()}, 1)
    assert await asked.decide(owner, "no-such-policy", BOOK) == AuthorizationResult(Allow(), "owner-only", 1)
    assert await asked.decide(other, "no-such-policy", BOOK) == AuthorizationResult(
        Deny("app-not-allowed"), "owner-only", 1
    )


async def test_without_any_policy_nothing_is_allowed() -> None:
    decided = await Authorizer({"rules": RulesEvaluator()}, 1).decide(REQUEST, "x", PolicySnapshot(1, {}, {}))
    assert isinstance(decided.decision, Deny)


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("not-today", "not-today"),
        ("", "denied"),
        ("Two Words", "denied"),
        ("a\nb", "denied"),
        ("x" * 65, "denied"),
        ("é", "denied"),
        (None, "denied"),
        (7, "denied"),
    ],
)
def test_a_reason_is_shown_only_if_it_is_a_word(reason, shown) -> None:
    assert AuthorizationResult(Deny(reason)).reason == shown


class TestInTheVault:
    """The same through the whole vault: the answer, the row, and the entry."""

    @pytest.mark.parametrize(
        "answer",
        [answer for answer in FAILING.values() if answer is not hanging],
        ids=[name for name in FAILING if name != "hangs"],
    )
    async def test_a_request_is_answered_with_plugin_failure_and_has_its_row(
        self, install, offering, open_scene, answer
    ) -> None:
        scene = await scene_with(MisbehavingPlugin(answer), install, offering, open_scene)
        with pytest.raises(PluginFailed):
            await scene.vault.entries.retrieve(scene.owner, KEY)
        row = await scene.last_row()
        assert (row.outcome, row.status, row.reason) == (Outcome.DENIED, 503, "plugin_failure")
        assert (row.policy, row.policy_version) == ("caprice", 1)
        assert "secret" not in repr(row)

    @pytest.mark.parametrize("role", Role)
    async def test_an_evaluator_that_fails_hides_nothing_from_admins_and_auditors(
        self, install, offering, open_scene, role
    ) -> None:
        scene = await scene_with(MisbehavingPlugin(FAILING["raises"]), install, offering, open_scene)
        reader = a_call("reader", role, purposes=frozenset())
        assert (await scene.vault.entries.inspect(reader, KEY)).entry.key == KEY
        row = await scene.last_row()
        assert (row.outcome, row.policy, row.policy_version) == (Outcome.GRANTED, "caprice", 1)
        listed = await scene.vault.entries.list_purpose(reader, "card", ListRequest(limit=10))
        assert [viewed.entry.key for viewed in listed.entries] == [KEY]
        with pytest.raises(PluginFailed):
            await scene.vault.entries.retrieve(reader, KEY)
        with pytest.raises(PluginFailed):
            await scene.vault.entries.inspect(scene.owner, KEY)

    async def test_a_plain_function_that_raises_is_a_plugin_failure_with_its_row(
        self, install, offering, open_scene
    ) -> None:
        def answer() -> Any:
            raise RuntimeError

        scene = await scene_with(NotEvenAsync(answer), install, offering, open_scene)
        with pytest.raises(PluginFailed):
            await scene.vault.entries.retrieve(scene.owner, KEY)
        assert (await scene.last_row()).reason == "plugin_failure"

    async def test_what_will_not_say_what_it_is_is_a_plugin_failure_with_its_row(
        self, install, offering, open_scene, caplog
    ) -> None:
        scene = await scene_with(NotEvenAsync(Liar), install, offering, open_scene)
        with pytest.raises(PluginFailed):
            await scene.vault.entries.retrieve(scene.owner, KEY)
        assert (await scene.last_row()).reason == "plugin_failure"
        assert "secret words" not in caplog.text

    @pytest.mark.parametrize("reason", [None, 7, "Two Words"])
    async def test_a_denial_without_a_usable_reason_is_a_denial_with_its_row(
        self, install, offering, open_scene, reason
    ) -> None:
        scene = await scene_with(MisbehavingPlugin(returning(Deny(reason))), install, offering, open_scene)
        with pytest.raises(AccessDenied):
            await scene.vault.entries.retrieve(scene.owner, KEY)
        assert (await scene.last_row()).reason == "denied"

    async def test_a_limit_of_an_evaluator_is_kept(self, install, offering, open_scene) -> None:
        scene = await scene_with(MisbehavingPlugin(returning(Allow(2))), install, offering, open_scene)
        results = await asyncio.gather(
            *(scene.vault.entries.retrieve(scene.owner, KEY) for _ in range(5)), return_exceptions=True
        )
        assert sum(not isinstance(result, BaseException) for result in results) == 2

    @pytest.mark.parametrize("error", [ValueError("x"), SystemExit(0)], ids=lambda error: type(error).__name__)
    async def test_a_check_that_fails_is_a_plugin_failure_with_its_row(
        self, install, offering, open_scene, error
    ) -> None:
        evaluator = MisbehavingPlugin(returning(Allow()))
        install(caprice=offering("vault_access_policies", evaluator))
        scene = await open_scene()
        evaluator.check = lambda policy: (_ for _ in ()).throw(error)
        with pytest.raises(PluginFailed):
            await scene.vault.rules.policies.save_access_policy(scene.admin, CAPRICE)
        assert (await scene.last_row()).reason == "plugin_failure"

    async def test_a_check_that_refuses_is_passed_on_with_its_row(self, install, offering, open_scene) -> None:
        evaluator = MisbehavingPlugin(returning(Allow()))
        install(caprice=offering("vault_access_policies", evaluator))
        scene = await open_scene()
        refused = ValidationFailed(errors=[FieldError("parameters.from", "an hour")])
        evaluator.check = lambda policy: (_ for _ in ()).throw(refused)
        with pytest.raises(ValidationFailed) as told:
            await scene.vault.rules.policies.save_access_policy(scene.admin, CAPRICE)
        assert told.value is refused
        assert (await scene.last_row()).status == 422


async def scene_with(evaluator: Any, install: Any, offering: Any, open_scene: Any) -> Any:
    """Open a scene with an entry whose policy asks this evaluator."""
    answer, evaluator.answer = evaluator.answer, returning(Allow())
    plain, evaluator.__class__ = type(evaluator), MisbehavingPlugin
    install(caprice=offering("vault_access_policies", evaluator))
    scene = await open_scene(access__plugin_timeout_seconds="0.05")
    await scene.vault.rules.policies.save_access_policy(scene.admin, CAPRICE)
    await scene.store(access_policy="caprice")
    evaluator.answer, evaluator.__class__ = answer, plain
    return scene
