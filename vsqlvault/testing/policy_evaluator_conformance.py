"""Conformance tests of policy evaluators, which use only the ``PolicyEvaluator`` protocol.

Example:
    class TestDenyAll(PolicyEvaluatorConformance):
        @pytest.fixture
        def evaluator_case(self):
            return EvaluatorCase(DenyAll(), accepted=[a_policy], refused=[an_invalid_policy])
"""

from __future__ import annotations

import asyncio
import copy
import inspect
import itertools
import json
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import pytest

from vsqlvault.errors import ValidationFailed
from vsqlvault.interfaces.access_policy import PolicyEvaluator
from vsqlvault.model.access import AccessRequest, Action, Allow, Decision, Deny
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.policy import POLICY_NAME, AccessPolicy
from vsqlvault.model.principal import Principal, Role
from vsqlvault.testing.driving import LoopKit, driven, never_blocks
from vsqlvault.testing.samples import T0, a_principal, an_entry

REASON = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)
STRANGER = Principal("a-stranger", "api-key", "key-of-a-stranger", purposes=frozenset())
PRINCIPALS = (
    a_principal(),
    a_principal(identity="jane"),
    a_principal("tellers"),
    a_principal("vault-admin", Role.ADMIN),
    a_principal("auditor", Role.AUDITOR, purposes=frozenset()),
    a_principal("a" * 256, identity="\U0001f510 o'brien; --"),
    STRANGER,
)
ENTRIES = (
    None,
    an_entry(),
    an_entry(retrievals=10**9),
    an_entry(owner_app="tellers", owner_identity="joe", key_ref=None, algorithm_hint=None, metadata='{"\u00e9":"%s"}'),
    an_entry("A" + "~" * 255, expires_at=T0 - timedelta(days=1)),
    an_entry(purged_at=T0, purge_method="crypto-shred"),
)
HOSTILE_PARAMETERS = {
    "none": {},
    "an unknown member": {"no-evaluator-has-this": 1},
    "an empty name": {"": ""},
    "every type": {"a": None, "b": True, "c": 1, "d": 0.5, "e": "", "f": [], "g": {}},
    "a number beyond": {"a": 1e308, "b": -(2**53)},
    "a long text": {"a": "x" * 10_000},
    "deep": {"a": [[[[[[[[[[[[[[[[[[{"b": {}}]]]]]]]]]]]]]]]]]]},
    "many": {f"m{number}": number for number in range(1000)},
    "templates": {"{0}": "%s ${x} '; --"},
}


@dataclass(frozen=True)
class EvaluatorCase:
    """An evaluator and its test data.

    ``accepted`` are documents that ``check`` accepts, at least one, and ``refused`` some that it rejects. ``open``
    lists what an app without a purpose and without a mention in a policy may do: pairs of a policy's name and an
    action.
    """

    evaluator: PolicyEvaluator
    accepted: Sequence[AccessPolicy]
    refused: Sequence[AccessPolicy] = ()
    open: Collection[tuple[str, Action]] = ()

    def policies(self) -> list[AccessPolicy]:
        """Return every policy for the evaluator: its built-in ones and the accepted ones."""
        return [*self.evaluator.built_in_policies(), *self.accepted]

    def questions(self) -> Iterator[tuple[AccessRequest, AccessPolicy]]:
        """Return every request of the suite, by each policy."""
        asked = itertools.product(self.policies(), PRINCIPALS, Action, ENTRIES)
        for number, (policy, principal, action, entry) in enumerate(asked):
            key = entry.key if entry else EntryKey("card", "pay-1")
            yield AccessRequest(principal, action, key, entry, T0 + timedelta(hours=number % 200)), policy

    async def decide(self, request: AccessRequest, policy: AccessPolicy) -> Decision:
        """Evaluate, whether the evaluator is a plain ``def`` or an ``async def``."""
        answer = self.evaluator.evaluate(request, policy)
        return await answer if inspect.isawaitable(answer) else answer


class PolicyEvaluatorConformance(LoopKit):
    """Subclass it, and define the fixture ``evaluator_case``."""

    @pytest.fixture
    def evaluator_case(self) -> EvaluatorCase:
        """Return a new evaluator with documents for it."""
        raise NotImplementedError("define the fixture evaluator_case")

    def test_it_says_what_it_is_called(self, evaluator_case: EvaluatorCase) -> None:
        assert isinstance(evaluator_case.evaluator.name, str)
        assert evaluator_case.evaluator.name.strip()

    def test_the_case_is_fit_to_show_something(self, evaluator_case: EvaluatorCase) -> None:
        assert evaluator_case.accepted
        assert {policy.evaluator for policy in evaluator_case.accepted} == {evaluator_case.evaluator.name}

    def test_its_built_in_policies_are_sound(self, evaluator_case: EvaluatorCase) -> None:
        built_in = list(evaluator_case.evaluator.built_in_policies())
        names = [policy.name for policy in built_in]
        assert len(set(names)) == len(names)
        for policy in built_in:
            assert POLICY_NAME.fullmatch(policy.name)
            assert (policy.evaluator, policy.built_in) == (evaluator_case.evaluator.name, True)
            assert policy.version >= 1
            assert isinstance(json.loads(policy.parameters), dict)
            evaluator_case.evaluator.check(policy)

    def test_its_built_in_policies_are_the_same_each_time(self, evaluator_case: EvaluatorCase) -> None:
        evaluator = evaluator_case.evaluator
        assert list(evaluator.built_in_policies()) == list(evaluator.built_in_policies())

    def test_it_takes_the_documents_that_are_for_it(self, evaluator_case: EvaluatorCase) -> None:
        for policy in evaluator_case.accepted:
            before = copy.deepcopy(policy)
            evaluator_case.evaluator.check(policy)
            assert policy == before

    def test_it_refuses_the_documents_that_are_not_and_says_which_fields(self, evaluator_case: EvaluatorCase) -> None:
        for policy in evaluator_case.refused:
            with pytest.raises(ValidationFailed) as refused:
                evaluator_case.evaluator.check(policy)
            assert refused.value.errors
            assert all(error.field and error.expected for error in refused.value.errors)

    @pytest.mark.parametrize("parameters", HOSTILE_PARAMETERS.values(), ids=HOSTILE_PARAMETERS)
    @driven
    async def test_whatever_the_parameters_it_refuses_them_or_can_decide_by_them(
        self, evaluator_case: EvaluatorCase, parameters: dict[str, object]
    ) -> None:
        text = json.dumps(parameters, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        policy = replace(evaluator_case.accepted[0], parameters=text)
        try:
            evaluator_case.evaluator.check(policy)
        except ValidationFailed:
            return
        for action in Action:
            request = AccessRequest(PRINCIPALS[0], action, EntryKey("card", "pay-1"), an_entry(), T0)
            assert isinstance(await evaluator_case.decide(request, policy), (Allow, Deny))

    @driven
    async def test_every_question_has_a_sound_answer(self, evaluator_case: EvaluatorCase) -> None:
        for request, policy in evaluator_case.questions():
            decision = await evaluator_case.decide(request, policy)
            assert isinstance(decision, (Allow, Deny)), request
            if isinstance(decision, Deny):
                assert REASON.fullmatch(decision.reason), request
            else:
                limit = decision.max_retrievals
                assert limit is None or (type(limit) is int and limit >= 0), request

    @driven
    async def test_asked_again_it_answers_the_same(self, evaluator_case: EvaluatorCase) -> None:
        questions = list(evaluator_case.questions())
        first = [await evaluator_case.decide(*question) for question in questions]
        again = [await evaluator_case.decide(*question) for question in reversed(questions)]
        assert first == again[::-1]

    @driven
    async def test_it_changes_neither_question_nor_policy(self, evaluator_case: EvaluatorCase) -> None:
        for request, policy in evaluator_case.questions():
            before = copy.deepcopy((request, policy))
            await evaluator_case.decide(request, policy)
            assert (request, policy) == before

    @driven
    async def test_an_app_that_nobody_named_is_denied_unless_that_is_said(self, evaluator_case: EvaluatorCase) -> None:
        allowed = set()
        for request, policy in evaluator_case.questions():
            if request.principal == STRANGER and isinstance(await evaluator_case.decide(request, policy), Allow):
                allowed.add((policy.name, request.action))
        assert allowed == set(evaluator_case.open)

    @driven
    async def test_it_never_blocks_the_loop(self, evaluator_case: EvaluatorCase) -> None:
        question = next(evaluator_case.questions())
        await never_blocks(lambda: evaluator_case.decide(*question))

    @driven
    async def test_a_hundred_at_once_each_get_their_own_answer(self, evaluator_case: EvaluatorCase) -> None:
        questions = list(itertools.islice(itertools.cycle(evaluator_case.questions()), 0, 1700, 17))
        alone = [await evaluator_case.decide(*question) for question in questions]
        assert await asyncio.gather(*(evaluator_case.decide(*question) for question in questions)) == alone
