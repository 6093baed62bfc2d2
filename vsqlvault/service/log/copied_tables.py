"""Copies the tables beside the logs: rules, runs, controls, attestations, cursors, usage and entries."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vsqlvault.errors import SettingsInvalid
from vsqlvault.interfaces.storage import EntryQuery, Read, Storage, VersionQuery
from vsqlvault.interfaces.watch_storage import SaveAccessReview, SaveAttestation, SaveControlChange
from vsqlvault.interfaces.writes import (
    Change,
    Conflict,
    DropAccessPolicy,
    OverwriteEntry,
    RemoveEntry,
    SaveAccessPolicy,
    SaveApiKey,
    SaveLegalHold,
    SaveRetentionPolicy,
    SaveScrub,
    SaveSweep,
    StoreEntry,
    Write,
)
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.times import EPOCH
from vsqlvault.model.transparency import LogName
from vsqlvault.service.audit.rule_documents import StoredRule

VERSIONS = 500
POSITIONS = 10_000
MAX_BYTES = 4 * 1024 * 1024
MAX_RUNS = 1_000_000
END = datetime(9999, 12, 31, tzinfo=UTC)
Versions = Callable[[VersionQuery], Awaitable[Sequence[StoredRule]]]


class CopiedTables:
    """Copies what the target does not have. What an earlier run copied is compared, and not written again."""

    def __init__(self, source: Storage, target: Storage, *, page: int) -> None:
        """``page``: the number of entries that are read at once, and of writes of one commit."""
        self._at_once = page
        self._source = source
        self._target = target

    async def copy(self) -> int:
        """Copy every table, and return the number of entries. Raises SettingsInvalid, Unavailable."""
        await self._rules()
        await self._runs()
        await self._watched()
        for name, position in (await self._source.cursors()).items():
            await self._target.save_cursor(name, position)
        for credential, use in (await self._source.credential_uses()).items():
            for at in {use.first_used_at, use.last_used_at}:
                await self._target.record_usages({credential: at})
        mark = (await self._source.clock()).mark
        if mark is not None:
            await self._target.raise_mark(mark)
        return await self._entries()

    async def _rules(self) -> None:
        source, target = self._source, self._target
        wanted, there = await source.policy_snapshot(), await target.policy_snapshot()
        names: tuple[tuple[Iterable[str], Versions, Versions], ...] = (
            (wanted.access_versions, source.access_policy_versions, target.access_policy_versions),
            (wanted.retention, source.retention_policy_versions, target.retention_policy_versions),
            (wanted.holds, source.legal_hold_versions, target.legal_hold_versions),
        )
        for known, versions, copied in names:
            for name in sorted(known):
                have = {rule.version for rule in await _all_versions(copied, name)}
                missing = [rule for rule in await _all_versions(versions, name) if rule.version not in have]
                await self._commit(map(_saved, reversed(missing)), at_once=1)
        keys = [key for key_id, key in wanted.api_keys.items() if there.api_keys.get(key_id) != key]
        await self._commit(map(SaveApiKey, keys))

    async def _runs(self) -> None:
        sweeps = (await self._source.sweeps(EPOCH, END, MAX_RUNS)).newest
        have = {sweep.sweep_id for sweep in (await self._target.sweeps(EPOCH, END, MAX_RUNS)).newest}
        missing = [sweep for sweep in reversed(sweeps) if sweep.sweep_id not in have]
        await self._commit(map(SaveSweep, missing))
        scrubs = await self._source.scrubs(EPOCH, END, MAX_RUNS)
        done = {scrub.scrub_id for scrub in await self._target.scrubs(EPOCH, END, MAX_RUNS)}
        missing_scrubs = sorted(
            (scrub for scrub in scrubs if scrub.scrub_id not in done), key=lambda scrub: scrub.finished_at
        )
        if missing_scrubs:
            before = await positions_of(self._source, LogName.PURGE)
            after = await positions_of(self._target, LogName.PURGE)
            for scrub in missing_scrubs:
                reach = bisect_right(before, scrub.through)
                through = after[reach - 1] if reach else 0
                await self._commit([SaveScrub(replace(scrub, through=through))])

    async def _watched(self) -> None:
        """Copy the changes of controls, the attestations and the access reviews."""
        changes = await self._source.control_changes(EPOCH, END, MAX_RUNS)
        have = {(each.name, each.number) for each in await self._target.control_changes(EPOCH, END, MAX_RUNS)}
        missing = sorted((each for each in changes if (each.name, each.number) not in have), key=lambda c: c.number)
        await self._commit(map(SaveControlChange, missing), at_once=1)
        newest = await self._target.attestations(None, 1)
        wanted = [
            made
            for made in await self._source.attestations(None, MAX_RUNS)
            if not newest or made.number > newest[0].number
        ]
        await self._commit(map(SaveAttestation, reversed(wanted)), at_once=1)
        done = await self._target.access_reviews(None, 1)
        reviews = [
            review
            for review in await self._source.access_reviews(None, MAX_RUNS)
            if not done or review.number > done[0].number
        ]
        await self._commit(map(SaveAccessReview, reversed(reviews)), at_once=1)

    async def _entries(self) -> int:
        now = (await self._source.clock()).clock
        policies = await self._source.policy_snapshot()
        purposes = {*policies.retention, *(await self._source.entry_statistics(now, {}, ())).by_purpose}
        return sum([await self._purpose(purpose) for purpose in sorted(purposes)])

    async def _purpose(self, purpose: str) -> int:
        count, after = 0, None
        while True:
            page = await self._page(self._source, purpose, after)
            until = page[-1].external_id if len(page) == self._at_once else None
            await self._entry_page(purpose, page, after, until)
            count += len(page)
            if until is None:
                return count
            after = until

    async def _entry_page(self, purpose: str, page: Sequence[Entry], after: str | None, until: str | None) -> None:
        """Make the entries of the target between two ids those of the page."""
        there: dict[str, Entry] = {}
        place = after
        while found := await self._page(self._target, purpose, place):
            there.update({each.external_id: each for each in found if until is None or each.external_id <= until})
            place = found[-1].external_id
            if len(found) < self._at_once or (until is not None and place > until):
                break
        keys = {each.external_id for each in page}
        gone = [RemoveEntry(EntryKey(purpose, name)) for name in there if name not in keys]
        await self._commit(gone)
        for entries in _by_size([each for each in page if there.get(each.external_id) != each]):
            await self._store(entries)

    async def _store(self, entries: Sequence[Entry]) -> None:
        snapshots = await self._source.read([Read(entry.key, with_value=entry.purged_at is None) for entry in entries])
        stores: list[Change] = []
        overwrites: list[Change] = []
        for entry, snapshot in zip(entries, snapshots, strict=True):
            if entry.purged_at is not None:
                store, overwrite = _shredded(entry, entry.purged_at)
                stores.append(store)
                overwrites.append(overwrite)
            elif snapshot.entry == entry and snapshot.value is not None:
                stores.append(StoreEntry(entry, snapshot.value))
            else:
                raise SettingsInvalid("SOURCE: expected a vault that no server uses: stop it, and repeat")
        await self._commit(stores)
        await self._commit(overwrites)

    async def _page(self, storage: Storage, purpose: str, after: str | None) -> Sequence[Entry]:
        return await storage.entries(EntryQuery(purpose=purpose, now=END, limit=self._at_once, after=after, state=None))

    async def _commit(self, changes: Iterable[Change], *, at_once: int | None = None) -> None:
        """Commit each change in a write of its own, in order. Two changes of one row are never in one batch."""
        size = at_once or self._at_once
        waiting = [Write((), changes=(change,)) for change in changes]
        for first in range(0, len(waiting), size):
            for outcome in await self._target.commit(waiting[first : first + size]):
                if isinstance(outcome, Exception):
                    raise outcome
                if isinstance(outcome, Conflict):  # none of them has an expectation
                    raise SettingsInvalid("storage.database_url: expected a storage that no server uses")


async def positions_of(storage: Storage, log: LogName) -> list[int]:
    """Return the position of every row of a log, lowest first."""
    found: list[int] = []
    while True:
        page = await storage.row_positions(log, found[-1] if found else None, None, POSITIONS)
        found += page
        if len(page) < POSITIONS:
            return found


async def _all_versions(read: Versions, name: str) -> list[StoredRule]:
    """Return every version of a rule, newest first."""
    found: list[StoredRule] = []
    while True:
        page = await read(VersionQuery(name=name, limit=VERSIONS, before=found[-1].version if found else None))
        found += page
        if len(page) < VERSIONS:
            return found


def _saved(rule: StoredRule) -> Change:
    if isinstance(rule, RetentionPolicy):
        return SaveRetentionPolicy(rule)
    if isinstance(rule, LegalHold):
        return SaveLegalHold(rule)
    if rule.dropped and rule.created_by is not None and rule.created_at is not None:
        return DropAccessPolicy(rule.name, rule.version, rule.created_by, rule.created_at)
    return SaveAccessPolicy(rule)


def _shredded(entry: Entry, purged_at: datetime) -> tuple[Change, Change]:
    """Return the changes that leave a row whose value was overwritten."""
    filler = bytes(entry.value_size)
    stored = StoreEntry(replace(entry, purged_at=None, purge_method=None), filler)
    return stored, OverwriteEntry(entry.key, filler, purged_at, entry.purge_method or "crypto-shred")


def _by_size(entries: Sequence[Entry]) -> list[list[Entry]]:
    """Split entries into lists whose values are read at once."""
    parts: list[list[Entry]] = [[]]
    size = 0
    for entry in entries:
        if parts[-1] and size + entry.value_size > MAX_BYTES:
            parts.append([])
            size = 0
        parts[-1].append(entry)
        size += entry.value_size
    return [part for part in parts if part]
