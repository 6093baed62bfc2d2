"""The lists that an access review is about: who may do what, and who did what, by purpose and with roles."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from vsqlvault.interfaces.evidence import AccessCount, Evidence
from vsqlvault.interfaces.report_section import Probe
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.model.access import Action
from vsqlvault.model.access_review import AccessList
from vsqlvault.model.audit import Operation, Outcome
from vsqlvault.model.credential import KnownCredential
from vsqlvault.model.principal import is_internal
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.probes import Probed

Items = set[tuple[str, ...]]
_ON_ENTRIES = frozenset({
    Operation.STORE, Operation.UPDATE, Operation.RETRIEVE, Operation.INSPECT, Operation.LIST, Operation.PURGE,
})  # fmt: skip


@dataclass(frozen=True, slots=True)
class AccessLists:
    """The lists of all purposes with a retention policy, and that of the accounts with a role."""

    by_purpose: dict[str, AccessList]
    roles: AccessList


def access_lists(
    policies: PolicySnapshot,
    evidence: Evidence,
    probed: Probed,
    credentials: Sequence[KnownCredential],
    as_of: datetime,
) -> AccessLists:
    """Return the lists. They name no credential and no number, so that a rotated key or another use changes nothing.

    An item of ``may`` is ``("app", APP, IDENTITY, PURPOSE or "*")`` for an app with the purpose, or ``("policy", NAME,
    VERSION, KIND OF APP, APP, ACTION)`` for what the policy allows. An item of ``did`` is ``(OPERATION, APP)``.
    """
    may: dict[str, Items] = {purpose: set() for purpose in policies.retention}
    did: dict[str, Items] = {purpose: set() for purpose in policies.retention}
    active = [each for each in credentials if each.state(as_of) == "active"]
    _add_apps(may, active)
    for probe in probed.probes:
        if probe.is_allowed and probe.purpose in may:
            may[probe.purpose].add(_grant(probe, policies))
    for holding in evidence.holdings:
        if holding.purpose in may and holding.access_policy not in policies.access:
            may[holding.purpose].add(("undefined policy", holding.access_policy))
    acted = _add_uses(did, evidence.access, {each.app for each in credentials})
    roles = {(role.value, each.app, each.identity or "") for each in active for role in each.roles}
    return AccessLists(
        {name: AccessList(sorted(may[name]), sorted(did[name]), probed.complete) for name in sorted(may)},
        AccessList(sorted(roles), sorted(acted)),
    )


def _add_apps(may: Mapping[str, Items], active: Sequence[KnownCredential]) -> None:
    for each in active:
        for purpose in may if each.purposes is None else each.purposes & may.keys():
            may[purpose].add(("app", each.app, each.identity or "", "*" if each.purposes is None else purpose))


def _add_uses(did: Mapping[str, Items], rows: Sequence[AccessCount], known: Collection[str]) -> Items:
    """Add what apps did with entries, and return what callers with a role did. The vault itself is neither."""
    acted: Items = set()
    for row in rows:
        if row.outcome != Outcome.GRANTED or row.app is None or is_internal(row.app, known):
            continue
        if row.purpose is not None and row.purpose in did and row.operation in _ON_ENTRIES:
            did[row.purpose].add((row.operation, row.app))
        if row.role is not None:
            acted.add((row.role, row.operation, row.app))
    return acted


def _grant(probe: Probe, policies: PolicySnapshot) -> tuple[str, ...]:
    defined = policies.access.get(probe.policy)
    action = probe.action.value
    if probe.action is Action.STORE:
        action = "create" if probe.new else "replace"
    return "policy", probe.policy, str(defined.version if defined else 0), probe.asks, probe.app or "", action
