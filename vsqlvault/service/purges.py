"""Preparing the end of an entry: the method's plan, the proof, the row, and what storage has to do."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from vsqlvault.errors import EntryHeld, NoRetentionPolicy, PluginFailed
from vsqlvault.interfaces.purge_method import PurgeMethod, PurgeRequest
from vsqlvault.interfaces.storage import (
    Change,
    EntryIs,
    Expectation,
    OverwriteEntry,
    RemoveEntry,
    RevisionIs,
    Rulebook,
)
from vsqlvault.model.entry import Entry
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import Overwrite, PurgePlan, PurgeReason, PurgeRecord, Remove
from vsqlvault.proof.purge_proof import purge_proof
from vsqlvault.service.plugin_calls import call_plugin

log = logging.getLogger(__name__)
REPLACE = "replace"
_LARGE = 64 * 1024


@dataclass(frozen=True, slots=True)
class PreparedPurge:
    """What belongs into one commit: the end of the entry, the row that proves it, and what both rest on.

    ``guards``: the entry is still that version, and no rule has changed, so no legal hold has come to keep it.
    """

    change: Change
    record: PurgeRecord
    guards: tuple[Expectation, ...]


@dataclass(frozen=True, slots=True)
class ReplacedVersion:
    """What the commit of the value that takes a version's place needs beside it; ``guards`` as of a prepared purge."""

    record: PurgeRecord
    guards: tuple[Expectation, ...]


class Purges:
    """Knows the purge methods, and the one way to the end of an entry, whoever asks for it.

    The proof and the row are made here, so no method can skip them. Legal holds are heeded here, and each commit is given the
    guard that no rule has changed, so no path can miss them.
    """

    def __init__(self, methods: Mapping[str, PurgeMethod], timeout_seconds: float) -> None:
        self._methods = dict(methods)
        self._timeout_seconds = timeout_seconds

    @property
    def method_names(self) -> list[str]:
        """The methods a retention policy may name, sorted."""
        return sorted(self._methods)

    def retires_id(self, policy: RetentionPolicy) -> bool:
        """Whether the policy's method leaves a row, so that the id is never used again."""
        method = self._methods.get(policy.purge_method)
        return method is None or method.retires_id

    async def prepare(
        self, call: Call, entry: Entry, value: bytes, reason: PurgeReason, book: Rulebook, now: datetime
    ) -> PreparedPurge:
        """Return the change and the row for purging ``entry`` by the method of its purpose's policy.

        Raises:
            EntryHeld: a legal hold keeps the entry. The method is not asked.
            NoRetentionPolicy: its purpose has none.
            PluginFailed: the method is not there, failed, was late, or planned what cannot be done. The entry stays.
        """
        policy = _policy_if_free(call, entry, book)
        method = self._methods.get(policy.purge_method)
        if method is None:
            log.error("no plugin offers the purge method", extra={"purge_method": policy.purge_method})
            raise PluginFailed
        plan = await call_plugin(
            method, lambda: method.plan(PurgeRequest(entry, reason, policy)), PurgePlan, self._timeout_seconds
        )
        if not isinstance(plan.reason, PurgeReason):
            log.error("purge method gave no reason", extra={"purge_method": method.name})
            raise PluginFailed
        change = _change(method, plan, entry, value, now)
        record = await self._record(call, entry, value, plan.reason, policy, now, method.name)
        return PreparedPurge(change, record, _guards(entry, book))

    async def replaced(
        self, call: Call, entry: Entry, value: bytes, reason: PurgeReason, book: Rulebook, now: datetime
    ) -> ReplacedVersion:
        """Return the row for a version whose bytes a new value takes the place of.

        Raises:
            EntryHeld: a legal hold keeps the version. NoRetentionPolicy: its purpose has none.
        """
        policy = _policy_if_free(call, entry, book)
        record = await self._record(call, entry, value, reason, policy, now, REPLACE)
        return ReplacedVersion(record, _guards(entry, book))

    async def _record(
        self,
        call: Call,
        entry: Entry,
        value: bytes,
        reason: PurgeReason,
        policy: RetentionPolicy,
        now: datetime,
        method: str,
    ) -> PurgeRecord:
        large = len(value) > _LARGE
        proof = await asyncio.to_thread(purge_proof, entry, value) if large else purge_proof(entry, value)
        by_policy = reason in {PurgeReason.EXPIRED, PurgeReason.RETENTION_POLICY}
        return PurgeRecord(
            purge_id=secrets.token_hex(16),
            purpose=entry.purpose,
            external_id=entry.external_id,
            entry_id=entry.entry_id,
            entry_version=entry.version,
            method=method,
            reason=reason,
            policy_reference=policy.reference if by_policy else None,
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


def _policy_if_free(call: Call, entry: Entry, book: Rulebook) -> RetentionPolicy:
    """Return the policy under which the entry may be destroyed; which holds keep it only admins and auditors are told."""
    if holds := book.holds_on(entry):
        raise EntryHeld([hold.reference for hold in holds], named=call.principal.may_inspect_all)
    policy = book.retention.get(entry.purpose)
    if policy is None:
        raise NoRetentionPolicy
    return policy


def _guards(entry: Entry, book: Rulebook) -> tuple[Expectation, ...]:
    return (EntryIs(entry.key, entry.stamp), RevisionIs(book.revision))


def _change(method: PurgeMethod, plan: PurgePlan, entry: Entry, value: bytes, now: datetime) -> Change:
    """Return what storage has to do, if the plan is one that can be done and keeps the method's word."""
    disposal = plan.disposal
    if isinstance(disposal, Remove) and not method.retires_id:
        return RemoveEntry(entry.key)
    if isinstance(disposal, Overwrite) and method.retires_id:
        filler = disposal.filler
        if isinstance(filler, bytes) and len(filler) == len(value):
            return OverwriteEntry(entry.key, filler, now, method.name)
        log.error("purge method gave a filler of the wrong length", extra={"purge_method": method.name})
        raise PluginFailed
    log.error("purge method's plan and its retires_id disagree", extra={"purge_method": method.name})
    raise PluginFailed
