"""What a storage is asked to commit: changes, what they expect, the rows that tell of them; and what becomes of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from vsqlvault.interfaces.watch_storage import (
    NewestAttestationIs,
    NewestControlChangeIs,
    SaveAttestation,
    SaveControlChange,
)
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryKey, EntryVersion
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, ScrubRecord, SweepRecord


@dataclass(frozen=True, slots=True)
class EntryIs:
    """The entry exists in exactly this version, and its value was not overwritten."""

    key: EntryKey
    stamp: EntryVersion


@dataclass(frozen=True, slots=True)
class EntryAbsent:
    """There is no row under this key."""

    key: EntryKey


@dataclass(frozen=True, slots=True)
class RevisionIs:
    """No rule has changed: no policy, no API key, no legal hold."""

    revision: int


@dataclass(frozen=True, slots=True)
class RetrievalsBelow:
    """The entry's counter is below ``limit``."""

    key: EntryKey
    limit: int


@dataclass(frozen=True, slots=True)
class PolicyUnused:
    """No entry that still has its value names this access policy."""

    name: str


Expectation = (
    EntryIs | EntryAbsent | RevisionIs | RetrievalsBelow | PolicyUnused | NewestControlChangeIs | NewestAttestationIs
)


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """Put this entry and value under its key, in the place of whatever row is there.

    Where that is the same entry (``entry_id``), a higher counter of retrievals than ``entry`` says is kept.
    """

    entry: Entry
    value: bytes


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """Take the row away."""

    key: EntryKey


@dataclass(frozen=True, slots=True)
class OverwriteEntry:
    """Put ``filler`` in the place of the value, and mark the row as purged."""

    key: EntryKey
    filler: bytes
    purged_at: datetime
    method: str


@dataclass(frozen=True, slots=True)
class CountRetrieval:
    """Add one to the entry's counter."""

    key: EntryKey


@dataclass(frozen=True, slots=True)
class SaveAccessPolicy:
    """Add this version; older ones stay."""

    policy: AccessPolicy


@dataclass(frozen=True, slots=True)
class DropAccessPolicy:
    """Add a version that says the policy is gone; older ones stay."""

    name: str
    version: int
    dropped_by: str
    dropped_at: datetime


@dataclass(frozen=True, slots=True)
class SaveRetentionPolicy:
    """Add this version; older ones stay."""

    policy: RetentionPolicy


@dataclass(frozen=True, slots=True)
class SaveApiKey:
    """Add this version; older ones stay."""

    key: ApiKeyRecord


@dataclass(frozen=True, slots=True)
class SaveLegalHold:
    """Add this version, which may be the one that says the hold is released; older ones stay."""

    hold: LegalHold


@dataclass(frozen=True, slots=True)
class SaveSweep:
    """Add the record of a sweep."""

    sweep: SweepRecord


@dataclass(frozen=True, slots=True)
class SaveScrub:
    """Add the record of a scrub."""

    scrub: ScrubRecord


Change = (
    StoreEntry
    | RemoveEntry
    | OverwriteEntry
    | CountRetrieval
    | SaveAccessPolicy
    | DropAccessPolicy
    | SaveRetentionPolicy
    | SaveApiKey
    | SaveLegalHold
    | SaveSweep
    | SaveScrub
    | SaveControlChange
    | SaveAttestation
)


@dataclass(frozen=True, slots=True)
class Write:
    """What belongs together: if every expectation holds, all changes and rows are committed, else none.

    Each row is committed together with the hash of its leaf (``vsqlvault.proof.leaf.row_hash``): with that of its place in
    ``access_leaves`` or ``purge_leaves``, where these are not empty because whoever made the write has made the hashes already.

    The core never puts two writes into one batch of which one changes an entry that the other changes or expects
    something of.
    """

    access: tuple[AccessRecord, ...]
    expects: tuple[Expectation, ...] = ()
    changes: tuple[Change, ...] = ()
    purges: tuple[PurgeRecord, ...] = ()
    access_leaves: tuple[bytes, ...] = ()
    purge_leaves: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """The write is durable: it survives a kill and a power cut."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The write was left out, because this expectation does not hold."""

    broken: Expectation


WriteOutcome = Committed | Conflict
