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
from vsqlvault.model.policy import DEFAULT_EVALUATOR, AccessPolicy
from vsqlvault.model.principal import Principal, Role
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.authorizer import Authorizer

MAX_POLICIES = 200
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
    """Evaluate, for each purpose and access policy in ``used``, what each kind of app may do.

    The entry and the apps are examples. A policy that names apps denies them; its rules show the named apps.
    """
    pairs = sorted(set(used))
    probes: list[Probe] = []
    try:
        async with asyncio.timeout(seconds):
            for purpose, policy in pairs[:MAX_POLICIES]:
                probes += [
                    await _probe(authorizer, policies, purpose, policy, question)
                    for question in _questions(purpose, at)
                ]
    except TimeoutError:
        return Probed(tuple(probes), complete=False)
    return Probed(tuple(probes), complete=len(pairs) <= MAX_POLICIES)


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


def _questions(purpose: str, at: datetime) -> Sequence[_Question]:
    entry = _entry(purpose, at)
    kinds = {
        "owner": _principal(OWNER_APP, purposes=frozenset({purpose})),
        "purpose-holder": _principal(OTHER_APP, purposes=frozenset({purpose})),
        "outsider": _principal(OTHER_APP),
        "admin": _principal(OTHER_APP, purposes=frozenset({purpose}), roles=frozenset({Role.ADMIN})),
    }
    return [
        _Question(asks, AccessRequest(principal, action, entry.key, there, at))
        for asks, principal in kinds.items()
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
        decided.reason,
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
