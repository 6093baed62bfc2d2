"""A plugin that breaks one of its promises fails the test that is there for it; the sound one passes them all."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from vsqlvault.config import AuthSettings, Settings
from vsqlvault.errors import CredentialRefused, FieldError, SettingsInvalid, ValidationFailed
from vsqlvault.interfaces.purge_method import PurgeMethod
from vsqlvault.model.access import Allow, Deny
from vsqlvault.model.principal import Principal
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeReason, Remove
from vsqlvault.testing import (
    AuthenticatorCase,
    AuthenticatorConformance,
    EvaluatorCase,
    PolicyEvaluatorConformance,
    PurgeMethodConformance,
    ReportSectionConformance,
    an_access_policy,
)
from vsqlvault.testing.authenticator_conformance import SPOILT
from vsqlvault.testing.policy_evaluator_conformance import HOSTILE_PARAMETERS
from vsqlvault.testing.report_section_conformance import CONTEXTS

BLOCKED_SECONDS = 0.2


class Badge:
    """A sound authenticator."""

    name = "badge"
    credential_headers: Any = ("x-badge",)
    good = "badge-7-secret"

    def __init__(self) -> None:
        self.known = True

    async def authenticate(self, presented: Any) -> Any:
        badge = presented.headers.get("x-badge")
        if badge is None:
            return None
        if badge != self.good or not self.known:
            raise CredentialRefused("bad_badge")
        return Principal("front-desk", self.name, "badge-7")

    async def reload(self, settings: Settings) -> None:
        if settings.auth.api_key_app == "unusable":
            raise SettingsInvalid("not like this")
        self.known = settings.auth.api_key_app != "without"


class UpperCaseHeader(Badge):
    credential_headers = ("X-Badge",)


class Insists(Badge):
    async def authenticate(self, presented: Any) -> Any:
        if "x-badge" not in presented.headers:
            raise CredentialRefused
        return await super().authenticate(presented)


class AnotherMethod(Badge):
    async def authenticate(self, presented: Any) -> Any:
        found = await super().authenticate(presented)
        return found and replace(found, method="other")


class ShowsInCredentialId(Badge):
    async def authenticate(self, presented: Any) -> Any:
        found = await super().authenticate(presented)
        return found and replace(found, credential_id=f"key {self.good}")


class ShowsInWhy(Badge):
    async def authenticate(self, presented: Any) -> Any:
        try:
            return await super().authenticate(presented)
        except CredentialRefused:
            raise CredentialRefused(f"bad: {presented.headers['x-badge']}"[:60]) from None


class Logs(Badge):
    async def authenticate(self, presented: Any) -> Any:
        logging.getLogger("badge").debug("asked", extra={"badge": presented.headers.get("x-badge")})
        return await super().authenticate(presented)


class TakesPrefixes(Badge):
    async def authenticate(self, presented: Any) -> Any:
        badge = presented.headers.get("x-badge")
        if badge and badge.startswith(self.good):
            return Principal("front-desk", self.name, "badge-7")
        return await super().authenticate(presented)


class IgnoresCase(Badge):
    async def authenticate(self, presented: Any) -> Any:
        headers = {name: value.lower() for name, value in presented.headers.items()}
        return await super().authenticate(replace(presented, headers=headers))


class IgnoresEmpty(Badge):
    async def authenticate(self, presented: Any) -> Any:
        return await super().authenticate(presented) if presented.headers.get("x-badge") else None


class FailsOnOthers(Badge):
    async def authenticate(self, presented: Any) -> Any:
        presented.headers.get("x-badge", "").encode("ascii")
        return await super().authenticate(presented)


class NeverForgets(Badge):
    async def reload(self, settings: Settings) -> None:
        pass


class ForgetsFirst(Badge):
    async def reload(self, settings: Settings) -> None:
        self.known = False
        await super().reload(settings)


class Sleeps(Badge):
    async def authenticate(self, presented: Any) -> Any:
        time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - the fault that is to be found
        return await super().authenticate(presented)


class KeepsTheLast(Badge):
    last: Any = None

    async def authenticate(self, presented: Any) -> Any:
        self.last = presented
        await asyncio.sleep(0)
        return await super().authenticate(self.last)


class Seal(Badge):
    """A sound authenticator of certificates, as far as it knows any."""

    name = "seal"
    credential_headers = ()

    async def authenticate(self, presented: Any) -> Any:
        if presented.client_certificate is None:
            return None
        if not self.known or presented.client_certificate != b"good":
            raise CredentialRefused("bad_seal")
        return Principal("front-desk", self.name, "seal-7", "jane", frozenset({"card"}))


class TakesAnySeal(Seal):
    async def authenticate(self, presented: Any) -> Any:
        return await super().authenticate(
            replace(presented, client_certificate=presented.client_certificate and b"good")
        )


class OverlooksBadSeals(Seal):
    async def authenticate(self, presented: Any) -> Any:
        return await super().authenticate(presented) if presented.client_certificate == b"good" else None


def settings(app: str) -> Settings:
    return Settings(auth=AuthSettings(api_key_app=app))


def badge_case(kind: type[Badge]) -> AuthenticatorCase:
    if issubclass(kind, Seal):
        bad = {"another": b"bad", "empty": b""}
        return AuthenticatorCase(
            kind(), {}, "", settings("usual"), settings("without"), settings("unusable"), b"good", bad
        )
    headers = {"x-badge": Badge.good}
    return AuthenticatorCase(kind(), headers, Badge.good, settings("usual"), settings("without"), settings("unusable"))


class Rules:
    """A sound evaluator: it takes no parameters, and follows the rules."""

    name = "rules"

    def built_in_policies(self) -> Any:
        return [an_access_policy("mine", built_in=True)]

    def check(self, policy: Any) -> None:
        if policy.parameters != "{}":
            raise ValidationFailed(errors=[FieldError("parameters", "nothing")])

    def evaluate(self, request: Any, policy: Any) -> Any:
        return policy.decide_by_rules(request)


class TwiceTheSame(Rules):
    def built_in_policies(self) -> Any:
        return [*super().built_in_policies(), *super().built_in_policies()]


class OfAnother(Rules):
    def built_in_policies(self) -> Any:
        return [an_access_policy("mine", built_in=True, evaluator="other")]


class RefusesItsOwn(Rules):
    def check(self, policy: Any) -> None:
        raise ValidationFailed(errors=[FieldError("parameters", "something else")])


class TakesAnything(Rules):
    def check(self, policy: Any) -> None:
        pass


class RaisesInCheck(Rules):
    def check(self, policy: Any) -> None:
        if policy.parameters != "{}":
            raise KeyError("zone")


class TakesWhatItCannotUse(TakesAnything):
    def evaluate(self, request: Any, policy: Any) -> Any:
        assert policy.parameters == "{}"
        return super().evaluate(request, policy)


class SaysNothing(Rules):
    def evaluate(self, request: Any, policy: Any) -> Any:
        return None if request.entry is None else super().evaluate(request, policy)


class SpeaksFreely(Rules):
    def evaluate(self, request: Any, policy: Any) -> Any:
        return Deny(f"{request.principal.app} may not!")


class Counts(Rules):
    asked = 0

    def evaluate(self, request: Any, policy: Any) -> Any:
        self.asked += 1
        return Deny("enough") if self.asked > 50 else super().evaluate(request, policy)


class Edits(Rules):
    def evaluate(self, request: Any, policy: Any) -> Any:
        decision = super().evaluate(request, policy)
        policy.rules.clear()
        return decision


class AllowsAll(Rules):
    def evaluate(self, request: Any, policy: Any) -> Any:
        return Allow()


class Ponders(Rules):
    async def evaluate(self, request: Any, policy: Any) -> Any:
        time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - the fault that is to be found
        return super().evaluate(request, policy)


def rules_case(kind: type[Rules]) -> EvaluatorCase:
    policy = an_access_policy()
    return EvaluatorCase(kind(), [policy], [replace(policy, parameters='{"a":1}')])


class ZeroFill(PurgeMethod):
    """A sound method."""

    name = "noughts"
    retires_id: Any = True

    async def plan(self, request: Any) -> Any:
        return PurgePlan(Overwrite(b"0" * request.entry.value_size), request.reason)


class Unsaid(ZeroFill):
    retires_id = None


class Short(ZeroFill):
    async def plan(self, request: Any) -> Any:
        return PurgePlan(Overwrite(b"0" * min(request.entry.value_size, 4096)), request.reason)


class RemovesAllTheSame(ZeroFill):
    async def plan(self, request: Any) -> Any:
        return PurgePlan(Remove(), request.reason)


class Replaces(ZeroFill):
    async def plan(self, request: Any) -> Any:
        return replace(await super().plan(request), reason=PurgeReason.REPLACED)


class Wavers(ZeroFill):
    times = 0

    async def plan(self, request: Any) -> Any:
        self.times += 1
        reason = PurgeReason.EXPIRED if self.times % 2 else PurgeReason.REQUESTED
        return replace(await super().plan(request), reason=reason)


class Grinds(ZeroFill):
    async def plan(self, request: Any) -> Any:
        time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - the fault that is to be found
        return await super().plan(request)


class RefusesTheSecond(ZeroFill):
    asked = False

    async def plan(self, request: Any) -> Any:
        if self.asked:
            raise RuntimeError("once only")
        self.asked = True
        return await super().plan(request)


class Section:
    """A sound section."""

    name = "purposes"

    async def write(self, context: Any) -> Any:
        return {"with_policy": sorted(context.retention_policies), "as_of": context.as_of.isoformat()}


class WritesTuples(Section):
    async def write(self, context: Any) -> Any:
        return {"with_policy": tuple(sorted(context.retention_policies))}


class WritesTimes(Section):
    async def write(self, context: Any) -> Any:
        return {"at": context.as_of}


class Rolls(Section):
    async def write(self, context: Any) -> Any:
        return {"at": random.random()}


class InOrderOfArrival(Section):
    async def write(self, context: Any) -> Any:
        return {"with_policy": list(context.retention_policies)}


class NeedsASweep(Section):
    async def write(self, context: Any) -> Any:
        return {"purged": context.last_sweep.purged}


class NeedsKnownPolicies(Section):
    async def write(self, context: Any) -> Any:
        names = context.entry_statistics.entries_by_undefined_policy
        return {name: context.access_policies[name].version for name in names}


class Tidies(Section):
    async def write(self, context: Any) -> Any:
        context.entry_statistics.by_purpose.clear()
        return {}


class Dawdles(Section):
    async def write(self, context: Any) -> Any:
        time.sleep(BLOCKED_SECONDS)  # noqa: ASYNC251 - the fault that is to be found
        return {}


SOUND: dict[str, tuple[type[Any], Callable[[], dict[str, Any]]]] = {
    "authenticator": (AuthenticatorConformance, lambda: {"authenticator_case": badge_case(Badge)}),
    "authenticator of certificates": (AuthenticatorConformance, lambda: {"authenticator_case": badge_case(Seal)}),
    "evaluator": (PolicyEvaluatorConformance, lambda: {"evaluator_case": rules_case(Rules)}),
    "purge method": (PurgeMethodConformance, lambda: {"purge_method": ZeroFill()}),
    "report section": (ReportSectionConformance, lambda: {"report_section": Section()}),
}
BROKEN: list[tuple[Any, str, dict[str, Any]]] = [
    (UpperCaseHeader, "test_it_says_what_it_is_called_and_what_it_reads", {}),
    (Insists, "test_where_nothing_of_its_kind_is_presented_it_says_nothing", {"headers": {}, "address": None}),
    (AnotherMethod, "test_a_good_credential_gives_a_sound_principal", {}),
    (ShowsInCredentialId, "test_the_principal_does_not_contain_the_secret", {}),
    (ShowsInWhy, "test_a_bad_credential_is_refused_and_not_shown", {"how": "one fewer"}),
    (Logs, "test_a_bad_credential_is_refused_and_not_shown", {"how": "one more"}),
    (TakesPrefixes, "test_a_bad_credential_is_refused_and_not_shown", {"how": "one more"}),
    (TakesAnySeal, "test_a_bad_certificate_is_refused_whatever_is_bad_about_it", {}),
    (OverlooksBadSeals, "test_a_bad_certificate_is_refused_whatever_is_bad_about_it", {}),
    (IgnoresCase, "test_a_bad_credential_is_refused_and_not_shown", {"how": "other case"}),
    (IgnoresEmpty, "test_a_bad_credential_is_refused_and_not_shown", {"how": "empty"}),
    (FailsOnOthers, "test_a_bad_credential_is_refused_and_not_shown", {"how": "not ASCII"}),
    (NeverForgets, "test_a_credential_that_is_gone_from_the_settings_is_refused", {}),
    (ForgetsFirst, "test_a_reload_that_is_refused_leaves_everything_as_it_was", {}),
    (Sleeps, "test_it_never_blocks_the_loop", {}),
    (KeepsTheLast, "test_a_hundred_at_once_each_get_their_own_answer", {}),
    (TwiceTheSame, "test_its_built_in_policies_are_sound", {}),
    (OfAnother, "test_its_built_in_policies_are_sound", {}),
    (RefusesItsOwn, "test_it_takes_the_documents_that_are_for_it", {}),
    (TakesAnything, "test_it_refuses_the_documents_that_are_not_and_says_which_fields", {}),
    (RaisesInCheck, "test_it_refuses_the_documents_that_are_not_and_says_which_fields", {}),
    (RaisesInCheck, "test_whatever_the_parameters_it_refuses_them_or_can_decide_by_them", {"parameters": {"": ""}}),
    (
        TakesWhatItCannotUse,
        "test_whatever_the_parameters_it_refuses_them_or_can_decide_by_them",
        {"parameters": {"": 1}},
    ),
    (SaysNothing, "test_every_question_has_a_sound_answer", {}),
    (SpeaksFreely, "test_every_question_has_a_sound_answer", {}),
    (Counts, "test_asked_again_it_answers_the_same", {}),
    (Edits, "test_it_changes_neither_question_nor_policy", {}),
    (AllowsAll, "test_an_app_that_nobody_named_is_denied_unless_that_is_said", {}),
    (Ponders, "test_it_never_blocks_the_loop", {}),
    (Unsaid, "test_it_says_what_it_is_called_and_whether_ids_are_retired", {}),
    (Short, "test_the_plan_can_be_done_and_keeps_the_word_about_the_id", {"size": 4097}),
    (RemovesAllTheSame, "test_the_plan_can_be_done_and_keeps_the_word_about_the_id", {"size": 1}),
    (Replaces, "test_the_reason_is_one_and_not_that_of_a_replacement", {}),
    (Wavers, "test_a_plan_can_be_made_again_and_changes_nothing_that_was_asked", {}),
    (RefusesTheSecond, "test_a_plan_can_be_made_again_and_changes_nothing_that_was_asked", {}),
    (Short, "test_in_a_vault_a_request_destroys_the_entry_and_leaves_the_proof", {}),
    (Short, "test_in_a_vault_the_sweep_destroys_the_entry_and_leaves_the_proof", {}),
    (Grinds, "test_it_never_blocks_the_loop", {}),
    (WritesTuples, "test_it_writes_json_types_and_nothing_else", {"context": CONTEXTS["a usual vault"]}),
    (WritesTimes, "test_it_writes_json_types_and_nothing_else", {"context": CONTEXTS["an empty vault"]}),
    (NeedsASweep, "test_it_writes_json_types_and_nothing_else", {"context": CONTEXTS["never swept"]}),
    (NeedsKnownPolicies, "test_it_writes_json_types_and_nothing_else", {"context": CONTEXTS["unknown policies"]}),
    (Rolls, "test_it_writes_the_same_for_the_same_and_leaves_it_as_it_is", {"context": CONTEXTS["a usual vault"]}),
    (
        InOrderOfArrival,
        "test_it_writes_the_same_for_the_same_and_leaves_it_as_it_is",
        {"context": CONTEXTS["awkward names"]},
    ),
    (Dawdles, "test_it_never_blocks_the_loop", {}),
    (WritesTimes, "test_in_a_vault_its_member_is_in_the_report", {}),
]


def kit_of(plugin: Any) -> tuple[type[Any], dict[str, Any]]:
    """Return the suite for a broken plugin, and its fixture."""
    if issubclass(plugin, Badge):
        return AuthenticatorConformance, {"authenticator_case": badge_case(plugin)}
    if issubclass(plugin, Rules):
        return PolicyEvaluatorConformance, {"evaluator_case": rules_case(plugin)}
    if issubclass(plugin, ZeroFill):
        return PurgeMethodConformance, {"purge_method": plugin()}
    return ReportSectionConformance, {"report_section": plugin()}


@contextlib.contextmanager
def prepared(kit: type[Any], directory: Path) -> Iterator[Any]:
    suite = kit()
    suite.directory = directory
    with asyncio.Runner() as suite.runner:
        yield suite


def takes_caplog(test: str) -> bool:
    return test == "test_a_bad_credential_is_refused_and_not_shown"


@pytest.mark.parametrize(("plugin", "test", "arguments"), BROKEN, ids=lambda part: getattr(part, "__name__", None))
def test_a_broken_plugin_fails_the_test_that_is_there_for_it(plugin, test, arguments, tmp_path, caplog) -> None:
    kit, fixture = kit_of(plugin)
    more = {"caplog": caplog} if takes_caplog(test) else {}
    with prepared(kit, tmp_path) as suite, pytest.raises((Exception, pytest.fail.Exception)):
        getattr(suite, test)(**fixture, **arguments, **more)


def test_a_section_that_changes_its_context_is_found(tmp_path) -> None:
    context = CONTEXTS["a usual vault"]
    own = replace(
        context,
        entry_statistics=replace(context.entry_statistics, by_purpose=dict(context.entry_statistics.by_purpose)),
    )
    with prepared(ReportSectionConformance, tmp_path) as suite, pytest.raises(AssertionError):
        suite.test_it_writes_the_same_for_the_same_and_leaves_it_as_it_is(report_section=Tidies(), context=own)


VARIED: dict[str, list[dict[str, Any]]] = {
    "test_where_nothing_of_its_kind_is_presented_it_says_nothing": [{"headers": {}, "address": None}],
    "test_a_bad_credential_is_refused_and_not_shown": [{"how": how} for how in SPOILT],
    "test_whatever_the_parameters_it_refuses_them_or_can_decide_by_them": [
        {"parameters": parameters} for parameters in HOSTILE_PARAMETERS.values()
    ],
    "test_the_plan_can_be_done_and_keeps_the_word_about_the_id": [{"size": 4097}],
    "test_it_writes_json_types_and_nothing_else": [{"context": context} for context in CONTEXTS.values()],
    "test_it_writes_the_same_for_the_same_and_leaves_it_as_it_is": [{"context": CONTEXTS["awkward names"]}],
}


@pytest.mark.parametrize("name", SOUND)
def test_a_sound_plugin_passes_every_test(name, tmp_path, caplog) -> None:
    kit, make = SOUND[name]
    for test in [test for test in dir(kit) if test.startswith("test_")]:
        for number, arguments in enumerate(VARIED.get(test, [{}])):
            directory = tmp_path / f"{test[:40]}-{number}"
            directory.mkdir()
            more = {"caplog": caplog} if takes_caplog(test) else {}
            with prepared(kit, directory) as suite, contextlib.suppress(pytest.skip.Exception):
                getattr(suite, test)(**make(), **arguments, **more)


def test_every_test_of_the_kit_but_for_a_few_is_seen_to_fail() -> None:
    tests = {test for kit, _ in SOUND.values() for test in dir(kit) if test.startswith("test_")}
    seen = {test for _, test, _ in BROKEN}
    assert tests - seen == {
        "test_a_hundred_at_once_each_get_their_own_member",
        "test_a_hundred_at_once_each_get_their_own_plan",
        "test_a_scheme_that_is_not_its_own_is_nothing_of_its_kind",
        "test_after_a_bad_credential_the_good_one_is_still_good",
        "test_it_says_what_it_is_called",
        "test_it_says_what_its_member_is_called",
        "test_its_built_in_policies_are_the_same_each_time",
        "test_one_credential_is_one_principal_each_time",
        "test_the_case_is_fit_to_show_something",
        "test_whoever_asks_during_a_reload_gets_the_old_answer_or_the_new",
    }
