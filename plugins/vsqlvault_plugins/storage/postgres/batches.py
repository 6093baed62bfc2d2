"""Batches in PostgreSQL: a read is one statement, and a commit one function call, or two if an expectation is not met."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Container, Sequence
from dataclasses import field
from itertools import groupby, repeat
from typing import Any

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
from vsqlvault.quick_dataclass import dataclass
from vsqlvault_plugins.storage.postgres import rows, watching
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.postgres.sharding import ONE_SHARD, Shards
from vsqlvault_plugins.storage.sql.rows import POSTGRESQL_ROWS
from vsqlvault_plugins.storage.sql_files import load_queries

QUERIES = load_queries("vsqlvault_plugins.storage.postgres")
_COMMITTED = Committed()
_NO_KEY = ("", "")
_NO_LEAVES = repeat(None)


async def read_batch(connection: Connection, reads: Sequence[Read], shards: Shards = ONE_SHARD) -> list[Snapshot]:
    """Answer a batch of reads from one consistent state."""
    keys = [read.key or _NO_KEY for read in reads]
    if len(keys) == 1:
        found = await connection.fetch(QUERIES["read_one"], *keys[0], reads[0].with_value, shards.of_entry(*keys[0]))
    else:
        found = await connection.fetch(
            QUERIES["read"], [key[0] for key in keys], [key[1] for key in keys], [read.with_value for read in reads],
            [shards.of_entry(*key) for key in keys],
        )  # fmt: skip
    return [
        Snapshot(row[20], row[21], POSTGRESQL_ROWS.entry_of(row) if row[0] is not None else None, row[19], row[22])
        for row in found
    ]


async def commit_seen(
    connection: Connection, writes: Sequence[SeenWrite], shards: Shards = ONE_SHARD
) -> list[Snapshot | None]:
    """Commit the writes whose entries are as they were seen, and return a snapshot of each. None: nothing was committed.

    If only some entries are as they were seen, their writes are sent once more, without the others.
    """
    revision = _revision_of_all([seen.write for seen in writes])
    if revision is None:
        return [None] * len(writes)
    row = await _call_seen(connection, writes, shards, revision)
    ordinals: list[int] = row["ordinals"] or []
    broken: list[int] | None = row["broken"]
    if broken is not None:
        values = dict(zip(ordinals, row["vals"], strict=True))
        return [
            None if place else Snapshot(row["now"], revision, seen.entry, values[number], row["mark"])
            for number, (seen, place) in enumerate(zip(writes, broken, strict=True), start=1)
        ]
    snapshots: list[Snapshot | None] = [None] * len(writes)
    if 0 < len(ordinals) < len(writes):
        places = sorted(ordinal - 1 for ordinal in ordinals)
        found = await commit_seen(connection, [writes[place] for place in places], shards)
        for place, snapshot in zip(places, found, strict=True):
            snapshots[place] = snapshot
    return snapshots


async def _call_seen(connection: Connection, writes: Sequence[SeenWrite], shards: Shards, revision: int) -> Any:
    """Return a row: which entries are as they were seen, their values, the time, and the result of the commit, if any."""
    arguments = _Arguments.of([seen.write for seen in writes], shards, as_usual=True).in_order()
    if len(writes) == 1:
        entry = writes[0].entry
        return await connection.fetchrow(
            QUERIES["commit_seen_one"], revision, *arguments, entry.purpose, entry.external_id, entry.entry_id,
            entry.version, entry.retrievals, entry.expires_at, writes[0].until, writes[0].with_value, writes[0].is_intact,
            shards.of_entry(*entry.key),
        )  # fmt: skip
    seen = [
        (
            each.entry.purpose, each.entry.external_id, each.entry.entry_id, each.entry.version, each.entry.retrievals,
            each.entry.expires_at, each.until, each.with_value, each.is_intact, shards.of_entry(*each.entry.key),
        )
        for each in writes
    ]  # fmt: skip
    return await connection.fetchrow(QUERIES["commit_seen"], revision, *arguments, *map(list, zip(*seen, strict=True)))


async def commit_batch(
    connection: Connection, writes: Sequence[Write], shards: Shards = ONE_SHARD
) -> list[WriteOutcome]:
    """Commit the writes of a batch, and return an outcome for each."""
    if not any(map(_is_rare, writes)):
        return await _call(connection, writes, shards)
    outcomes: list[WriteOutcome] = []
    async with connection.transaction():
        await connection.execute(QUERIES["lock_rules"])
        for is_rare, run in groupby(writes, key=_is_rare):
            together = list(run)
            for part in [[write] for write in together] if is_rare else [together]:
                if is_rare and (broken := await _broken(connection, part[0].expects)):
                    outcomes.append(Conflict(broken))
                    continue
                outcomes += await _call(connection, part, shards)
                if is_rare and outcomes[-1] is _COMMITTED:
                    await _change_rules(connection, part[0].changes)
    return outcomes


@dataclass(slots=True)
class _Arguments:
    """The arguments of ``vault.commit_batch``, in its order: arrays of its types.

    ``as_usual``: those of ``vault.commit_as_usual``, which knows of every write that it expects the rules' revision, and of
    every fresh put that it expects no row.
    """

    shards: Shards
    as_usual: bool
    expectations: list[Any] = field(default_factory=list)
    puts: list[Any] = field(default_factory=list)
    removals: list[Any] = field(default_factory=list)
    overwrites: list[Any] = field(default_factory=list)
    counts: list[Any] = field(default_factory=list)
    access_rows: list[Any] = field(default_factory=list)
    purge_rows: list[Any] = field(default_factory=list)

    @classmethod
    def of(cls, writes: Sequence[Write], shards: Shards, *, as_usual: bool) -> _Arguments:
        """Return the arguments of a batch. Writes are counted from 1."""
        arguments = cls(shards, as_usual)
        for number, write in enumerate(writes, start=1):
            arguments._add(number, write)
        return arguments

    def in_order(self) -> tuple[list[Any], ...]:
        """Return the arrays."""
        return (
            self.expectations, self.puts, self.removals, self.overwrites, self.counts, self.access_rows, self.purge_rows
        )  # fmt: skip

    def _add(self, number: int, write: Write) -> None:
        stored: set[EntryKey] = set()
        if write.changes:
            fresh = {expect.key for expect in write.expects if type(expect) is EntryAbsent}
            stored = {change.entry.key for change in write.changes if type(change) is StoreEntry}
            for change in write.changes:
                self._add_change(number, change, fresh)
        as_usual = self.as_usual
        for place, expect in enumerate(write.expects, start=1):
            if type(expect) is EntryIs:  # of nearly every write
                key, stamp = expect.key, expect.stamp
                self.expectations.append((number, place, "entry-is", *key, *stamp, self.shards.of_entry(*key)))
            elif not (
                as_usual and (type(expect) is RevisionIs or (type(expect) is EntryAbsent and expect.key in stored))
            ):
                self._add_expectation(number, place, expect)
        for record, leaf in zip(write.access, write.access_leaves or _NO_LEAVES, strict=False):
            self.access_rows.append(rows.access_row(number, record, leaf, self.shards.of_access(record)))
        if write.purges:
            destroyed = zip(write.purges, write.purge_leaves or _NO_LEAVES, strict=False)
            self.purge_rows += [
                rows.purge_row(number, record, leaf, self.shards.of_entry(record.purpose, record.external_id))
                for record, leaf in destroyed
            ]

    def _add_change(self, number: int, change: Change, fresh: Container[EntryKey]) -> None:
        of_entry = self.shards.of_entry
        match change:
            case StoreEntry(entry, value):
                self.puts.append(rows.put_of(number, entry.key in fresh, entry, value, of_entry(*entry.key)))
            case RemoveEntry(key):
                self.removals.append((number, *key, of_entry(*key)))
            case OverwriteEntry(key, filler, purged_at, method):
                self.overwrites.append((number, *key, filler, purged_at, method, of_entry(*key)))
            case CountRetrieval(key):
                self.counts.append((number, *key, of_entry(*key)))
            case _:
                pass

    def _add_expectation(self, number: int, place: int, expect: Expectation) -> None:
        row: tuple[Any, ...]
        of_entry = self.shards.of_entry
        match expect:
            case EntryAbsent(key):
                row = ("entry-absent", *key, None, None, of_entry(*key))
            case RetrievalsBelow(key, limit):
                row = ("retrievals-below", *key, None, limit, of_entry(*key))
            case RevisionIs(revision):
                row = ("revision-is", None, None, None, revision, None)
            case PolicyUnused(name):
                row = ("policy-unused", None, None, name, None, None)
            case _:
                return
        self.expectations.append((number, place, *row))


async def _call(connection: Connection, writes: Sequence[Write], shards: Shards) -> list[WriteOutcome]:
    broken: list[int] | None = None
    revision = _revision_of_all(writes)
    if revision is not None:
        arguments = _Arguments.of(writes, shards, as_usual=True)
        broken = await connection.fetchval(QUERIES["commit_as_usual"], len(writes), revision, *arguments.in_order())
    if broken is None:
        arguments = _Arguments.of(writes, shards, as_usual=False)
        broken = await connection.fetchval(QUERIES["commit_batch"], len(writes), *arguments.in_order())
    return [
        Conflict(write.expects[place - 1]) if place else _COMMITTED for write, place in zip(writes, broken, strict=True)
    ]


def _revision_of_all(writes: Sequence[Write]) -> int | None:
    """Return the policy revision that every write expects, or None if one expects none or another one."""
    found: int | None = None
    for write in writes:
        expects_any = False
        for expect in write.expects:
            if type(expect) is RevisionIs:
                if found is None:
                    found = expect.revision
                elif found != expect.revision:
                    return None
                expects_any = True
        if not expects_any:
            return None
    return found


def _is_rare(write: Write) -> bool:
    for change in write.changes:
        if type(change) in _RULE_CHANGES:
            return True
    for expect in write.expects:  # noqa: SIM110 - a generator costs each write of a batch another call
        if type(expect) in watching.EXPECTATIONS:
            return True
    return False


async def _broken(connection: Connection, expects: Sequence[Expectation]) -> Expectation | None:
    """Return the first expectation that ``vault.commit_batch`` does not check and that is not met."""
    for expect in expects:
        if (holds := watching.EXPECTATIONS.get(type(expect))) and not await holds(connection, expect):
            return expect
    return None


async def _change_rules(connection: Connection, changes: Sequence[Change]) -> None:
    for change in changes:
        if apply := _RULE_CHANGES.get(type(change)):
            await apply(connection, change)


async def _save_access_policy(connection: Connection, change: SaveAccessPolicy) -> None:
    policy = change.policy
    if policy.created_at is None:
        raise ValueError("a stored policy has a time")
    await connection.execute(QUERIES["put_access_policy"], *rows.access_policy_row(policy, policy.created_at))
    await connection.execute(QUERIES["next_revision"])


async def _drop_access_policy(connection: Connection, change: DropAccessPolicy) -> None:
    row = (change.name, change.version, "", "{}", "{}", None, change.dropped_by, change.dropped_at, True)
    await connection.execute(QUERIES["put_access_policy"], *row)
    await connection.execute(QUERIES["next_revision"])


async def _save_retention_policy(connection: Connection, change: SaveRetentionPolicy) -> None:
    policy = change.policy
    if policy.created_at is None:
        raise ValueError("a stored policy has a time")
    await connection.execute(QUERIES["put_retention_policy"], *rows.retention_policy_row(policy, policy.created_at))
    await connection.execute(QUERIES["next_revision"])


async def _save_api_key(connection: Connection, change: SaveApiKey) -> None:
    await connection.execute(QUERIES["put_api_key"], *rows.api_key_row(change.key))
    await connection.execute(QUERIES["next_revision"])


async def _save_legal_hold(connection: Connection, change: SaveLegalHold) -> None:
    hold = change.hold
    if hold.created_at is None or hold.held_since is None:
        raise ValueError("a stored hold has its times")
    row = rows.legal_hold_row(hold, hold.held_since, hold.created_at)
    await connection.execute(QUERIES["put_legal_hold"], *row)
    await connection.execute(QUERIES["next_revision"])


async def _save_scrub(connection: Connection, change: SaveScrub) -> None:
    await connection.execute(QUERIES["put_scrub"], *rows.scrub_row(change.scrub))


async def _save_sweep(connection: Connection, change: SaveSweep) -> None:
    await connection.execute(QUERIES["put_sweep"], *rows.sweep_row(change.sweep))


_RULE_CHANGES: dict[type[Change], Callable[[Connection, Any], Awaitable[None]]] = {
    SaveAccessPolicy: _save_access_policy,
    DropAccessPolicy: _drop_access_policy,
    SaveRetentionPolicy: _save_retention_policy,
    SaveApiKey: _save_api_key,
    SaveLegalHold: _save_legal_hold,
    SaveSweep: _save_sweep,
    SaveScrub: _save_scrub,
    **watching.CHANGES,
}
