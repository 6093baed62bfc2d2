"""Compares the tables of a storage with the state that the leaves of its log describe."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from vsqlvault.errors import StorageUnavailable, Unavailable
from vsqlvault.interfaces.storage import LogQuery, PolicySnapshot, Read, Snapshot, Storage, VersionQuery
from vsqlvault.model.access_review import AccessReview
from vsqlvault.model.api_key import ApiKeyRecord, key_id_of
from vsqlvault.model.attestation import Attestation
from vsqlvault.model.control import ControlChange, ControlState
from vsqlvault.model.entry import Entry
from vsqlvault.model.purge import SweepRecord
from vsqlvault.model.times import EPOCH, format_time
from vsqlvault.proof.attestation import digest_of
from vsqlvault.proof.state_replay import HASHED, ReplayedState, StateReplay
from vsqlvault.proof.table_check import ENTRIES, UNREADABLE, StateFinding, TableCheck, TableSink
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.audit.rule_documents import (
    StoredRule,
    api_key_document,
    version_document,
)
from vsqlvault.service.log import stored_rows
from vsqlvault.service.log.verification import StorageSource

PAGE = 1_000
ATTEMPTS = 3
VALUES_AT_ONCE_BYTES = 8 * 1024 * 1024
MAX_SWEEPS = 100_000
MAX_CONTROL_CHANGES = 1_000_000
END = datetime(9999, 12, 31, tzinfo=UTC)
_ARCHIVE_COLUMNS = ("number", "first", "end")
Document = Mapping[str, Any]
Versions = Callable[[VersionQuery], Awaitable[Sequence[StoredRule]]]


@dataclass(frozen=True, slots=True)
class StateResult:
    """The result of a comparison. ``findings`` is empty if the tables are as the leaves say."""

    findings: Sequence[StateFinding]
    entries: int
    values: int
    skipped: int = 0
    """Rows that were not compared, because they changed while an export was written."""


async def check_state(
    storage: Storage, source: StorageSource, replay: StateReplay, *, with_values: bool = True
) -> StateResult:
    """Compare the tables with the leaves that ``replay`` has taken, and with the rows that are not in the tree yet.

    ``with_values``: also compare each value with its hash.

    A server that runs changes both meanwhile. So what differs is compared again, and only what differs each time is found.

    Raises:
        StorageUnavailable.
    """
    found: dict[tuple[str, str], StateFinding] | None = None
    for _ in range(ATTEMPTS):
        async for leaf in source.tail():
            replay.take(source.size, leaf, is_waiting=True)
        state = replay.state.copy()
        check = TableCheck(state)
        for log, position, what in source.unlike:
            check.find(f"{log.value}_log", f"position {position}", None, what)
        entries = len(state.entries)
        reader = TableReader(storage, state, check, with_values=with_values)
        await reader.run()
        now = {(each.table, each.key): each for each in check.findings}
        found = now if found is None else {place: each for place, each in found.items() if place in now}
        if not found:
            break
    findings = sorted(found.values()) if found else []
    return StateResult(findings, entries, reader.values)


class TableReader:
    """Reads every table into ``sink``. ``state`` is what the leaves say: it names rows that cannot be decoded."""

    def __init__(self, storage: Storage, state: ReplayedState, sink: TableSink, *, with_values: bool = True) -> None:
        self._storage = storage
        self._with_values = with_values
        self._state = state
        self._sink = sink
        self._versions_unreadable: dict[str, set[str]] = {}
        self.values = 0
        """The number of values that were compared with their hashes."""

    async def run(self) -> None:
        """Read every table. Raises StorageUnavailable."""
        policies = await self._policies()
        await self._rules(policies)
        self._keys(policies)
        await self._control_changes()
        await self._attestations()
        await self._access_reviews()
        await self._sweeps()
        await self._archives()
        await self._entries(policies)

    async def _policies(self) -> PolicySnapshot:
        """Return the policies, holds and keys that can be decoded, and report the others."""
        try:
            policies, unreadable = await stored_rows.policies(self._storage)
        except StorageUnavailable:
            raise
        except Unavailable as error:
            self._sink.find("policies, legal holds and API keys", "a row", None, str(error.detail))
            return PolicySnapshot(0, {}, {})
        for table, key in unreadable:
            if table == "api_keys":
                self._sink.unreadable(table, key)
            else:
                self._versions_unreadable.setdefault(table, set()).add(key)
        return policies

    async def _rules(self, policies: PolicySnapshot) -> None:
        storage = self._storage
        tables: tuple[tuple[str, set[str], Versions], ...] = (
            ("access_policies", {*policies.access_versions, *policies.access}, storage.access_policy_versions),
            ("retention_policies", set(policies.retention), storage.retention_policy_versions),
            ("legal_holds", set(policies.holds), storage.legal_hold_versions),
        )
        for table, names, versions in tables:
            await self._versions(table, names, versions)

    async def _versions(self, table: str, names: set[str], versions: Versions) -> None:
        recorded = self._state.rows.get(table, {})
        unreadable = self._versions_unreadable.get(table, set())
        keys = [*unreadable, *(key for key in recorded if not key.startswith(HASHED))]
        for name in sorted(names | {key.rpartition(" v")[0] for key in keys}):

            def page(before: int | None, limit: int, name: str = name) -> Awaitable[Sequence[StoredRule]]:
                return versions(VersionQuery(name=name, limit=limit, before=before))

            numbers = {
                int(number)
                for of, _, number in (key.rpartition(" v") for key in keys)
                if of == name and number.isdigit()
            }
            async for rule in stored_rows.numbered(page, lambda rule: rule.version, numbers):
                if rule is None or isinstance(rule, int):
                    self._sink.unreadable(table, f"{name} v{'?' if rule is None else rule}")
                else:
                    self._version(table, f"{name} v{rule.version}", rule)
        self._sink.end_of(table)

    def _version(self, table: str, key: str, rule: StoredRule) -> None:
        try:
            document = version_document(rule)
        except ValueError:  # a member that is JSON text, and is not
            self._sink.unreadable(table, key)
        else:
            self._sink.row(table, key, document)

    def _keys(self, policies: PolicySnapshot) -> None:
        for key in policies.api_keys.values():
            said = self._state.rows.get("api_keys", {}).get(key.key_id)
            self._sink.row("api_keys", key.key_id, _key_members(key))
            if key_id_of(key.digest) != key.key_id:
                self._sink.find("api_keys", key.key_id, said.index if said else None, "digest is that of another key")
        self._sink.end_of("api_keys")

    async def _control_changes(self) -> None:
        """A change has a leaf if the control fails from then on, or failed until then."""
        failing: dict[str, bool] = {}
        changes: list[ControlChange] = []
        async for change in stored_rows.between(self._changes, EPOCH, END):
            if change is None:
                self._sink.unreadable("control_changes", "a row")
            else:
                changes.append(change)
        for change in sorted(changes, key=lambda change: (change.name, change.number)):
            fails = change.state is ControlState.FAILING
            if fails or failing.get(change.name, False):
                self._sink.row("control_changes", f"{change.name} at {format_time(change.at)}", _change_members(change))
            failing[change.name] = fails
        self._sink.end_of("control_changes")

    async def _attestations(self) -> None:
        numbers = [int(key) for key in self._state.rows.get("attestations", {})]
        async for made in stored_rows.numbered(self._storage.attestations, lambda made: made.number, numbers):
            if made is None or isinstance(made, int):
                self._sink.unreadable("attestations", "?" if made is None else str(made))
            else:
                self._attestation(made)
        self._sink.end_of("attestations")

    def _attestation(self, made: Attestation) -> None:
        """Compare the document with its leaf, and the columns with the document."""
        key = str(made.number)
        leaf = self._leaf_of("attestations", key)
        self._sink.row("attestations", key, {"number": made.number, "sha256": digest_of(made.document)})
        try:
            document = json.loads(made.document)
            said = document["at"], document["result"] == "clean"
        except (ValueError, KeyError, TypeError, RecursionError):
            self._sink.find("attestations", key, leaf, "document is not an attestation")
            return
        if said != (format_time(made.at), made.is_clean):
            self._sink.find("attestations", key, leaf, "at or is_clean differs from the document")

    async def _access_reviews(self) -> None:
        numbers = [int(key) for key in self._state.rows.get("access_reviews", {})]
        async for made in stored_rows.numbered(self._storage.access_reviews, lambda made: made.number, numbers):
            if made is None or isinstance(made, int):
                self._sink.unreadable("access_reviews", "?" if made is None else str(made))
            else:
                self._access_review(made)
        self._sink.end_of("access_reviews")

    def _access_review(self, made: AccessReview) -> None:
        """Compare the document with its leaf, and the columns with the document."""
        key = str(made.number)
        leaf = self._leaf_of("access_reviews", key)
        self._sink.row("access_reviews", key, {"number": made.number, "sha256": digest_of(made.document)})
        try:
            document = json.loads(made.document)
            said = document["at"], document["purpose"], document["due_at"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._sink.find("access_reviews", key, leaf, "document is not an access review")
            return
        if said != (format_time(made.at), made.purpose, format_time(made.due_at)):
            self._sink.find("access_reviews", key, leaf, "at, purpose or due_at differs from the document")

    async def _sweeps(self) -> None:
        """A sweep that ended in an internal error has no leaf."""
        async for sweep in stored_rows.between(self._sweep_runs, EPOCH, END):
            if sweep is None:
                self._sink.unreadable("sweeps", "a row")
                continue
            if sweep.completed or sweep.sweep_id in self._state.rows.get("sweeps", {}):
                members = {name: getattr(sweep, name) for name in ("purged", "failed", "held", "completed")}
                self._sink.row("sweeps", sweep.sweep_id, members)
        self._sink.end_of("sweeps")

    async def _archives(self) -> None:
        """Compare the documents with their leaves, and the columns with the documents and with the time of the leaf."""
        archives = await stored_rows.readable(self._storage.archives())
        if archives is None:
            self._sink.unreadable("log_archives", "a row")
        for archive in archives or ():
            key = str(archive.number)
            said = self._state.rows.get("log_archives", {}).get(key)
            leaf = said.index if said else None
            try:
                members = json.loads(archive.document)
                columns = tuple(members[name] for name in _ARCHIVE_COLUMNS)
            except (ValueError, KeyError, TypeError, RecursionError):
                self._sink.find("log_archives", key, leaf, "document is not the record of an archive")
                self._state.rows.get("log_archives", {}).pop(key, None)
                continue
            self._sink.row("log_archives", key, members)
            if columns != tuple(getattr(archive, name) for name in _ARCHIVE_COLUMNS):
                self._sink.find("log_archives", key, leaf, "number, first_index or end_index differs from the document")
            if said is not None and said.at != format_time(archive.at):
                self._sink.find("log_archives", key, leaf, f"at is {format_time(archive.at)}, the log has {said.at}")
        self._sink.end_of("log_archives")

    def _leaf_of(self, table: str, key: str) -> int | None:
        """Return the leaf that created a row; None if no leaf did. It is asked before the row is compared."""
        said = self._state.rows.get(table, {}).get(key)
        return said.index if said else None

    async def _changes(self, since: datetime, until: datetime) -> Sequence[ControlChange]:
        return await self._storage.control_changes(since, until, MAX_CONTROL_CHANGES)

    async def _sweep_runs(self, since: datetime, until: datetime) -> Sequence[SweepRecord]:
        return (await self._storage.sweeps(since, until, MAX_SWEEPS)).newest

    async def _entries(self, policies: PolicySnapshot) -> None:
        state = self._state
        purposes = state.entries.purposes() | state.overwritten.purposes()
        for purpose in sorted(purposes | set(policies.retention)):

            def next_known(after: str, purpose: str = purpose) -> str | None:
                found = (known.next_after(purpose, after) for known in (state.entries, state.overwritten))
                return min((each for each in found if each is not None), default=None)

            async for page in stored_rows.entries(self._storage, purpose, END, next_known):
                if isinstance(page, str):
                    self._sink.unreadable(ENTRIES, f"{purpose}/{page}")
                    continue
                for entry in page:
                    self._sink.entry(entry)
                if self._with_values:
                    await self._values([entry for entry in page if _has_size(entry)])
        self._sink.end_of(ENTRIES)

    async def _values(self, entries: Sequence[Entry]) -> None:
        """Compare the values with their hashes. A listed entry must be found by its key, unless it was purged since.

        That includes an entry whose value was overwritten: if it is not found, its id can be stored again.
        """
        for some in _by_size(entries):
            for listed, snapshot in await self._snapshots(some):
                entry, value = snapshot.entry, snapshot.value
                if entry is None and (listed.purged_at is not None or not await self._was_purged(listed)):
                    where = f"{listed.purpose}/{listed.external_id}"
                    self._sink.find(ENTRIES, where, None, "a lookup by purpose and external_id does not find the row")
                if entry is None or value is None:
                    continue
                self.values += 1
                if hashlib.sha256(value).hexdigest() != entry.value_sha256:
                    self._sink.find(
                        "entries", f"{entry.purpose}/{entry.external_id}", None, "encrypted_value is not value_sha256"
                    )

    async def _was_purged(self, entry: Entry) -> bool:
        """Whether a purge of the entry is in the purge log. It is from the same commit as the end of the entry's row."""
        about = {"purpose": entry.purpose, "external_id": entry.external_id}
        purges = await self._storage.purge_log(LogQuery(limit=1, equals=about))
        return any(row.record.entry_id == entry.entry_id for row in purges)

    async def _snapshots(self, entries: Sequence[Entry]) -> Sequence[tuple[Entry, Snapshot]]:
        """Read entries with their values: together, or one by one if one cannot be decoded."""
        found = await stored_rows.readable(
            self._storage.read([Read(each.key, with_value=each.purged_at is None) for each in entries])
        )
        if found is not None:
            return list(zip(entries, found, strict=True))
        if len(entries) == 1:
            self._sink.find("entries", f"{entries[0].purpose}/{entries[0].external_id}", None, UNREADABLE)
            return ()
        return [pair for entry in entries for pair in await self._snapshots([entry])]


def _by_size(entries: Sequence[Entry]) -> Iterator[list[Entry]]:
    some: list[Entry] = []
    size = 0
    for entry in entries:
        if some and (size + entry.value_size > VALUES_AT_ONCE_BYTES or len(some) >= PAGE):
            yield some
            some, size = [], 0
        some.append(entry)
        size += entry.value_size
    if some:
        yield some


def _has_size(entry: Entry) -> bool:
    return type(entry.value_size) is int


def _key_members(key: ApiKeyRecord) -> Document:
    """Return the members of a key, with the hash of its digest."""
    return api_key_document(key) | {"digest_sha256": hashlib.sha256(key.digest.encode()).hexdigest()}


def _change_members(change: ControlChange) -> Document:
    return {
        "control": change.name,
        "state": change.state.value,
        "at": format_time(change.at),
        "detail": change.detail,
    }
