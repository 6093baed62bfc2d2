"""Repeats a recorded decision under another policy, for every combination of the values that the row does not contain.

A row contains the app and its identity, but not its purposes and roles, and the entry has its current counter. A
decision is therefore repeated for every combination of these. Combinations under which the old policy would not have
decided as recorded are dropped. If the remaining ones lead to different decisions of the candidate, its decision is
unknown.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.access import AccessRequest, Action, Allow, AuthorizationResult, Decision, Deny
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.policy import DEFAULT_EVALUATOR, AccessPolicy
from vsqlvault.model.principal import Principal, Role
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.authorizer import Authorizer

MANY = 2**31 - 1
_ROLES: tuple[frozenset[Role], ...] = (frozenset(), frozenset({Role.AUDITOR}), frozenset({Role.ADMIN}))


@dataclass(frozen=True, slots=True)
class Guess:
    """One combination of the values that a row does not contain."""

    holds_purpose: bool
    roles: frozenset[Role]
    retrievals: int


@dataclass(frozen=True, slots=True)
class RecordedDecision:
    """A recorded decision: the caller, the request, and the decision. ``entry`` is None if there was none yet."""

    app: str
    identity: str | None
    method: str
    credential_id: str
    action: Action
    key: EntryKey
    entry: Entry | None
    at: datetime
    said: Decision

    def guesses(self) -> Iterator[Guess]:
        """Yield every combination. An app that stores has the purpose, which is checked before any policy."""
        purposes = (True,) if self.action is Action.STORE else (True, False)
        counts = (0, MANY) if self.action is Action.RETRIEVE else (0,)
        return (Guess(*parts) for parts in itertools.product(purposes, _ROLES, counts))

    def request(self, guess: Guess) -> AccessRequest:
        """Return the request under this combination."""
        principal = Principal(
            app=self.app,
            method=self.method,
            credential_id=self.credential_id,
            identity=self.identity,
            purposes=frozenset({self.key.purpose}) if guess.holds_purpose else frozenset(),
            roles=guess.roles,
        )
        entry = replace(self.entry, retrievals=guess.retrievals) if self.entry else None
        return AccessRequest(principal, self.action, self.key, entry, self.at)


@dataclass(frozen=True, slots=True)
class Unknown:
    """The decision of the candidate is unknown. ``why`` is lower-case words joined by hyphens."""

    why: str


def said_of(row: AccessRecord) -> Decision:
    """Return the recorded decision of the access policy. Of all errors only a 403 is a policy's."""
    denied = row.status == 403  # noqa: PLR2004 - the recorded AccessDenied.status
    return Deny(row.reason or "") if denied else Allow()


class Guesser:
    """Repeats recorded decisions. Decisions of rules are cached, because rules use few of the values."""

    def __init__(self, authorizer: Authorizer, candidate: AccessPolicy) -> None:
        self._authorizer = authorizer
        self._candidate = candidate
        self._remembered: dict[object, Decision | Unknown] = {}

    async def decide(self, case: RecordedDecision, old: AccessPolicy) -> Decision | Unknown:
        """Return the candidate's decision, if all matching combinations agree."""
        if old.evaluator != DEFAULT_EVALUATOR or self._candidate.evaluator != DEFAULT_EVALUATOR:
            return await self._decide(case, old)
        owner = case.entry.owner_app if case.entry else None
        seen = (old.name, old.version, case.app, case.identity is None, case.action, owner, case.said)
        if seen not in self._remembered:
            self._remembered[seen] = await self._decide(case, old)
        return self._remembered[seen]

    async def _decide(self, case: RecordedDecision, old: AccessPolicy) -> Decision | Unknown:
        fitting = [guess for guess in case.guesses() if await self._fits(case, guess, old)]
        if not fitting:
            return Unknown("not-as-recorded")
        found = [await self._ask(case, guess, self._candidate) for guess in fitting]
        if any(decided.failed for decided in found):
            return Unknown("plugin-failure")
        effective = [_in_effect(decided.decision, guess) for decided, guess in zip(found, fitting, strict=True)]
        if len({type(decision) for decision in effective}) == 1:
            return effective[0]
        return Unknown(_what_matters(fitting, effective))

    async def _fits(self, case: RecordedDecision, guess: Guess, old: AccessPolicy) -> bool:
        """Whether the old policy would have decided as recorded. A policy that cannot be evaluated excludes nothing."""
        decided = await self._ask(case, guess, old)
        if decided.failed:
            return True
        decision = _in_effect(decided.decision, guess)
        if isinstance(decision, Allow) or isinstance(case.said, Allow):
            return type(decision) is type(case.said)
        return replace(decided, decision=decision).reason == case.said.reason

    async def _ask(self, case: RecordedDecision, guess: Guess, policy: AccessPolicy) -> AuthorizationResult:
        policies = PolicySnapshot(0, {policy.name: policy}, {})
        return await self._authorizer.decide(case.request(guess), policy.name, policies)


def _in_effect(decision: Decision, guess: Guess) -> Decision:
    """Return the effective decision: a retrieval limit that is used up is a denial."""
    if (
        isinstance(decision, Allow)
        and decision.max_retrievals is not None
        and guess.retrievals >= decision.max_retrievals
    ):
        return Deny("max-retrievals-reached")
    return decision


def _what_matters(guesses: Sequence[Guess], decisions: Sequence[Decision]) -> str:
    """Return the first value that alone changes the decision."""
    by_guess = dict(zip(guesses, decisions, strict=True))
    for name, word in (("retrievals", "retrieval-count"), ("roles", "roles"), ("holds_purpose", "purposes")):
        for one, other in itertools.combinations(guesses, 2):
            alike = replace(one, **{name: getattr(other, name)}) == other
            if alike and type(by_guess[one]) is not type(by_guess[other]):
                return word
    return "purposes-and-roles"
