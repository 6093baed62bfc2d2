"""Functions that run on the connection's thread: a whole batch in one call, one transaction, one flush to disk."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from hashlib import sha256
from itertools import groupby, repeat
from typing import Any

from vsqlvault.errors import OutcomeUnknown
from vsqlvault.interfaces.storage import Read, Snapshot
from vsqlvault.interfaces.writes import (
    Change,
    Committed,
    Conflict,
    CountRetrieval,
    DropAccessPolicy,
    EntryAbsent,
    EntryIs,
    Expectation,
    OverwriteEntry,
    PolicyUnused,
    RemoveEntry,
    RetrievalsBelow,
    RevisionIs,
    SaveAccessPolicy,
    SaveApiKey,
    SaveLegalHold,
    SaveRetentionPolicy,
    SaveScrub,
    SaveSweep,
    SeenWrite,
    StoreEntry,
    Write,
    WriteOutcome,
)
from vsqlvault.model.entry import EntryKey
from vsqlvault.model.times import from_micros, to_micros
from vsqlvault_plugins.storage.sql.decoding import Row
from vsqlvault_plugins.storage.sql.rows import SQLITE_ROWS
from vsqlvault_plugins.storage.sql_files import load_queries
from vsqlvault_plugins.storage.sqlite import rows, watching
from vsqlvault_plugins.storage.sqlite.file_guard import is_io_error
from vsqlvault_plugins.storage.sqlite.many_rows import in_parts, put_rows

QUERIES = load_queries("vsqlvault_plugins.storage.sqlite")
_COMMITTED = Committed()
_NO_LEAVES = repeat(None)
_OF_ENTRIES = (RemoveEntry, OverwriteEntry, CountRetrieval)
ROW_BYTES = 1_500
"""The share of a log row in the write-ahead log, with its indexes."""
HOLD_SECONDS = 5.0
LARGE = 64
"""A write with at least this many changes belongs to a sweep at full speed, which may use more memory and CPU time."""


def size_of(write: Write) -> int:
    """Return about how many bytes a write adds to the write-ahead log."""
    size = ROW_BYTES * (len(write.access) + len(write.purges))
    for change in write.changes:
        if isinstance(change, StoreEntry):
            size += len(change.value or b"")
    return size


@contextmanager
def transaction(connection: sqlite3.Connection, begin: str) -> Iterator[None]:
    """Run the block between ``begin`` and COMMIT. Any exception rolls it back.

    Raises:
        OutcomeUnknown: COMMIT had an I/O error. The write-ahead log may contain the transaction all the same.
    """
    connection.execute(QUERIES[begin])
    try:
        yield
        _commit(connection)
    except BaseException:
        if connection.in_transaction:
            connection.execute(QUERIES["rollback"])
        raise


def _commit(connection: sqlite3.Connection) -> None:
    try:
        connection.execute(QUERIES["commit"])
    except sqlite3.Error as error:
        if is_io_error(error):
            raise OutcomeUnknown from error
        raise


def read_batch(connection: sqlite3.Connection, reads: Sequence[Read], clock: Callable[[], datetime]) -> list[Snapshot]:
    """Answer a batch of reads from one consistent state."""
    with transaction(connection, "begin_read"):
        now, revision, mark = _time_and_revision(connection, clock)
        return [_snapshot(connection, read, now, revision, mark) for read in reads]


def _time_and_revision(
    connection: sqlite3.Connection, clock: Callable[[], datetime]
) -> tuple[datetime, int, datetime | None]:
    """Return the time, the revision of the rules, and the mark below which the time does not go."""
    revision, micros = connection.execute(QUERIES["revision_and_mark"]).fetchone()
    mark = None if micros is None else from_micros(micros)
    return clock() if mark is None else max(clock(), mark), revision, mark


def _snapshot(
    connection: sqlite3.Connection, read: Read, now: datetime, revision: int, mark: datetime | None
) -> Snapshot:
    if read.key is None:
        return Snapshot(now, revision, None, None, mark)
    row = connection.execute(QUERIES["entry_with_value" if read.with_value else "entry"], read.key).fetchone()
    if row is None:
        return Snapshot(now, revision, None, None, mark)
    entry = SQLITE_ROWS.entry_of(row)
    value = row[19] if read.with_value and entry.purged_at is None else None
    return Snapshot(now, revision, entry, value, mark)


class _Batch:
    """A transaction that writes, and what its statements have shown of entries and rules so far.

    Nobody else writes meanwhile, so nothing is read twice. A change drops what it makes untrue.
    """

    __slots__ = ("_guards", "_revision", "connection")

    def __init__(self, connection: sqlite3.Connection, revision: int | None = None) -> None:
        self.connection = connection
        self._revision = revision
        self._guards: dict[EntryKey, Any] = {}

    def guard(self, key: EntryKey) -> Any:
        """Return the columns of ``entry_guard``, or None if there is no row."""
        if key not in self._guards:
            self._guards[key] = self.connection.execute(QUERIES["entry_guard"], key).fetchone()
        return self._guards[key]

    def show(self, key: EntryKey, guard: Any) -> None:
        """Take the columns of ``entry_guard`` from another statement of the transaction."""
        self._guards[key] = guard

    def revision(self) -> int:
        """Return the revision of the rules."""
        if self._revision is None:
            (self._revision,) = self.connection.execute(QUERIES["revision"]).fetchone()
        return self._revision

    def apply(self, changes: Sequence[Change]) -> None:
        """Make the changes of one write."""
        if len(changes) == 1:
            self._apply_one(changes[0])
            return
        for kind, run in groupby(changes, key=type):
            if kind is RemoveEntry:
                removed = [change.key for change in run if isinstance(change, kind)]
                put_rows(self.connection, QUERIES["remove_entries"], removed)
                self._forget_all()
            elif kind is StoreEntry:
                self._store_all([change for change in run if isinstance(change, kind)])
            else:
                for change in run:
                    self._apply_one(change)

    def _apply_one(self, change: Change) -> None:
        if isinstance(change, StoreEntry):
            self._store(change)
            return
        _CHANGES[type(change)](self.connection, change)
        if isinstance(change, _OF_ENTRIES):
            self._guards.pop(change.key, None)
        else:
            self._forget_all()

    def _store(self, change: StoreEntry) -> None:
        self.connection.execute(QUERIES["put_entry"], self._row_of(change))
        del self._guards[change.entry.key]

    def _store_all(self, changes: Sequence[StoreEntry]) -> None:
        put_rows(self.connection, QUERIES["put_entry"], [self._row_of(change) for change in changes])
        for change in changes:
            self._guards.pop(change.entry.key, None)

    def _row_of(self, change: StoreEntry) -> Row:
        entry = change.entry
        guard = self.guard(entry.key)
        if guard is not None and guard[0] == entry.entry_id and guard[2] > entry.retrievals:
            entry = replace(entry, retrievals=guard[2])  # keeps retrievals that were counted since the read
        return rows.row_of_entry(entry, change.value)

    def _forget_all(self) -> None:
        self._guards.clear()
        self._revision = None


def commit_batch(connection: sqlite3.Connection, writes: Sequence[Write], has_large: bool) -> list[WriteOutcome]:
    """Commit the writes of a batch, and return an outcome for each. ``has_large``: whether a write is large."""
    if has_large:
        connection.execute(QUERIES["pragma_large_cache"])
    with transaction(connection, "begin_write"):
        batch = _Batch(connection)
        outcomes = [_apply(batch, write) for write in writes]
        _put_rows(connection, [write for write, outcome in zip(writes, outcomes, strict=True) if outcome is _COMMITTED])
    return outcomes


def _put_rows(connection: sqlite3.Connection, writes: Sequence[Write]) -> None:
    """Add the rows of writes that were applied."""
    access: list[Row] = []
    purges: list[Row] = []
    for write in writes:
        for record, leaf in zip(write.access, write.access_leaves or _NO_LEAVES, strict=False):
            access.append(rows.row_of_access(record, leaf))
        for purge, leaf in zip(write.purges, write.purge_leaves or _NO_LEAVES, strict=False):
            purges.append(rows.row_of_purge(purge, leaf))
    for query, found in (("put_access_row", access), ("put_purge_row", purges)):
        if len(found) == 1:
            connection.execute(QUERIES[query], found[0])
        elif found:
            put_rows(connection, QUERIES[query], found)


def commit_seen(
    connection: sqlite3.Connection, writes: Sequence[SeenWrite], clock: Callable[[], datetime]
) -> list[Snapshot | None]:
    """Commit each write whose entry is as it was seen, and return its snapshot. None: nothing of it was committed."""
    with transaction(connection, "begin_write"):
        now, revision, mark = _time_and_revision(connection, clock)
        batch = _Batch(connection, revision)
        snapshots = [_commit_as_seen(batch, seen, now, mark) for seen in writes]
        _put_rows(
            connection, [seen.write for seen, snapshot in zip(writes, snapshots, strict=True) if snapshot is not None]
        )
    return snapshots


def _commit_as_seen(batch: _Batch, seen: SeenWrite, now: datetime, mark: datetime | None) -> Snapshot | None:
    """Apply a write, and return a snapshot with the value if it is wanted. None: its entry is not as it was seen."""
    entry = seen.entry
    key, reads_value = entry.key, seen.with_value or seen.is_intact
    query = QUERIES["entry_as_seen_with_value" if reads_value else "entry_as_seen"]
    row = batch.connection.execute(query, key).fetchone()
    if row is None or row[:4] != (entry.entry_id, entry.version, entry.retrievals, None):
        return None
    if row[4] != to_micros(entry.expires_at) or now >= seen.until:
        return None
    if seen.is_intact and (row[5] is None or sha256(row[5]).hexdigest() != entry.value_sha256):
        return None
    batch.show(key, row)
    revision = batch.revision()
    if _apply(batch, seen.write) is not _COMMITTED:
        return None
    return Snapshot(now, revision, entry, row[5] if seen.with_value else None, mark)


def checkpoint_log(connection: sqlite3.Connection) -> None:
    """Copy to the file what no reader needs in the write-ahead log. It neither waits nor makes others wait."""
    connection.execute(QUERIES["checkpoint_log"]).fetchall()


def truncate_log(connection: sqlite3.Connection) -> bool:
    """Copy the write-ahead log to the file and truncate it. Return False if a reader of old pages prevents it.

    Commits wait on this thread, so it must run without a busy timeout. It releases the pages that a sweep kept in memory.
    """
    connection.execute(QUERIES["pragma_usual_cache"])
    busy, _, _ = connection.execute(QUERIES["truncate_log"]).fetchone()
    return not busy


def hold(_: sqlite3.Connection, holding: Callable[[], object], release: threading.Event) -> None:
    """Block the connection's thread until ``release``. ``holding`` is called once it is blocked."""
    holding()
    release.wait(HOLD_SECONDS)


def _apply(batch: _Batch, write: Write) -> WriteOutcome:
    many = len(write.changes) > 1
    if broken := _broken(batch, _looked_at_singly(batch, write.expects) if many else write.expects):
        return Conflict(broken)
    if write.changes:
        batch.apply(write.changes)
    return _COMMITTED


def _broken(batch: _Batch, expects: Sequence[Expectation]) -> Expectation | None:
    for expectation in expects:
        if not _EXPECTATIONS[type(expectation)](batch, expectation):
            return expectation
    return None


def _looked_at_singly(batch: _Batch, expects: Sequence[Expectation]) -> Sequence[Expectation]:
    """Return the writes to check one by one: all of them if any entry is not as expected, to find the first conflict."""
    entries = [(*expect.key, *expect.stamp) for expect in expects if isinstance(expect, EntryIs)]
    if _count(batch, "count_unchanged", entries) < len(entries):
        return expects
    absent = [expect.key for expect in expects if isinstance(expect, EntryAbsent)]
    if _count(batch, "count_present", absent):
        return expects
    for key in absent:
        batch.show(key, None)
    return [expect for expect in expects if not isinstance(expect, (EntryIs, EntryAbsent))]


def _count(batch: _Batch, query: str, listed: Sequence[Row]) -> int:
    return sum(cursor.fetchone()[0] for cursor in in_parts(batch.connection, QUERIES[query], listed))


def _entry_is(batch: _Batch, expected: EntryIs) -> bool:
    guard = batch.guard(expected.key)
    return guard is not None and guard[3] is None and guard[:2] == expected.stamp


def _entry_absent(batch: _Batch, expected: EntryAbsent) -> bool:
    return batch.guard(expected.key) is None


def _revision_is(batch: _Batch, expected: RevisionIs) -> bool:
    return batch.revision() == expected.revision


def _retrievals_below(batch: _Batch, expected: RetrievalsBelow) -> bool:
    guard = batch.guard(expected.key)
    return guard is not None and guard[3] is None and guard[2] < expected.limit


def _policy_unused(batch: _Batch, expected: PolicyUnused) -> bool:
    return batch.connection.execute(QUERIES["policy_in_use"], (expected.name,)).fetchone() is None


def _remove_entry(connection: sqlite3.Connection, change: RemoveEntry) -> None:
    connection.execute(QUERIES["remove_entry"], change.key)


def _overwrite_entry(connection: sqlite3.Connection, change: OverwriteEntry) -> None:
    connection.execute(
        QUERIES["overwrite_entry"], (change.filler, to_micros(change.purged_at), change.method, *change.key)
    )


def _count_retrieval(connection: sqlite3.Connection, change: CountRetrieval) -> None:
    connection.execute(QUERIES["count_retrieval"], change.key)


def _save_access_policy(connection: sqlite3.Connection, change: SaveAccessPolicy) -> None:
    policy = change.policy
    if policy.created_at is None:
        raise ValueError("a stored policy has a time")
    connection.execute(QUERIES["put_access_policy"], rows.row_of_access_policy(policy, policy.created_at))
    connection.execute(QUERIES["next_revision"])


def _drop_access_policy(connection: sqlite3.Connection, change: DropAccessPolicy) -> None:
    row = (change.name, change.version, "", "{}", "{}", None, change.dropped_by, to_micros(change.dropped_at), 1)
    connection.execute(QUERIES["put_access_policy"], row)
    connection.execute(QUERIES["next_revision"])


def _save_retention_policy(connection: sqlite3.Connection, change: SaveRetentionPolicy) -> None:
    policy = change.policy
    if policy.created_at is None:
        raise ValueError("a stored policy has a time")
    connection.execute(QUERIES["put_retention_policy"], rows.row_of_retention_policy(policy, policy.created_at))
    connection.execute(QUERIES["next_revision"])


def _save_api_key(connection: sqlite3.Connection, change: SaveApiKey) -> None:
    connection.execute(QUERIES["put_api_key"], rows.row_of_api_key(change.key))
    connection.execute(QUERIES["next_revision"])


def _save_legal_hold(connection: sqlite3.Connection, change: SaveLegalHold) -> None:
    hold = change.hold
    if hold.created_at is None or hold.held_since is None:
        raise ValueError("a stored hold has its times")
    connection.execute(QUERIES["put_legal_hold"], rows.row_of_legal_hold(hold, hold.held_since, hold.created_at))
    connection.execute(QUERIES["next_revision"])


def _save_scrub(connection: sqlite3.Connection, change: SaveScrub) -> None:
    connection.execute(QUERIES["put_scrub"], rows.row_of_scrub(change.scrub))


def _save_sweep(connection: sqlite3.Connection, change: SaveSweep) -> None:
    connection.execute(QUERIES["put_sweep"], rows.row_of_sweep(change.sweep))


def _on_connection(function: Callable[[sqlite3.Connection, Any], Any]) -> Callable[[_Batch, Any], Any]:
    return lambda batch, item: function(batch.connection, item)


_EXPECTATIONS: dict[type[Expectation], Callable[[_Batch, Any], bool]] = {
    EntryIs: _entry_is,
    EntryAbsent: _entry_absent,
    RevisionIs: _revision_is,
    RetrievalsBelow: _retrievals_below,
    PolicyUnused: _policy_unused,
    **{kind: _on_connection(holds) for kind, holds in watching.EXPECTATIONS.items()},
}
_CHANGES: dict[type[Change], Callable[[sqlite3.Connection, Any], None]] = {
    RemoveEntry: _remove_entry,
    OverwriteEntry: _overwrite_entry,
    CountRetrieval: _count_retrieval,
    SaveAccessPolicy: _save_access_policy,
    DropAccessPolicy: _drop_access_policy,
    SaveRetentionPolicy: _save_retention_policy,
    SaveApiKey: _save_api_key,
    SaveLegalHold: _save_legal_hold,
    SaveSweep: _save_sweep,
    SaveScrub: _save_scrub,
    **watching.CHANGES,
}
