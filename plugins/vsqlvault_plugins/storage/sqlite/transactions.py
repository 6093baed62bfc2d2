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
ROW_BYTES = 1_500
"""The share of a log row in the write-ahead log, with its indexes."""
HOLD_SECONDS = 5.0
LARGE = 64
"""A write with at least this many changes belongs to a sweep at full speed, which may use more memory and CPU time."""


def size_of(write: Write) -> int:
    """Return about how many bytes a write adds to the write-ahead log."""
    values = sum(len(change.value or b"") for change in write.changes if isinstance(change, StoreEntry))
    return values + ROW_BYTES * (len(write.access) + len(write.purges))


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
        return read_in_transaction(connection, reads, clock)


def read_in_transaction(
    connection: sqlite3.Connection, reads: Sequence[Read], clock: Callable[[], datetime]
) -> list[Snapshot]:
    """Answer reads within a transaction that was begun."""
    revision, micros = connection.execute(QUERIES["revision_and_mark"]).fetchone()
    mark = None if micros is None else from_micros(micros)
    now = clock() if mark is None else max(clock(), mark)
    return [_snapshot(connection, read, now, revision, mark) for read in reads]


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


def commit_batch(connection: sqlite3.Connection, writes: Sequence[Write], has_large: bool) -> list[WriteOutcome]:
    """Commit the writes of a batch, and return an outcome for each. ``has_large``: whether a write is large."""
    if has_large:
        connection.execute(QUERIES["pragma_large_cache"])
    with transaction(connection, "begin_write"):
        outcomes = [_apply(connection, write) for write in writes]
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
        reads = [Read(seen.entry.key, seen.with_value or seen.is_intact) for seen in writes]
        found = zip(writes, read_in_transaction(connection, reads, clock), strict=True)
        snapshots = [
            snapshot if _is_as_seen(seen, snapshot) and _apply(connection, seen.write) is _COMMITTED else None
            for seen, snapshot in found
        ]
        _put_rows(
            connection, [seen.write for seen, snapshot in zip(writes, snapshots, strict=True) if snapshot is not None]
        )
    return [
        snapshot if snapshot is None or seen.with_value else replace(snapshot, value=None)
        for seen, snapshot in zip(writes, snapshots, strict=True)
    ]


def _is_as_seen(seen: SeenWrite, snapshot: Snapshot) -> bool:
    if snapshot.entry != seen.entry or snapshot.now >= seen.until:
        return False
    if not seen.is_intact:
        return True
    return snapshot.value is not None and sha256(snapshot.value).hexdigest() == seen.entry.value_sha256


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


def _apply(connection: sqlite3.Connection, write: Write) -> WriteOutcome:
    many = len(write.changes) > 1
    if broken := _broken(connection, _looked_at_singly(connection, write.expects) if many else write.expects):
        return Conflict(broken)
    if many:
        _change_many(connection, write.changes)
    else:
        for change in write.changes:
            _CHANGES[type(change)](connection, change)
    return _COMMITTED


def _broken(connection: sqlite3.Connection, expects: Sequence[Expectation]) -> Expectation | None:
    for expectation in expects:
        if not _EXPECTATIONS[type(expectation)](connection, expectation):
            return expectation
    return None


def _looked_at_singly(connection: sqlite3.Connection, expects: Sequence[Expectation]) -> Sequence[Expectation]:
    """Return the writes to check one by one: all of them if any entry is not as expected, to find the first conflict."""
    entries = [(*expect.key, *expect.stamp) for expect in expects if isinstance(expect, EntryIs)]
    found = sum(cursor.fetchone()[0] for cursor in in_parts(connection, QUERIES["count_unchanged"], entries))
    return expects if found < len(entries) else [expect for expect in expects if not isinstance(expect, EntryIs)]


def _change_many(connection: sqlite3.Connection, changes: Sequence[Change]) -> None:
    for kind, run in groupby(changes, key=type):
        if kind is RemoveEntry:
            put_rows(connection, QUERIES["remove_entries"], [change.key for change in run if isinstance(change, kind)])
        else:
            for change in run:
                _CHANGES[kind](connection, change)


def _guard(connection: sqlite3.Connection, key: EntryKey) -> Any:
    return connection.execute(QUERIES["entry_guard"], key).fetchone()


def _entry_is(connection: sqlite3.Connection, expected: EntryIs) -> bool:
    guard = _guard(connection, expected.key)
    return guard is not None and guard[3] is None and guard[:2] == expected.stamp


def _entry_absent(connection: sqlite3.Connection, expected: EntryAbsent) -> bool:
    return _guard(connection, expected.key) is None


def _revision_is(connection: sqlite3.Connection, expected: RevisionIs) -> bool:
    (revision,) = connection.execute(QUERIES["revision"]).fetchone()
    return bool(revision == expected.revision)


def _retrievals_below(connection: sqlite3.Connection, expected: RetrievalsBelow) -> bool:
    guard = _guard(connection, expected.key)
    return guard is not None and guard[3] is None and guard[2] < expected.limit


def _policy_unused(connection: sqlite3.Connection, expected: PolicyUnused) -> bool:
    return connection.execute(QUERIES["policy_in_use"], (expected.name,)).fetchone() is None


def _store_entry(connection: sqlite3.Connection, change: StoreEntry) -> None:
    entry = change.entry
    guard = _guard(connection, entry.key)
    if guard is not None and guard[0] == entry.entry_id and guard[2] > entry.retrievals:
        entry = replace(entry, retrievals=guard[2])  # keeps retrievals that were counted since the read
    connection.execute(QUERIES["put_entry"], rows.row_of_entry(entry, change.value))


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


_EXPECTATIONS: dict[type[Expectation], Callable[[sqlite3.Connection, Any], bool]] = {
    EntryIs: _entry_is,
    EntryAbsent: _entry_absent,
    RevisionIs: _revision_is,
    RetrievalsBelow: _retrievals_below,
    PolicyUnused: _policy_unused,
    **watching.EXPECTATIONS,
}
_CHANGES: dict[type[Change], Callable[[sqlite3.Connection, Any], None]] = {
    StoreEntry: _store_entry,
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
