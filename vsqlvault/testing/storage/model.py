"""What a storage promises, in a page: the model that the state machine compares a storage with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

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
    SaveSweep,
    StoreEntry,
    Write,
    WriteOutcome,
)
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, SweepRecord


@dataclass
class StorageModel:
    """What a storage holds, in the plainest way. Each list in a log is what one batch has added to it."""

    entries: dict[EntryKey, tuple[Entry, bytes]] = field(default_factory=dict)
    access: dict[str, AccessPolicy] = field(default_factory=dict)
    access_versions: dict[str, int] = field(default_factory=dict)
    retention: dict[str, RetentionPolicy] = field(default_factory=dict)
    api_keys: dict[str, ApiKeyRecord] = field(default_factory=dict)
    holds: dict[str, LegalHold] = field(default_factory=dict)
    sweeps: list[SweepRecord] = field(default_factory=list)
    access_log: list[list[AccessRecord]] = field(default_factory=list)
    purge_log: list[list[PurgeRecord]] = field(default_factory=list)
    leases: dict[str, str] = field(default_factory=dict)
    revision: int = 0

    def live(self, key: EntryKey) -> Entry | None:
        """Return the entry that still has its value."""
        entry = self.entries[key][0] if key in self.entries else None
        return entry if entry and entry.purged_at is None else None

    def commit(self, writes: Sequence[Write]) -> list[WriteOutcome]:
        """Do what ``Storage.commit`` promises."""
        self.access_log.append([])
        self.purge_log.append([])
        return [self._one(write) for write in writes]

    def _one(self, write: Write) -> WriteOutcome:
        for expectation in write.expects:
            if not self._holds(expectation):
                return Conflict(expectation)
        for change in write.changes:
            self._apply(change)
        self.access_log[-1] += write.access
        self.purge_log[-1] += write.purges
        return Committed()

    def _holds(self, expectation: Expectation) -> bool:
        match expectation:
            case EntryIs(key, stamp):
                entry = self.live(key)
                return entry is not None and entry.stamp == stamp
            case EntryAbsent(key):
                return key not in self.entries
            case RevisionIs(revision):
                return revision == self.revision
            case RetrievalsBelow(key, limit):
                entry = self.live(key)
                return entry is not None and entry.retrievals < limit
            case PolicyUnused(name):
                return all(entry.access_policy != name or entry.purged_at for entry, _ in self.entries.values())
            case _:
                raise NotImplementedError(f"the machine draws no {type(expectation).__name__}")

    def _apply(self, change: Change) -> None:
        match change:
            case StoreEntry(entry, value):
                old = self.entries[entry.key][0] if entry.key in self.entries else None
                counted = old.retrievals if old and old.entry_id == entry.entry_id else 0
                self.entries[entry.key] = (replace(entry, retrievals=max(entry.retrievals, counted)), value)
            case RemoveEntry(key):
                del self.entries[key]
            case OverwriteEntry(key, filler, purged_at, method):
                entry = self.entries[key][0]
                self.entries[key] = (replace(entry, purged_at=purged_at, purge_method=method), filler)
            case CountRetrieval(key):
                entry, value = self.entries[key]
                self.entries[key] = (replace(entry, retrievals=entry.retrievals + 1), value)
            case SaveSweep(sweep):
                self.sweeps.append(sweep)
            case _:
                self._apply_rule(change)

    def _apply_rule(self, change: Change) -> None:
        match change:
            case SaveAccessPolicy(policy):
                self.access[policy.name] = policy
                self.access_versions[policy.name] = policy.version
            case DropAccessPolicy(name, version):
                del self.access[name]
                self.access_versions[name] = version
            case SaveRetentionPolicy(retention):
                self.retention[retention.purpose] = retention
            case SaveApiKey(key):
                self.api_keys[key.key_id] = key
            case SaveLegalHold(hold):
                self.holds[hold.name] = hold
