"""Replays past requests under a candidate access policy, before it is used."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime

from vsqlvault.errors import BuiltInPolicy, FieldError, InvalidQuery, PluginFailed, ReplayRunning
from vsqlvault.interfaces.storage import LogQuery, PolicySnapshot, Storage, VersionQuery
from vsqlvault.model.access import Action, Allow, Decision, Deny
from vsqlvault.model.audit import AccessRecord, Operation, Outcome
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.policy import DEFAULT_EVALUATOR, DEFAULT_POLICY, AccessPolicy
from vsqlvault.model.principal import Call
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.access.authorizer import Authorizer
from vsqlvault.service.access.recorded_decision import Guesser, RecordedDecision, Unknown, said_of
from vsqlvault.service.audit.recorder import CREATED, AuditContext, Auditor
from vsqlvault.service.audit.rule_documents import access_policy_document, as_json
from vsqlvault.service.commit.policy_cache import PolicyCache
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.roles import require_reader

PAGE = 1_000
MAX_CHANGES = 1_000
BREATH = 50
"""The number of rows to decide before other tasks get a turn."""

_ACTIONS = {
    Operation.STORE: Action.STORE,
    Operation.UPDATE: Action.STORE,
    Operation.RETRIEVE: Action.RETRIEVE,
    Operation.INSPECT: Action.INSPECT,
    Operation.PURGE: Action.PURGE,
}


@dataclass(frozen=True, slots=True)
class Window:
    """Rows from ``since`` (inclusive) to ``until`` (exclusive; None: now), the newest ``limit`` of the relevant ones."""

    since: datetime
    until: datetime | None
    limit: int


@dataclass(frozen=True, slots=True)
class ChangedAnswer:
    """A request whose decision would change: its row and the candidate's decision."""

    row: AccessRecord
    would_be: Decision


@dataclass(slots=True)
class Replayed:
    """The changes of a candidate policy.

    ``rows`` is the number of rows that the policy decided, or would have decided, and that were examined. ``complete``
    is False if there were more, which are older than ``oldest``. Each row is counted once: in ``unchanged``, in one of
    the two changes, in ``refused_anyway`` if the policy would now deny a request that was refused for another reason,
    such as an expired entry, or in ``not_replayable``, by cause. ``changes`` has the newest ``MAX_CHANGES`` changes.
    """

    since: datetime
    until: datetime
    rows: int = 0
    complete: bool = False
    oldest: datetime | None = None
    unchanged: int = 0
    granted_to_denied: int = 0
    denied_to_granted: int = 0
    refused_anyway: int = 0
    not_replayable: Counter[str] = field(default_factory=Counter)
    changes: list[ChangedAnswer] = field(default_factory=list)

    @property
    def changed(self) -> int:
        """The number of decisions that would change."""
        return self.granted_to_denied + self.denied_to_granted

    def count(self, row: AccessRecord, would_be: Decision | Unknown) -> None:
        """Count one row."""
        self.rows += 1
        self.oldest = row.at
        if isinstance(would_be, Unknown):
            self.not_replayable[would_be.why] += 1
        elif type(would_be) is type(said_of(row)):
            self.unchanged += 1
        elif isinstance(would_be, Deny) and row.outcome is Outcome.DENIED:
            self.refused_anyway += 1
        else:
            self.granted_to_denied += isinstance(would_be, Deny)
            self.denied_to_granted += isinstance(would_be, Allow)
            if len(self.changes) < MAX_CHANGES:
                self.changes.append(ChangedAnswer(row, would_be))


class Replay:
    """Repeats past decisions with the real evaluators, and reports rows that it cannot decide."""

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        policy_cache: PolicyCache,
        authorizer: Authorizer,
        auditor: Auditor,
    ) -> None:
        self._storage = storage
        self._queue = queue
        self._policy_cache = policy_cache
        self._authorizer = authorizer
        self._auditor = auditor
        self._busy = asyncio.Lock()

    async def replay(self, call: Call, candidate: AccessPolicy, window: Window) -> Replayed:
        """Return which decisions of the period ``candidate`` would change, if it were in force under its name.

        Raises:
            RoleRequired, BuiltInPolicy, ValidationFailed, InvalidQuery (an invalid period), ReplayRunning (in this
            process),
            Unavailable.
        """
        trace = AuditContext(call, Operation.REPLAY_ACCESS_POLICY, subject=candidate.name)

        async def attempt() -> Replayed:
            require_reader(call)
            if self._policy_cache.is_built_in(candidate.name):
                raise BuiltInPolicy
            self._authorizer.check(candidate)
            if self._busy.locked():
                raise ReplayRunning
            async with self._busy:
                snapshot = await self._queue.read()
                trace.observe(snapshot)
                until = min(window.until, snapshot.now) if window.until else snapshot.now
                if window.since >= until:
                    raise InvalidQuery(errors=[FieldError("since", "a time before until, and before now")])
                found = Replayed(window.since, until)
                await self._go_through(found, candidate, window, await self._policy_cache.at(snapshot.revision))
            document = as_json(access_policy_document(candidate))
            await self._queue.record(trace.granted(detail=_described(candidate, found), new_value=document))
            return found

        return await self._auditor.run_audited(trace, attempt)

    async def _go_through(
        self, found: Replayed, candidate: AccessPolicy, window: Window, policies: PolicySnapshot
    ) -> None:
        """Read page after page, newest first, without blocking commits."""
        past = _Past(self._storage, candidate, policies)
        guesser = Guesser(self._authorizer, candidate)
        after: int | None = None
        while not found.complete:
            page = await self._storage.access_log(
                LogQuery(
                    limit=PAGE,
                    since=found.since,
                    until=found.until,
                    after=after,
                    equals={"policy": past.decided_by},
                )
            )
            rows = [row.record for row in page if row.record.operation in _ACTIONS]
            entries = await self._entries(rows)
            for place, row in enumerate(rows):
                case = await past.case(row, entries.get(_key(row)))
                if case is None:
                    continue
                if found.rows == window.limit:
                    return
                found.count(row, case if isinstance(case, Unknown) else await guesser.decide(*case))
                if place % BREATH == 0:
                    await asyncio.sleep(0)
            if len(page) < PAGE:
                found.complete = True
            else:
                after = page[-1].position

    async def _entries(self, rows: Sequence[AccessRecord]) -> Mapping[EntryKey, Entry]:
        """Return the current entries of the rows, without their values."""
        keys = sorted({_key(row) for row in rows})
        found: dict[EntryKey, Entry] = {}
        for start in range(0, len(keys), self._queue.slice):
            some = keys[start : start + self._queue.slice]
            snapshots = await asyncio.gather(*(self._queue.read(key) for key in some))
            found |= {snapshot.entry.key: snapshot.entry for snapshot in snapshots if snapshot.entry}
        return found


class _Past:
    """Converts rows to recorded decisions, with the entry and the policy version of that time."""

    def __init__(self, storage: Storage, candidate: AccessPolicy, policies: PolicySnapshot) -> None:
        self._storage = storage
        self._candidate = candidate
        self._book = policies
        self._versions: dict[int, AccessPolicy | None] = {}
        self._never_defined = candidate.name not in policies.access_versions
        self.decided_by = DEFAULT_POLICY if self._never_defined else candidate.name
        """The policy on the relevant rows: for a name that was never defined, the policy that replaced it."""

    async def case(
        self, row: AccessRecord, entry: Entry | None
    ) -> tuple[RecordedDecision, AccessPolicy] | Unknown | None:
        """Return the recorded decision and its policy, or None if the candidate would not have decided it."""
        if self._never_defined and (entry is None or entry.access_policy != self._candidate.name):
            return None
        old = await self._version(row.policy_version)
        if old is None:
            return Unknown("policy-version-gone")
        if row.reason == PluginFailed.reason:
            return Unknown("nothing-decided")
        then = self._entry_then(row, entry, by_rules=old.evaluator == self._candidate.evaluator == DEFAULT_EVALUATOR)
        if isinstance(then, Unknown):
            return then
        case = RecordedDecision(
            app=row.app or "",
            identity=row.identity,
            method=row.method or "",
            credential_id=row.credential_id or "",
            action=_ACTIONS[row.operation],
            key=_key(row),
            entry=then,
            at=row.at,
            said=said_of(row),
        )
        return case, old

    def _entry_then(self, row: AccessRecord, entry: Entry | None, *, by_rules: bool) -> Entry | Unknown | None:
        """Return the entry as the policy saw it. Of what a replacement changes, rules use only the counter."""
        if row.stamp is None or (row.operation is Operation.STORE and row.status == CREATED):
            return None
        if entry is None or entry.entry_id != row.stamp.entry_id:
            return Unknown("entry-gone")
        same_version = entry.stamp == row.stamp and entry.purged_at is None
        if _ACTIONS[row.operation] is Action.STORE and entry.access_policy != row.policy and not self._never_defined:
            # # It was decided by the policy that the next version would have named, for a new entry; or the entry has
            # changed since.
            return None if same_version else Unknown("entry-changed")
        return entry if same_version or by_rules else Unknown("entry-changed")

    async def _version(self, number: int | None) -> AccessPolicy | None:
        if self._never_defined:
            return self._book.access.get(DEFAULT_POLICY)
        if number is None:
            return None
        if number not in self._versions:
            query = VersionQuery(name=self._candidate.name, limit=1, before=number + 1)
            found = await self._storage.access_policy_versions(query)
            self._versions[number] = found[0] if found and found[0].version == number else None
        return self._versions[number]


def _key(row: AccessRecord) -> EntryKey:
    return EntryKey(row.purpose or "", row.external_id or "")


def _described(candidate: AccessPolicy, found: Replayed) -> str:
    unknown = sum(found.not_replayable.values())
    end = "" if found.complete else ", and there are more"
    return f"{candidate.name}: {found.rows} rows, {found.changed} would change, {unknown} not replayable{end}"
