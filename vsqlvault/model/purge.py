"""Purges and their records."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from vsqlvault.model.entry import EntryKey
from vsqlvault.quick_dataclass import dataclass


class PurgeReason(StrEnum):
    """Why an entry, or a version of it, was destroyed."""

    REQUESTED = "requested"
    EXPIRED = "expired"
    RETENTION_POLICY = "retention-policy"
    REPLACED = "replaced"
    RESTORED_THEN_PURGED = "restored-then-purged"


@dataclass(frozen=True, slots=True)
class Remove:
    """Deletes the row."""


@dataclass(frozen=True, slots=True)
class Overwrite:
    """Keeps the row, replaces the value by ``filler`` of the same length, and retires the id."""

    filler: bytes


Disposal = Remove | Overwrite


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What a purge method requests for one entry, and the reason for the purge log."""

    disposal: Disposal
    reason: PurgeReason


@dataclass(frozen=True, slots=True)
class PurgeRecord:
    """A row of the purge log: the destroyed version, time, reason, requester and proof.

    ``purge_id`` is 32 hex digits. ``proof_hash`` is 64 hex digits: SHA-256 over the proof document (docs/purge.md).
    ``policy_reference`` is the retention policy that required the purge (``card v3``), if one did. ``expired_at`` is the
    planned expiry of the version. It is after ``purged_at`` if the version was deleted or replaced earlier.
    """

    purge_id: str
    purpose: str
    external_id: str
    entry_id: str
    entry_version: int
    method: str
    reason: PurgeReason
    policy_reference: str | None
    proof_hash: str
    value_size: int
    key_ref: str | None
    owner_app: str
    purged_at: datetime
    expired_at: datetime
    app: str
    identity: str | None
    request_id: str

    @property
    def key(self) -> EntryKey:
        """The key of the entry."""
        return EntryKey(self.purpose, self.external_id)


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """One run of the sweep.

    ``failed`` counts entries that could not be purged and were kept, and ``held`` entries under a legal hold.
    ``completed`` is False if the run was stopped, or ended with an error, before it had processed every purpose.
    """

    sweep_id: str
    started_at: datetime
    finished_at: datetime
    trigger: str
    purged: int
    failed: int
    completed: bool
    held: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRuns:
    """The sweeps of a period. ``newest`` contains the newest of its ``count`` runs, newest first.

    ``purged`` and ``failed`` are sums. An entry that could not be purged counts in each run. ``not_completed`` counts
    runs.
    """

    count: int = 0
    purged: int = 0
    failed: int = 0
    not_completed: int = 0
    newest: tuple[SweepRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class ScrubRecord:
    """One run of the scrub, which removes purged bytes from the storage's data files.

    It covers every row of the purge log up to the position ``through``. ``completed``: these are all rows that existed
    when the run began. ``rewritten`` counts partitions of the storage. ``left`` describes what was skipped, and why.
    """

    scrub_id: str
    started_at: datetime
    finished_at: datetime
    trigger: str
    through: int
    rewritten: int
    completed: bool
    left: str | None
