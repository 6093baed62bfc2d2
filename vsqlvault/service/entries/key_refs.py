"""Lists the encryption keys in use, for rotating and retiring keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime

from vsqlvault.interfaces.statistics import KeyRefUse
from vsqlvault.interfaces.storage import KeyRefQuery, PolicySnapshot, Storage
from vsqlvault.model.audit import Operation
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.purge.sweeper import retention_limits
from vsqlvault.service.roles import require_reader


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRefRequest:
    """Which key_refs to list, and how many. ``after`` is the purpose and key_ref of the last one on the previous page."""

    limit: int
    purpose: str | None = None
    key_ref: str | None = None
    after: tuple[str, str | None] | None = None


@dataclass(frozen=True, slots=True)
class KeyRefsListed:
    """A page: each use with its purpose, and whether there are more."""

    uses: tuple[tuple[str, KeyRefUse], ...]
    more: bool


class KeyRefs:
    """Key usage for admins and auditors. The vault knows keys only by their ``key_ref``."""

    def __init__(self, *, storage: Storage, queue: CommitQueue, policy_cache: PolicyCache, auditor: Auditor) -> None:
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._auditor = auditor

    async def list(self, call: Call, wanted: KeyRefRequest) -> KeyRefsListed:
        """Return a page, by purpose and then by key_ref. A key_ref without entries is not listed.

        Raises:
            RoleRequired, Unavailable.
        """
        trace = AuditContext(call, Operation.READ_KEY_REFS)

        async def attempt() -> KeyRefsListed:
            require_reader(call)
            snapshot = await self._queue.read()
            trace.observe(snapshot)
            policies = await self._policy_cache.at(snapshot.revision)
            uses: list[tuple[str, KeyRefUse]] = []
            for query in _queries(wanted, policies, snapshot.now):
                left = wanted.limit + 1 - len(uses)  # one more than requested shows whether there are more
                if left == 0:
                    break
                uses += [(query.purpose, use) for use in await self._storage.key_refs(replace(query, limit=left))]
            await self._queue.record(trace.granted(detail=_described(wanted)))
            return KeyRefsListed(tuple(uses[: wanted.limit]), more=len(uses) > wanted.limit)

        return await self._auditor.run_audited(trace, attempt)


def _queries(wanted: KeyRefRequest, policies: PolicySnapshot, now: datetime) -> Iterator[KeyRefQuery]:
    """Yield one query per requested purpose that is not complete. Purposes without a retention policy have no entries."""
    started, last_seen = wanted.after or ("", None)
    for purpose, retention_limit in sorted(retention_limits(policies, now).items()):
        if purpose < started or wanted.purpose not in {None, purpose}:
            continue
        begun = purpose == started
        if begun and wanted.key_ref is not None:
            continue
        yield KeyRefQuery(
            purpose=purpose,
            now=now,
            created_before=retention_limit,
            limit=wanted.limit,
            after=(last_seen or "") if begun else None,
            key_ref=wanted.key_ref,
        )


def _described(wanted: KeyRefRequest) -> str | None:
    names = [name for name in ("key_ref", "purpose") if getattr(wanted, name) is not None]
    return "filters: " + ", ".join(names) if names else None
