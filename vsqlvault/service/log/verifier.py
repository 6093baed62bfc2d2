"""Verifies the log and the tables in the background, again and again, and records each result."""

from __future__ import annotations

import json
import logging
import secrets
import time
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any, cast

from vsqlvault.interfaces.storage import EntryQuery, LogQuery, Read, Snapshot, Storage
from vsqlvault.model.audit import AccessRecord, Operation
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.principal import SYSTEM, Call
from vsqlvault.model.times import format_time, from_micros, stored_time, to_micros
from vsqlvault.model.verification import RecordedVerification
from vsqlvault.proof.credential_replay import VaultReplay
from vsqlvault.proof.key_roll import KeyRoll, open_roll
from vsqlvault.proof.note import NoteRefused, VerifierKey, open_note
from vsqlvault.proof.state_replay import StateReplay
from vsqlvault.proof.table_check import StateFinding, TableCheck
from vsqlvault.service.audit.recorder import AuditContext
from vsqlvault.service.commit.queue import CommitQueue
from vsqlvault.service.log.archive.rows import archive_documents
from vsqlvault.service.log.pacing import Pace, PacedSource, PacedStorage
from vsqlvault.service.log.state_check import TableReader, check_state
from vsqlvault.service.log.verification import StorageSource, verify_log
from vsqlvault.service.tasks import Lease, LeasedTask

log = logging.getLogger(__name__)
LEASE = "log verification"
LEASE_SECONDS = 90.0
RENEW_SECONDS = 20.0
CURSOR = "log verification"
"""The cursor whose position is the time of the newest result, in microseconds."""
CHECK_INTERVAL_SECONDS = 60.0
FIRST_AFTER = timedelta(hours=1)
AGAIN_AFTER = timedelta(hours=1)
"""How soon the log is verified again after a result with findings: an operator may have repaired the cause."""
BEGINS_AT = 0.75
"""The part of the interval after which the next verification begins. It has the rest of the interval to end."""
RESTS_FOR = 0.125
"""The part of the interval in which it rests."""
MAX_LISTED = 20
MAX_TEXT = 300
CONFIRMATIONS = 3
MAX_CONFIRMED = 1_000
READ_AT_ONCE = 200
ROLLS = 100


class LogVerifier:
    """Verifies what ``vsql-vault verify`` verifies, with the verifier keys of the settings (PCI DSS 4.0.1, 10.3.4).

    One process of those that share a storage does it. Each result is a row ``verify-log``. A person who trusts neither the
    vault nor its host verifies with a key of her own.
    """

    def __init__(
        self,
        *,
        storage: Storage,
        queue: CommitQueue,
        keys: Sequence[VerifierKey],
        interval_hours: float,
        check_seconds: float = CHECK_INTERVAL_SECONDS,
    ) -> None:
        """``interval_hours`` 0 and empty ``keys`` disable it."""
        self._storage = storage
        self._queue = queue
        self._keys = tuple(keys)
        self._first_row_at: datetime | None = None
        self.interval = timedelta(hours=interval_hours)
        self.is_enabled = bool(keys) and interval_hours > 0
        self.known: RecordedVerification | None = None
        """The newest result that this process has read."""
        self.on_result: Callable[[], None] | None = None
        """Called when a result was recorded."""
        lease = Lease(storage, LEASE, LEASE_SECONDS, renew_after_seconds=RENEW_SECONDS)
        self.task = LeasedTask(lease, "log verification", self.step, check_seconds)
        """Looks once a minute whether a verification is due."""

    async def newest(self) -> RecordedVerification | None:
        """Return the newest recorded result, by any process. Raises Unavailable."""
        micros = (await self._storage.cursors()).get(CURSOR)
        if micros is None:
            return None
        at = from_micros(micros)
        query = LogQuery(
            limit=1, since=at, until=at + timedelta(microseconds=1), equals={"operation": Operation.VERIFY_LOG.value}
        )
        rows = await self._storage.access_log(query)
        self.known = _parsed(rows[0].record) if rows else None
        return self.known

    async def due_at(self, now: datetime) -> datetime:
        """Return when a verification must have ended. Raises Unavailable."""
        newest = await self.newest()
        return (newest.finished_at if newest else await self._first_row(now)) + self.interval

    async def step(self) -> None:
        """Verify if it is time, and if it is this process's turn. Raises Unavailable."""
        now = (await self._queue.read()).now
        if self.is_enabled and now >= await self._begins_at(now) and await self.task.lead():
            await self.verify()

    async def verify(self) -> RecordedVerification | None:
        """Verify now and record the result. None: the task was asked to stop, or another process has the lease.

        Raises:
            Unavailable.
        """
        started_at = (await self._queue.read()).now
        pace = Pace(self._queue, (self.interval * RESTS_FOR).total_seconds())

        async def rest() -> None:
            if self.task.is_stopping or not await self.task.lead():
                raise _Stopped
            await pace.rest()

        began = time.monotonic()
        try:
            result = await self._examine(started_at, PacedStorage(self._storage, rest), pace, rest)
        except _Stopped:
            return None
        facts = {"seconds": round(time.monotonic() - began, 1), "leaves": result.leaves, "findings": result.findings}
        if result.is_good:
            log.info("the log and the tables were verified", extra=facts)
        else:
            log.error("the log or the tables are not as they were signed: run vsql-vault verify", extra=facts)
        await self._record(result)
        return result

    async def _examine(
        self, started_at: datetime, paced: PacedStorage, pace: Pace, rest: Callable[[], Any]
    ) -> RecordedVerification:
        storage = cast("Storage", paced)
        source, replay = StorageSource(storage), VaultReplay()
        keys = await self.trusted_keys()
        archives = await archive_documents(self._storage)
        verdict = await verify_log(PacedSource(source, rest), keys, replay=replay, archives=archives)
        state = await check_state(storage, source, replay)
        pace.hurry()
        differing = await self._confirmed(source, replay, state.findings)
        verdict = verdict.with_tables(differing)
        found = [f"leaf {each.index}: {each.what}" for each in verdict.findings]
        found += [f"{each.table}, {each.key}: {each.what}" for each in differing]
        found += [f"leaf {index}: {what}" for index, what in replay.credentials.findings]
        return RecordedVerification(
            started_at=started_at,
            finished_at=(await self._queue.read()).now,
            leaves=verdict.size,
            checkpoints=verdict.checkpoints,
            waiting=source.waiting,
            entries=state.entries,
            values=state.values,
            findings=len(found),
            listed=tuple(text[:MAX_TEXT] for text in found[:MAX_LISTED]),
            archived=verdict.archived,
        )

    async def _confirmed(
        self, source: StorageSource, replay: StateReplay, findings: Sequence[StateFinding]
    ) -> Sequence[StateFinding]:
        """Return the findings that are still there when only they are compared.

        A paced comparison reads an entry long after its rows. An entry that changes all the time differs each time; compared
        at once, it does not.
        """
        for _ in range(CONFIRMATIONS):
            if not findings or len(findings) > MAX_CONFIRMED:
                break
            async for leaf in source.tail():
                replay.take(source.size, leaf, is_waiting=True)
            named = [each.key for each in findings if each.table == "entries"]
            state = replay.state.copy()
            check = TableCheck(state)
            await TableReader(cast("Storage", _OnlyEntries(self._storage, named)), state, check).run()
            still = {(each.table, each.key) for each in check.findings}
            findings = [each for each in findings if (each.table, each.key) in still]
        return findings

    async def _record(self, result: RecordedVerification) -> None:
        context = AuditContext(Call(SYSTEM, secrets.token_hex(16)), Operation.VERIFY_LOG)
        context.at = result.finished_at
        await self._queue.record(context.granted(new_value=_document(result), detail=_summary(result)))
        await self._storage.save_cursor(CURSOR, to_micros(result.finished_at))
        self.known = result
        if self.on_result is not None:
            self.on_result()

    async def _begins_at(self, now: datetime) -> datetime:
        newest = await self.newest()
        if newest is None:
            return await self._first_row(now) + min(FIRST_AFTER, self.interval * BEGINS_AT)
        wait = self.interval * BEGINS_AT
        return newest.finished_at + (wait if newest.is_good else min(wait, AGAIN_AFTER))

    async def _first_row(self, now: datetime) -> datetime:
        """Return the time of the first row, or ``now`` where there is none yet."""
        if self._first_row_at is None:
            rows = await self._storage.access_log(LogQuery(limit=1, oldest_first=True))
            self._first_row_at = rows[0].record.at if rows else None
        return self._first_row_at or now

    async def trusted_keys(self) -> Sequence[VerifierKey]:
        """Return the keys of the settings, and older keys that they have replaced.

        Both keys sign a change, so a trusted new key has signed the old one. Raises Unavailable.
        """
        oldest = await self._storage.checkpoints(0, 1)
        if not oldest or _is_signed_by(oldest[0].note, self._keys):
            return self._keys
        keys = list(self._keys)
        query = LogQuery(limit=ROLLS, equals={"operation": Operation.ROTATE_SIGNING_KEY.value})
        for row in await self._storage.access_log(query):
            if (old := _replaced_key(row.record.new_value or "", keys)) is not None:
                keys.append(old)
        return keys


class _Stopped(Exception):
    """The verification was asked to stop."""


class _OnlyEntries:
    """A storage of which only the named entries are listed."""

    def __init__(self, inner: Storage, names: Sequence[str]) -> None:
        self._inner = inner
        self._keys = [EntryKey(purpose, name) for purpose, _, name in (each.partition("/") for each in names)]

    def __getattr__(self, name: str) -> Any:
        """Return a member of the inner storage."""
        return getattr(self._inner, name)

    async def entries(self, query: EntryQuery) -> Sequence[Entry]:
        """Return the named entries of a purpose, all on one page."""
        if query.after is not None:
            return []
        keys = [key for key in self._keys if key.purpose == query.purpose]
        found: list[Snapshot] = []
        for place in range(0, len(keys), READ_AT_ONCE):
            found += await self._inner.read([Read(key) for key in keys[place : place + READ_AT_ONCE]])
        return [snapshot.entry for snapshot in found if snapshot.entry is not None]


def _is_signed_by(note: str, keys: Sequence[VerifierKey]) -> bool:
    try:
        open_note(note, keys)
    except NoteRefused:
        return False
    return True


def _replaced_key(note: str, keys: Sequence[VerifierKey]) -> VerifierKey | None:
    """Return the old key of a change to a trusted key that both have signed."""
    try:
        roll = KeyRoll.parse(note.rpartition("\n\n")[0] + "\n")
        return roll.old if roll.new in keys and open_roll(note, [roll.old]) == roll.new else None
    except NoteRefused:
        return None


def _summary(result: RecordedVerification) -> str:
    reach = f"{result.leaves} leaves, {result.entries} entries, {result.values} values"
    return f"{reach}: {'verified' if result.is_good else f'{result.findings} differences'}"


def _document(result: RecordedVerification) -> str:
    counts = {name: getattr(result, name) for name in _COUNTS}
    document = {
        "started_at": format_time(result.started_at),
        "finished_at": format_time(result.finished_at),
        **counts,
        "listed": list(result.listed),
    }
    if result.archived:
        document["archived"] = result.archived
    return json.dumps(document, ensure_ascii=False)


_COUNTS = ("leaves", "checkpoints", "waiting", "entries", "values", "findings")


def _parsed(record: AccessRecord) -> RecordedVerification | None:
    """Return the result in a row; None if the row has another form."""
    try:
        document = json.loads(record.new_value or "")
        return RecordedVerification(
            started_at=stored_time(document["started_at"]),
            finished_at=stored_time(document["finished_at"]),
            **{name: int(document[name]) for name in _COUNTS},
            listed=tuple(map(str, document["listed"])),
            archived=int(document.get("archived", 0)),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
