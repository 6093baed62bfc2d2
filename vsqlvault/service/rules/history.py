"""The history of policies and legal holds: every version, and the differences between two."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from typing import Any, TypeVar

from vsqlvault.errors import HoldNotFound, PolicyNotFound, VaultError
from vsqlvault.interfaces.storage import PolicySnapshot, Storage, VersionQuery
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.audit.rule_documents import StoredRule, version_document
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.roles import require_reader
from vsqlvault.service.rules.rule_changes import Rules

Found = TypeVar("Found")
_OF_THE_VERSION = ("version", "created_by", "created_at")
ABSENT = object()
"""Marks a member that one of two documents lacks."""


class RuleKind(StrEnum):
    """What has versions."""

    ACCESS_POLICY = "access policy"
    RETENTION_POLICY = "retention policy"
    LEGAL_HOLD = "legal hold"

    @property
    def read(self) -> Operation:
        """The audited operation of reading it."""
        return {
            RuleKind.ACCESS_POLICY: Operation.READ_ACCESS_POLICY,
            RuleKind.RETENTION_POLICY: Operation.READ_RETENTION_POLICY,
            RuleKind.LEGAL_HOLD: Operation.READ_LEGAL_HOLD,
        }[self]

    @property
    def missing(self) -> type[VaultError]:
        """The error if it does not exist."""
        return HoldNotFound if self is RuleKind.LEGAL_HOLD else PolicyNotFound


@dataclass(frozen=True, slots=True)
class Difference:
    """One differing member: its JSON Pointer (RFC 6901), and its value or ``ABSENT`` on either side."""

    path: str
    old: Any
    new: Any


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two versions of a policy or hold and their differences, except version, author and time."""

    old: StoredRule
    new: StoredRule
    differences: tuple[Difference, ...]


class History:
    """Returns to admins and auditors which version was in force when, and its author."""

    def __init__(self, *, storage: Storage, queue: CommitQueue, policy_cache: PolicyCache, auditor: Auditor) -> None:
        self._auditor = auditor
        self._queue = queue
        self._policy_cache = policy_cache
        self._rules = Rules(queue, policy_cache, auditor)
        self._pagers: Mapping[RuleKind, Callable[[VersionQuery], Awaitable[Sequence[StoredRule]]]] = {
            RuleKind.ACCESS_POLICY: storage.access_policy_versions,
            RuleKind.RETENTION_POLICY: storage.retention_policy_versions,
            RuleKind.LEGAL_HOLD: storage.legal_hold_versions,
        }

    async def versions(self, call: Call, kind: RuleKind, query: VersionQuery) -> Sequence[StoredRule]:
        """Return a page, newest first. Raises PolicyNotFound or HoldNotFound if it never existed; RoleRequired."""

        async def look(policies: PolicySnapshot) -> Sequence[StoredRule]:
            found = await self._page(kind, query, policies)
            if not found and query.before is None:
                raise kind.missing
            return found

        return await self._reading(_trace(call, kind, query.name, "versions"), look)

    async def version(self, call: Call, kind: RuleKind, name: str, number: int) -> StoredRule:
        """Return one version. Raises PolicyNotFound, HoldNotFound, RoleRequired."""
        trace = _trace(call, kind, name, f"v{number}")
        return await self._reading(trace, lambda policies: self._one(kind, name, number, policies))

    async def compare(self, call: Call, kind: RuleKind, name: str, number: int, old_number: int) -> Comparison:
        """Return the differences between the versions ``old_number`` and ``number``. Raises as ``version``."""

        async def look(policies: PolicySnapshot) -> Comparison:
            old = await self._one(kind, name, old_number, policies)
            new = await self._one(kind, name, number, policies)
            return Comparison(old, new, tuple(differences(_content(old), _content(new))))

        return await self._reading(_trace(call, kind, name, f"v{old_number} to v{number}"), look)

    async def _reading(self, trace: AuditContext, look: Callable[[PolicySnapshot], Awaitable[Found]]) -> Found:
        async def attempt() -> Found:
            require_reader(trace.call)
            found = await look(await self._rules.current(trace))
            await self._queue.record(trace.granted())
            return found

        return await self._auditor.run_audited(trace, attempt)

    async def _one(self, kind: RuleKind, name: str, number: int, policies: PolicySnapshot) -> StoredRule:
        found = await self._page(kind, VersionQuery(name=name, limit=1, before=number + 1), policies)
        if not found or found[0].version != number:
            raise kind.missing(f"it has no version {number}")
        return found[0]

    async def _page(self, kind: RuleKind, query: VersionQuery, policies: PolicySnapshot) -> Sequence[StoredRule]:
        if kind is RuleKind.ACCESS_POLICY and self._policy_cache.is_built_in(query.name):
            built_in = policies.access[query.name]
            return [built_in] if query.before is None or built_in.version < query.before else []
        return await self._pagers[kind](query)


def differences(old: Any, new: Any, path: str = "") -> Iterator[Difference]:
    """Yield the differences of two JSON values, member by member of objects; any other value is compared as a whole."""
    if isinstance(old, dict) and isinstance(new, dict):
        for name in sorted(old.keys() | new.keys()):
            pointer = f"{path}/{name.replace('~', '~0').replace('/', '~1')}"
            yield from differences(old.get(name, ABSENT), new.get(name, ABSENT), pointer)
    elif old is not new and (type(old) is not type(new) or old != new):
        yield Difference(path, old, new)


def _content(rule: StoredRule) -> dict[str, Any]:
    return {name: value for name, value in version_document(rule).items() if name not in _OF_THE_VERSION}


def _trace(call: Call, kind: RuleKind, name: str, what: str) -> AuditContext:
    purpose = name if kind is RuleKind.RETENTION_POLICY else None
    return AuditContext(call, kind.read, purpose=purpose, subject=f"{name} {what}")
