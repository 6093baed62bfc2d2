"""Evaluates policies for example requests, for the compliance report, without side effects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from vsqlvault.interfaces.report_section import Probe, SelfTest
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.access import AccessRequest, Action, Allow
from vsqlvault.model.entry import Entry, ValueEncoding
from vsqlvault.model.policy import ADMIN, DEFAULT_EVALUATOR, OWNER, AccessPolicy
from vsqlvault.model.principal import Principal, Role
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.authorizer import Authorizer

MAX_POLICIES = 200
MAX_NAMED = 100
NAMED = "named"
PROBE_SECONDS = 3.0
OWNER_APP = "report-probe-owner"
OTHER_APP = "report-probe"
UNDEFINED = "report-probe.undefined"
EMPTY = "report-probe.without-rules"
PURPOSE = "report-probe"


@dataclass(frozen=True, slots=True)
class Probed:
    """The results, and whether all probes finished in time."""

    probes: tuple[Probe, ...]
    complete: bool


async def probe_policies(
    authorizer: Authorizer,
    policies: PolicySnapshot,
    used: Iterable[tuple[str, str]],
    at: datetime,
    *,
    seconds: float = PROBE_SECONDS,
) -> Probed:
    """Evaluate, for each purpose and access policy in ``used``, what each kind of app and each named app may do.

    The entry, the owner and the apps of each kind are examples. Of a policy's named apps, the first ``MAX_NAMED`` are
    asked for.
    """
    pairs = sorted(set(used))
    is_complete = len(pairs) <= MAX_POLICIES
    probes: list[Probe] = []
    try:
        async with asyncio.timeout(seconds):
            for purpose, policy in pairs[:MAX_POLICIES]:
                named = _named(policies, policy)
                is_complete = is_complete and len(named) <= MAX_NAMED
                probes += [
                    await _probe(authorizer, policies, purpose, policy, question)
                    for question in _questions(purpose, at, named[:MAX_NAMED])
                ]
    except TimeoutError:
        return Probed(tuple(probes), complete=False)
    return Probed(tuple(probes), complete=is_complete)


async def run_self_tests(authorizer: Authorizer, policies: PolicySnapshot, at: datetime) -> tuple[SelfTest, ...]:
    """Evaluate requests that must be denied under any policies."""
    empty = AccessPolicy(EMPTY, 1, DEFAULT_EVALUATOR, {})
    made_up = replace(policies, access={**policies.access, EMPTY: empty})
    stranger = _principal(OTHER_APP, purposes=frozenset({PURPOSE}))
    cases = [
        (f"{action.value} under an undefined policy", action, UNDEFINED)
        for action in (Action.RETRIEVE, Action.INSPECT, Action.PURGE, Action.STORE)
    ]
    cases += [(f"{action.value} under a policy without rules", action, EMPTY) for action in Action]
    tests = []
    for name, action, policy in cases:
        request = AccessRequest(stranger, action, _entry(PURPOSE, at).key, _entry(PURPOSE, at), at)
        decided = await authorizer.decide(request, policy, made_up)
        tests.append(SelfTest(name, not isinstance(decided.decision, Allow)))
    return tuple(tests)


@dataclass(frozen=True, slots=True)
class _Question:
    asks: str
    request: AccessRequest


def _named(policies: PolicySnapshot, policy: str) -> list[str]:
    """Return the apps that the rules of a policy name."""
    defined = policies.access.get(policy)
    rules = defined.rules.values() if defined else ()
    return sorted({app for rule in rules for app in rule.allowed_apps or ()} - {OWNER, ADMIN})


def _questions(purpose: str, at: datetime, named: Sequence[str]) -> Sequence[_Question]:
    entry = _entry(purpose, at)
    holds = frozenset({purpose})
    kinds = [
        ("owner", _principal(OWNER_APP, purposes=holds)),
        ("purpose-holder", _principal(OTHER_APP, purposes=holds)),
        ("outsider", _principal(OTHER_APP)),
        ("admin", _principal(OTHER_APP, purposes=holds, roles=frozenset({Role.ADMIN}))),
        *((NAMED, _principal(app, purposes=holds)) for app in named),
    ]
    return [
        _Question(asks, AccessRequest(principal, action, entry.key, there, at))
        for asks, principal in kinds
        for action, there in (
            (Action.STORE, None),
            (Action.STORE, entry),
            (Action.RETRIEVE, entry),
            (Action.INSPECT, entry),
            (Action.PURGE, entry),
        )
    ]


async def _probe(
    authorizer: Authorizer, policies: PolicySnapshot, purpose: str, policy: str, question: _Question
) -> Probe:
    request = question.request
    decided = await authorizer.decide(request, policy, policies)
    return Probe(
        purpose, policy, question.asks, request.action, request.entry is None, isinstance(decided.decision, Allow),
        decided.reason, request.principal.app if question.asks == NAMED else None,
    )  # fmt: skip


def _principal(app: str, purposes: frozenset[str] = frozenset(), roles: frozenset[Role] = frozenset()) -> Principal:
    return Principal(
        app=app, method="report", credential_id="report", identity="report", purposes=purposes, roles=roles
    )


def _entry(purpose: str, at: datetime) -> Entry:
    return Entry(
        purpose=purpose,
        external_id="report-probe",
        entry_id="0" * 32,
        version=1,
        encoding=ValueEncoding.UTF_8,
        value_sha256="0" * 64,
        value_size=0,
        algorithm_hint=None,
        key_ref=None,
        metadata="{}",
        owner_app=OWNER_APP,
        owner_identity=None,
        access_policy=UNDEFINED,
        created_at=at,
        updated_at=at,
        expires_at=at,
    )
