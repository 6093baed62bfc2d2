"""Destroying entries and what is kept of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vsqlvault.model.entry import EntryKey


class PurgeReason(StrEnum):
    """Why an entry, or a version of it, was destroyed."""

    REQUESTED = "requested"
    EXPIRED = "expired"
    RETENTION_POLICY = "retention-policy"
    REPLACED = "replaced"
    RESTORED_THEN_PURGED = "restored-then-purged"


@dataclass(frozen=True, slots=True)
class Remove:
    """Take the row out."""


@dataclass(frozen=True, slots=True)
class Overwrite:
    """Keep the row, put ``filler`` where the value was (exactly as many bytes), and retire the id."""

    filler: bytes


Disposal = Remove | Overwrite


@dataclass(frozen=True, slots=True)
class PurgePlan:
    """What a purge method wants done with one entry, and the reason to put on record."""

    disposal: Disposal
    reason: PurgeReason


@dataclass(frozen=True, slots=True)
class PurgeRecord:
    """A row of the purge log: what was destroyed, when, why, by whom, and the proof.

    ``purge_id`` is 32 hex digits. ``proof_hash`` is 64 hex digits: SHA-256 over the proof document (docs/purge.md).
    ``policy_reference`` is the retention policy that asked for it (``card v3``), where one did.
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
        """Where the entry lay."""
        return EntryKey(self.purpose, self.external_id)


@dataclass(frozen=True, slots=True)
class SweepRecord:
    """One run of the sweep.

    ``failed`` counts entries that could not be purged and were kept, ``held`` those that a legal hold kept. ``completed`` is
    False where it was stopped, or ended with an error, before it had been through every purpose.
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
    """What the sweeps of a period came to. ``newest`` has the newest of its ``count`` runs, the newest first.

    ``purged`` and ``failed`` are sums; an entry that could not be purged counts in each run. ``not_completed`` counts runs.
    """

    count: int = 0
    purged: int = 0
    failed: int = 0
    not_completed: int = 0
    newest: tuple[SweepRecord, ...] = ()


@dataclass(frozen=True, slots=True)
class ScrubRecord:
    """One run of the scrub, which drives the bytes of what was purged out of the storage's data files.

    Of every row of the purge log up to the position ``through`` the bytes are out of them. ``completed``: that is every row
    there was when the run began. ``rewritten`` counts parts of the storage. ``left`` says what could not be done, and why.
    """

    scrub_id: str
    started_at: datetime
    finished_at: datetime
    trigger: str
    through: int
    rewritten: int
    completed: bool
    left: str | None
