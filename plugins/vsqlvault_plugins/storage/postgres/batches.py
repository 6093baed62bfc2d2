"""Batches on the wire: a read is one statement, a commit one call of ``vault.commit_batch``."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
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
    StoreEntry,
    Write,
    WriteOutcome,
)
from vsqlvault_plugins.storage.postgres import rows, watching
from vsqlvault_plugins.storage.postgres.connections import Connection
from vsqlvault_plugins.storage.sql_files import load_queries

QUERIES = load_queries("vsqlvault_plugins.storage.postgres")
_COMMITTED = Committed()
_NO_KEY = ("", "")


async def read_batch(connection: Connection, reads: Sequence[Read]) -> list[Snapshot]:
    """Answer a batch of reads from one consistent state."""
    keys = [read.key or _NO_KEY for read in reads]
    if len(keys) == 1:
        found = await connection.fetch(QUERIES["read_one"], *keys[0], reads[0].with_value)
    else:
        found = await connection.fetch(
            QUERIES["read"], [key[0] for key in keys], [key[1] for key in keys], [read.with_value for read in reads]
        )
    return [
        Snapshot(row[20], row[21], rows.entry_of(row) if row[0] is not None else None, row[19], row[22])
        for row in found
    ]


async def commit_batch(connection: Connection, writes: Sequence[Write]) -> list[WriteOutcome]:
    """Commit what holds together and say of each write whether it did."""
    if not any(_is_rare(write) for write in writes):
        return await _call(connection, writes)
    outcomes: list[WriteOutcome] = []
    async with connection.transaction():
        await connection.execute(QUERIES["lock_rules"])
        for is_rare, run in groupby(writes, key=_is_rare):
            together = list(run)
            for part in [[write] for write in together] if is_rare else [together]:
                if is_rare and (broken := await _broken(connection, part[0].expects)):
                    outcomes.append(Conflict(broken))
                    continue
                outcomes += await _call(connection, part)
                if is_rare and outcomes[-1] is _COMMITTED:
                    await _change_rules(connection, part[0].changes)
    return outcomes


@dataclass(slots=True)
class _Arguments:
    """The arguments of ``vault.commit_batch``, in its order: arrays of its types."""

    expectations: list[Any] = field(default_factory=list)
    puts: list[Any] = field(default_factory=list)
    removals: list[Any] = field(default_factory=list)
    overwrites: list[Any] = field(default_factory=list)
    counts: list[Any] = field(default_factory=list)
    access_rows: list[Any] = field(default_factory=list)
    purge_rows: list[Any] = field(default_factory=list)

    def add(self, number: int, write: Write) -> None:
        """Add the write, which is the batch's ``number``-th, counted from 1."""
        self.expectations += _expectations(number, write.expects)
        for change in write.changes:
            self._add_change(number, write, change)
        known = zip(write.access, write.access_leaves or repeat(None), strict=False)
        self.access_rows += [rows.access_row(number, record, leaf) for record, leaf in known]
        destroyed = zip(write.purges, write.purge_leaves or repeat(None), strict=False)
        self.purge_rows += [rows.purge_row(number, record, leaf) for record, leaf in destroyed]

    def _add_change(self, number: int, write: Write, change: Change) -> None:
        match change:
            case StoreEntry(entry, value):
                fresh = any(isinstance(expect, EntryAbsent) and expect.key == entry.key for expect in write.expects)
                self.puts.append(rows.put_of(number, fresh, entry, value))
            case RemoveEntry(key):
                self.removals.append((number, *key))
            case OverwriteEntry(key, filler, purged_at, method):
                self.overwrites.append((number, *key, filler, purged_at, method))
            case CountRetrieval(key):
                self.counts.append((number, *key))
            case _:
                pass


async def _call(connection: Connection, writes: Sequence[Write]) -> list[WriteOutcome]:
    arguments = _Arguments()
    for number, write in enumerate(writes, start=1):
        arguments.add(number, write)
    broken = await connection.fetchval(
        QUERIES["commit_batch"],
        len(writes),
        arguments.expectations,
        arguments.puts,
        arguments.removals,
        arguments.overwrites,
        arguments.counts,
        arguments.access_rows,
        arguments.purge_rows,
    )
    return [
        Conflict(write.expects[place - 1]) if place else _COMMITTED for write, place in zip(writes, broken, strict=True)
    ]


def _expectations(number: int, expects: Sequence[Expectation]) -> Iterator[Any]:
    for place, expect in enumerate(expects, start=1):
        match expect:
            case EntryIs(key, stamp):
                yield (number, place, "entry-is", *key, *stamp)
            case EntryAbsent(key):
                yield (number, place, "entry-absent", *key, None, None)
            case RetrievalsBelow(key, limit):
                yield (number, place, "retrievals-below", *key, None, limit)
            case RevisionIs(revision):
                yield (number, place, "revision-is", None, None, None, revision)
            case PolicyUnused(name):
                yield (number, place, "policy-unused", None, None, name, None)
            case _:
                pass


def _is_rare(write: Write) -> bool:
    return not (
        _RULE_CHANGES.keys().isdisjoint(map(type, write.changes))
        and watching.EXPECTATIONS.keys().isdisjoint(map(type, write.expects))
    )


async def _broken(connection: Connection, expects: Sequence[Expectation]) -> Expectation | None:
    """Return the first of those expectations that ``vault.commit_batch`` knows nothing of, and that does not hold."""
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
