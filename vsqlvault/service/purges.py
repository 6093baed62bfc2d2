"""Preparing the end of an entry: the method's plan, the proof, the row, and what storage has to do."""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from vsqlvault.errors import PluginFailed
from vsqlvault.interfaces.purge_method import PurgeMethod, PurgeRequest
from vsqlvault.interfaces.storage import Change, OverwriteEntry, RemoveEntry
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
    """What belongs into one commit: the end of the entry and the row that proves it."""

    change: Change
    record: PurgeRecord


class Purges:
    """Knows the purge methods. The proof and the row are made here, so no method can skip them."""

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
        self, call: Call, entry: Entry, value: bytes, reason: PurgeReason, policy: RetentionPolicy, now: datetime
    ) -> PreparedPurge:
        """Return the change and the row for purging ``entry`` by the policy's method.

        Raises:
            PluginFailed: the method is not there, failed, was late, or planned what cannot be done. The entry stays.
        """
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
        return PreparedPurge(change, record)

    async def replaced(
        self, call: Call, entry: Entry, value: bytes, reason: PurgeReason, policy: RetentionPolicy, now: datetime
    ) -> PurgeRecord:
        """Return the row for a version whose bytes a new value takes the place of."""
        return await self._record(call, entry, value, reason, policy, now, REPLACE)

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
