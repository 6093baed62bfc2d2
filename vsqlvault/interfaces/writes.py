"""The commits of a storage: changes, expectations, audit rows and outcomes."""

from __future__ import annotations

from datetime import datetime

from vsqlvault.interfaces.archive_storage import NewestArchiveIs, SaveArchive
from vsqlvault.interfaces.watch_storage import (
    NewestAccessReviewIs,
    NewestAttestationIs,
    NewestControlChangeIs,
    SaveAccessReview,
    SaveAttestation,
    SaveControlChange,
)
from vsqlvault.model.api_key import ApiKeyRecord
from vsqlvault.model.audit import AccessRecord
from vsqlvault.model.entry import Entry, EntryKey, EntryVersion
from vsqlvault.model.hold import LegalHold
from vsqlvault.model.policy import AccessPolicy, RetentionPolicy
from vsqlvault.model.purge import PurgeRecord, ScrubRecord, SweepRecord
from vsqlvault.quick_dataclass import dataclass


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
    """No entry with a value names this access policy."""

    name: str


Expectation = (
    EntryIs
    | EntryAbsent
    | RevisionIs
    | RetrievalsBelow
    | PolicyUnused
    | NewestControlChangeIs
    | NewestAttestationIs
    | NewestAccessReviewIs
    | NewestArchiveIs
)


@dataclass(frozen=True, slots=True)
class StoreEntry:
    """Store this entry and value under its key, and replace any existing row.

    If the existing row is the same entry (``entry_id``), a higher counter of retrievals than ``entry`` has is kept.
    """

    entry: Entry
    value: bytes


@dataclass(frozen=True, slots=True)
class RemoveEntry:
    """Delete the row."""

    key: EntryKey


@dataclass(frozen=True, slots=True)
class OverwriteEntry:
    """Replace the value by ``filler``, and mark the row as purged."""

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
    """Add this version. Older ones are kept."""

    policy: AccessPolicy


@dataclass(frozen=True, slots=True)
class DropAccessPolicy:
    """Add a version that deletes the policy. Older ones are kept."""

    name: str
    version: int
    dropped_by: str
    dropped_at: datetime


@dataclass(frozen=True, slots=True)
class SaveRetentionPolicy:
    """Add this version. Older ones are kept."""

    policy: RetentionPolicy


@dataclass(frozen=True, slots=True)
class SaveApiKey:
    """Add this version. Older ones are kept."""

    key: ApiKeyRecord


@dataclass(frozen=True, slots=True)
class SaveLegalHold:
    """Add this version, which may be the release of the hold. Older ones are kept."""

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
    | SaveAccessReview
    | SaveArchive
)


@dataclass(frozen=True, slots=True)
class Write:
    """One atomic unit: if every expectation is met, all changes and rows are committed, otherwise none.

    Each row is committed together with the hash of its leaf (``vsqlvault.proof.leaf.row_hash``). If ``access_leaves``
    or ``purge_leaves`` is not empty, it contains the hashes, computed by the creator of the write.

    The core never puts two writes into one batch if one of them changes an entry that the other one changes or has an
    expectation about.
    """

    access: tuple[AccessRecord, ...]
    expects: tuple[Expectation, ...] = ()
    changes: tuple[Change, ...] = ()
    purges: tuple[PurgeRecord, ...] = ()
    access_leaves: tuple[bytes, ...] = ()
    purge_leaves: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenWrite:
    """A write about one entry that was read before, to be committed if ``entry`` is still as it was read.

    It must not be committed from the instant ``until`` of the storage's clock on. ``write`` expects the version of the entry
    and the policy revision. ``with_value``: the value is returned. ``is_intact``: the stored value must have the hash that
    ``entry`` records.
    """

    entry: Entry
    until: datetime
    write: Write
    with_value: bool = False
    is_intact: bool = True

    @property
    def changes(self) -> tuple[Change, ...]:
        """The changes of the write."""
        return self.write.changes


@dataclass(frozen=True, slots=True)
class Committed:
    """The write is durable: it survives a kill and a power failure."""


@dataclass(frozen=True, slots=True)
class Conflict:
    """The write was omitted, because this expectation is not met."""

    broken: Expectation


WriteOutcome = Committed | Conflict
