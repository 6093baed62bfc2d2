"""Prepares a purge: the method's plan, the proof, the purge row, and the change for the storage."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeAlias

from vsqlvault.errors import EntryHeld, NoRetentionPolicy, PluginFailed
from vsqlvault.interfaces.purge_method import PurgeMethod, PurgeRequest
from vsqlvault.interfaces.storage import PolicySnapshot
from vsqlvault.interfaces.writes import Change, EntryIs, Expectation, OverwriteEntry, RemoveEntry, RevisionIs
from vsqlvault.model.entry import Entry
from vsqlvault.model.ids import new_timed_id
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeReason, PurgeRecord, Remove
from vsqlvault.proof.purge_proof import kept_proof, purge_proof
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.plugin_calls import call_plugin, call_plugin_in_turn

log = logging.getLogger(__name__)
REPLACE = "replace"
_LARGE = 64 * 1024
_BY_POLICY = frozenset({PurgeReason.EXPIRED, PurgeReason.RETENTION_POLICY})
BREATH = 16
"""How many proofs are computed before the event loop gets a turn."""


@dataclass(frozen=True, slots=True)
class PreparedPurge:
    """The parts of one commit: the change that destroys the entry, the purge row, and the expectations of both.

    ``guards``: the entry still has that version, and the policy revision is unchanged, so no legal hold was placed meanwhile.
    """

    change: Change
    record: PurgeRecord
    guards: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class ReplacedVersion:
    """What the commit of a replacing value needs in addition; ``guards`` as for a prepared purge."""

    record: PurgeRecord
    guards: tuple[Expectation, ...]


PurgeRefused: TypeAlias = EntryHeld | NoRetentionPolicy | PluginFailed
"""Why an entry was not purged."""


class Purger:
    """Holds the purge methods and implements the only way to destroy an entry.

    The proof and the row are created here, so no method can skip them. Legal holds are checked here, and each commit expects
    the policy revision to be unchanged, so no path can bypass them.
    """

    def __init__(self, methods: Mapping[str, PurgeMethod], timeout_seconds: float) -> None:
        self._methods = dict(methods)
        self._timeout_seconds = timeout_seconds

    @property
    def method_names(self) -> list[str]:
        """The names of the methods that a retention policy may name, sorted."""
        return sorted(self._methods)

    def retires_id(self, policy: RetentionPolicy) -> bool:
        """Whether the policy's method leaves a row, so that the id is never used again."""
        method = self._methods.get(policy.purge_method)
        return method is None or method.retires_id

    async def prepare(
        self,
        call: Call,
        entry: Entry,
        value: bytes | None,
        reason: PurgeReason,
        policies: PolicySnapshot,
        now: datetime,
    ) -> PreparedPurge:
        """Return the change and the row for purging ``entry`` by the method of its purpose's policy.

        ``value`` None: the storage compares the value with its hash in the commit.

        Raises:
            EntryHeld: the entry is under legal hold. The method is not called.
            NoRetentionPolicy: its purpose has none.
            PluginFailed: the method is missing, failed, was late, or returned an invalid plan. The entry stays.
        """
        policy = _policy_if_free(call, entry, policies)
        method = self._method(policy)
        plan = await call_plugin(
            method, lambda: method.plan(PurgeRequest(entry, reason, policy)), PurgePlan, self._timeout_seconds
        )
        return _prepared(method, plan, call, entry, value, await _proof(entry, value), policy, policies, now)

    async def prepare_all(
        self,
        call: Call,
        found: Sequence[tuple[Entry, bytes]],
        reason: PurgeReason,
        policies: PolicySnapshot,
        now: datetime,
    ) -> list[PreparedPurge | PurgeRefused]:
        """Return the result of ``prepare`` for each of one purpose's entries, in order; errors are returned, not raised."""
        prepared: list[PreparedPurge | PurgeRefused | None] = [None] * len(found)
        free: list[int] = []
        policy: RetentionPolicy | None = None
        for place, (entry, _) in enumerate(found):
            try:
                policy = _policy_if_free(call, entry, policies)
                free.append(place)
            except (EntryHeld, NoRetentionPolicy) as kept:
                prepared[place] = kept
        if policy is not None:
            plans = await self._plans([found[place][0] for place in free], reason, policy)
            for done, (place, plan) in enumerate(zip(free, plans, strict=True), start=1):
                entry, value = found[place]
                proof = await _proof(entry, value) if len(value) > _LARGE else purge_proof(entry, value)
                prepared[place] = self._prepared_or_kept(plan, call, entry, value, proof, policy, policies, now)
                if done % BREATH == 0:
                    await asyncio.sleep(0)
        return [outcome or PluginFailed() for outcome in prepared]

    async def _plans(self, entries: Sequence[Entry], reason: PurgeReason, policy: RetentionPolicy) -> Sequence[Any]:
        """Return the method's plan for each entry; PluginFailed where there is none."""
        try:
            method = self._method(policy)
        except PluginFailed as missing:
            return [missing] * len(entries)
        calls = [partial(method.plan, PurgeRequest(entry, reason, policy)) for entry in entries]
        return await call_plugin_in_turn(method, calls, PurgePlan, self._timeout_seconds)

    def _prepared_or_kept(
        self,
        plan: Any,
        call: Call,
        entry: Entry,
        value: bytes,
        proof: str,
        policy: RetentionPolicy,
        policies: PolicySnapshot,
        now: datetime,
    ) -> PreparedPurge | PurgeRefused:
        if isinstance(plan, PluginFailed):
            return plan
        try:
            return _prepared(self._method(policy), plan, call, entry, value, proof, policy, policies, now)
        except PluginFailed as failed:
            return failed

    def _method(self, policy: RetentionPolicy) -> PurgeMethod:
        method = self._methods.get(policy.purge_method)
        if method is None:
            log.error("no plugin offers the purge method", extra={"purge_method": policy.purge_method})
            raise PluginFailed
        return method

    async def replaced(
        self,
        call: Call,
        entry: Entry,
        value: bytes | None,
        reason: PurgeReason,
        policies: PolicySnapshot,
        now: datetime,
    ) -> ReplacedVersion:
        """Return the row for a version whose value is replaced. ``value`` as for ``prepare``.

        Raises:
            EntryHeld: the version is under legal hold. NoRetentionPolicy: its purpose has none.
        """
        policy = _policy_if_free(call, entry, policies)
        record = _record(call, entry, await _proof(entry, value), reason, policy, now, REPLACE)
        return ReplacedVersion(record, _guards(entry, policies))


async def _proof(entry: Entry, value: bytes | None) -> str:
    """Return the proof, computed in a thread if the value is large."""
    if value is None:
        return kept_proof(entry)
    return await asyncio.to_thread(purge_proof, entry, value) if len(value) > _LARGE else purge_proof(entry, value)


def _prepared(
    method: PurgeMethod,
    plan: Any,
    call: Call,
    entry: Entry,
    value: bytes | None,
    proof: str,
    policy: RetentionPolicy,
    policies: PolicySnapshot,
    now: datetime,
) -> PreparedPurge:
    if not isinstance(plan.reason, PurgeReason):
        log.error("purge method gave no reason", extra={"purge_method": method.name})
        raise PluginFailed
    change = _change(method, plan, entry, value, now)
    record = _record(call, entry, proof, plan.reason, policy, now, method.name)
    return PreparedPurge(change, record, _guards(entry, policies))


def _record(
    call: Call,
    entry: Entry,
    proof: str,
    reason: PurgeReason,
    policy: RetentionPolicy,
    now: datetime,
    method: str,
) -> PurgeRecord:
    return PurgeRecord(
        purge_id=new_timed_id(now),
        purpose=entry.purpose,
        external_id=entry.external_id,
        entry_id=entry.entry_id,
        entry_version=entry.version,
        method=method,
        reason=reason,
        policy_reference=policy.reference if reason in _BY_POLICY else None,
        proof_hash=proof,
        value_size=entry.value_size,
        key_ref=entry.key_ref,
        owner_app=entry.owner_app,
        purged_at=now,
        expired_at=entry.effective_expires_at(policy.max_retention_days),
        app=call.principal.app,
        identity=call.principal.identity,
        request_id=call.request_id,
    )


def _policy_if_free(call: Call, entry: Entry, policies: PolicySnapshot) -> RetentionPolicy:
    """Return the policy under which the entry may be destroyed."""
    policies.require_free(entry, names_holds=call.principal.may_inspect_all)
    policy = policies.retention.get(entry.purpose)
    if policy is None:
        raise NoRetentionPolicy
    return policy


def _guards(entry: Entry, policies: PolicySnapshot) -> tuple[Expectation, ...]:
    return (EntryIs(entry.key, entry.stamp), RevisionIs(policies.revision))


def _change(method: PurgeMethod, plan: PurgePlan, entry: Entry, value: bytes | None, now: datetime) -> Change:
    """Return the change for the storage, if the plan is valid and consistent with the method's declaration."""
    disposal = plan.disposal
    if isinstance(disposal, Remove) and not method.retires_id:
        return RemoveEntry(entry.key)
    if isinstance(disposal, Overwrite) and method.retires_id:
        filler = disposal.filler
        if isinstance(filler, bytes) and len(filler) == (entry.value_size if value is None else len(value)):
            return OverwriteEntry(entry.key, filler, now, method.name)
        log.error("purge method returned a filler of the wrong length", extra={"purge_method": method.name})
        raise PluginFailed
    log.error("purge method's plan contradicts its retires_id", extra={"purge_method": method.name})
    raise PluginFailed
