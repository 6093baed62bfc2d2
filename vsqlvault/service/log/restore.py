"""After a restored database: repeats purges that the restore undid, and confirms the database."""

from __future__ import annotations

import json
from collections.abc import Iterable

from vsqlvault.errors import EntryHeld, NoRetentionPolicy, PluginFailed
from vsqlvault.interfaces.writes import Committed, Write
from vsqlvault.model.audit import Operation
from vsqlvault.model.entry import EntryKey, EntryState
from vsqlvault.model.principal import Call
from vsqlvault.model.purge import PurgeReason
from vsqlvault.proof.restores import in_rows, join_notes
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.recorder import AuditContext, Auditor
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.quarantine import Quarantine
from vsqlvault.service.log.restored_rules import RepeatedRules
from vsqlvault.service.purge.purger import REPLACE, Purger
from vsqlvault.service.roles import require_admin

MAX_ATTEMPTS = 8
NOT_CONTINUED = "the stored log does not continue these checkpoints"
FURTHER = f"{NOT_CONTINUED}; the next row confirms the restore"


@dataclass(frozen=True, slots=True)
class Tombstone:
    """A purge recorded in an export: this entry was destroyed, in this version."""

    key: EntryKey
    entry_id: str
    version: int


@dataclass(slots=True)
class RestoreCount:
    """The result of repeating purges. ``kept``: under legal hold, without retention policy, or the method failed."""

    purged: int = 0
    kept: int = 0


def tombstones_in(leaves: Iterable[bytes]) -> Iterable[Tombstone]:
    """Yield the tombstones among verified leaves. A replaced version is none: its entry lived on."""
    for leaf in leaves:
        if leaf.startswith(b'{"purge":'):
            row = json.loads(leaf)["purge"]
            if row["method"] != REPLACE:
                yield Tombstone(
                    EntryKey(row["purpose"], row["external_id"]), row["entry_id"], int(row["entry_version"])
                )


class Restore:
    """The operator's steps before a quarantined vault serves again."""

    def __init__(
        self, *, queue: CommitQueue, auditor: Auditor, policy_cache: PolicyCache, purges: Purger, quarantine: Quarantine
    ) -> None:
        self._queue = queue
        self._auditor = auditor
        self._policy_cache = policy_cache
        self._purges = purges
        self._quarantine = quarantine

    async def purge_again(self, call: Call, tombstones: Iterable[Tombstone]) -> RestoreCount:
        """Purge each entry that is present though it had been purged, with a row and a proof like any other.

        Raises:
            RoleRequired, Unavailable. Completed purges remain, and a second run continues.
        """
        require_admin(call)
        count = RestoreCount()
        for tombstone in tombstones:
            for _ in range(MAX_ATTEMPTS):
                purged = await self._purge_again(call, tombstone)
                if purged is not None:
                    count.purged += purged
                    break
            else:
                count.kept += 1
        return count

    async def confirm(
        self, call: Call, count: RestoreCount, known: Iterable[str] = (), repeated: RepeatedRules | None = None
    ) -> bool:
        """Record that an operator accepts the present database, which ends the quarantine.

        The rows have the checkpoints that the stored log does not continue: those of the quarantine, those that anchors
        keep, and those among ``known``. A verifier accepts such a checkpoint only because a row has it. The last row has
        those of the quarantine, because it ends the quarantine. It also says what was purged and ``repeated``.

        Returns:
            Whether there was such a checkpoint, and therefore a row.

        Raises:
            RoleRequired, Unavailable.
        """
        trace = AuditContext(call, Operation.CONFIRM_RESTORE)

        async def attempt() -> bool:
            require_admin(call)
            notes = self._quarantine.notes
            trace.observe(await self._queue.read())
            further = await self._quarantine.discontinued([*known, *await self._quarantine.kept_by_anchors()])
            rows = list(in_rows([*(note for note in further if note not in notes), *notes]))
            why = f"{self._quarantine.why or NOT_CONTINUED}; purged again: {count.purged}, not purged: {count.kept}"
            why = "; ".join([why, *(repeated.summary() if repeated else ())])
            for number, some in enumerate(rows, start=1):
                detail = why if number == len(rows) else FURTHER
                await self._queue.record(trace.granted(new_value=join_notes(some), detail=detail))
            return bool(rows)

        return await self._auditor.run_audited(trace, attempt)

    async def _purge_again(self, call: Call, tombstone: Tombstone) -> bool | None:
        """Return whether the entry was present and is purged; None if it could not be purged now."""
        snapshot = await self._queue.read(tombstone.key, with_value=True)
        policies = await self._policy_cache.at(snapshot.revision)
        entry = snapshot.entry
        if entry is None or entry.entry_id != tombstone.entry_id or entry.version > tombstone.version:
            return False
        if snapshot.value is None or entry.state(snapshot.now, None) is EntryState.PURGED:
            return False
        try:
            purge = await self._purges.prepare(
                call, entry, snapshot.value, PurgeReason.RESTORED_THEN_PURGED, policies, snapshot.now
            )
        except (EntryHeld, NoRetentionPolicy, PluginFailed):
            return None
        trace = AuditContext(call, Operation.PURGE, tombstone.key, subject="purged before the database was restored")
        trace.observe(snapshot)
        outcome = await self._queue.commit(Write((trace.granted(),), purge.guards, (purge.change,), (purge.record,)))
        return True if isinstance(outcome, Committed) else None
