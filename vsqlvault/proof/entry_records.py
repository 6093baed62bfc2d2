"""What the leaves of a log say about entries, in little memory: a record of 84 bytes for each entry."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import field
from datetime import datetime
from struct import Struct
from typing import Any

from vsqlvault.model.entry import Entry
from vsqlvault.model.times import format_time, from_micros, to_micros
from vsqlvault.proof.purge_proof import kept_proof
from vsqlvault.quick_dataclass import dataclass

_FORM = Struct("<QQ16sIIqI32sI")
"""Index, version, entry id, number of the owner, number of the access policy, expiry, 1 with a digest, digest, counted."""

MAX_COUNTED = 2**32 - 1

ID_BYTES = 16
_NO_DIGEST = b"\0" * 32


@dataclass(frozen=True, slots=True)
class RecordedEntry:
    """What the leaves say about an entry.

    ``owner`` is None where no leaf of this log says who created it. ``access_policy``, ``expires_at`` and ``digest`` are
    None where the entry was stored by a version of the vault whose rows do not have them. ``counted`` is the number of
    retrievals whose rows say that they were counted.
    """

    index: int
    entry_id: str
    version: int
    owner: str | None
    access_policy: str | None = None
    expires_at: datetime | None = None
    digest: str | None = None
    counted: int = 0


@dataclass(slots=True)
class EntryRecords:
    """Recorded entries by purpose and external id. Owners and access policies are kept once each."""

    _packed: dict[str, dict[str, bytes]] = field(default_factory=dict)
    _names: list[str | None] = field(default_factory=lambda: [None])
    _numbers: dict[str | None, int] = field(default_factory=lambda: {None: 0})

    def put(self, purpose: str, external_id: str, entry: RecordedEntry) -> None:
        """Record an entry. Raises ValueError: its id is not 32 hex digits, or a number is too large."""
        entry_id = bytes.fromhex(entry.entry_id)
        if len(entry_id) != ID_BYTES or entry_id.hex() != entry.entry_id:
            raise ValueError("expected an entry id of 32 hex digits")
        if not 0 <= entry.version < 2**63:
            raise ValueError("expected a version below 2**63")
        expires_at = 0 if entry.expires_at is None else to_micros(entry.expires_at)
        digest = _NO_DIGEST if entry.digest is None else bytes.fromhex(entry.digest)
        names = self._number(entry.owner), self._number(entry.access_policy)
        packed = _FORM.pack(
            entry.index, entry.version, entry_id, *names, expires_at, 0 if entry.digest is None else 1, digest,
            min(entry.counted, MAX_COUNTED),
        )  # fmt: skip
        self._packed.setdefault(purpose, {})[external_id] = packed

    def get(self, purpose: str, external_id: str) -> RecordedEntry | None:
        """Return the entry; None if there is none."""
        packed = self._packed.get(purpose, {}).get(external_id)
        return None if packed is None else self._unpacked(packed)

    def pop(self, purpose: str, external_id: str) -> RecordedEntry | None:
        """Remove and return the entry; None if there is none."""
        packed = self._packed.get(purpose, {}).pop(external_id, None)
        return None if packed is None else self._unpacked(packed)

    def purposes(self) -> set[str]:
        """Return the purposes."""
        return set(self._packed)

    def next_after(self, purpose: str, external_id: str) -> str | None:
        """Return the next id in order; None after the last one. It reads all ids of the purpose."""
        return min((each for each in self._packed.get(purpose, {}) if each > external_id), default=None)

    def copy(self) -> EntryRecords:
        """Return a copy whose entries change independently."""
        return EntryRecords(
            {purpose: entries.copy() for purpose, entries in self._packed.items()}, self._names, self._numbers
        )

    def __len__(self) -> int:
        return sum(map(len, self._packed.values()))

    def __iter__(self) -> Iterator[tuple[str, str, RecordedEntry]]:
        """Yield purpose, external id and entry."""
        for purpose, entries in self._packed.items():
            for external_id, packed in entries.items():
                yield purpose, external_id, self._unpacked(packed)

    def _number(self, name: str | None) -> int:
        number = self._numbers.get(name)
        if number is None:
            number = self._numbers[name] = len(self._names)
            self._names.append(name)
        return number

    def _unpacked(self, packed: bytes) -> RecordedEntry:
        index, version, entry_id, owner, policy, expires_at, has_digest, digest, counted = _FORM.unpack(packed)
        if not has_digest:
            return RecordedEntry(index, entry_id.hex(), version, self._names[owner], counted=counted)
        return RecordedEntry(
            index, entry_id.hex(), version, self._names[owner], self._names[policy], from_micros(expires_at), digest.hex(),
            counted,
        )  # fmt: skip


COVERED = (
    "one of value_sha256, value_size, encoding, algorithm_hint, key_ref, metadata, owner_app, owner_identity,"
    " created_at and updated_at"
)


def entry_differences(entry: Entry, said: RecordedEntry) -> list[str]:
    """Return how a stored entry differs from what the leaves say about it.

    The hash of all members names a group: it is reported if no member that the leaf has differs.
    """
    members: tuple[tuple[str, Any, Any], ...] = (
        ("entry_id", entry.entry_id, said.entry_id),
        ("version", entry.version, said.version),
        ("owner_app", entry.owner_app, said.owner),
        ("access_policy", entry.access_policy, said.access_policy),
        ("expires_at", entry.expires_at, said.expires_at),
    )
    found = [
        f"{name} is {_shown(value)}, the log has {_shown(expected)}"
        for name, value, expected in members
        if expected is not None and value != expected
    ]
    if found or said.digest is None:
        return found
    try:
        digest = kept_proof(entry)
    except (ValueError, TypeError, AttributeError, RecursionError):
        return ["a member cannot be decoded"]
    return [] if digest == said.digest else [f"{COVERED} is not as stored: the hash of the entry is another one"]


def counter_differences(entry: Entry, counted: int) -> list[str]:
    """Return how the retrieval counter of a stored entry differs from the retrievals that leaves say were counted.

    The counter may be higher: rows of earlier versions do not say it, and rows may be in an archive.
    """
    if type(entry.retrievals) is not int:
        return ["retrievals is not a number"]
    if entry.retrievals >= counted:
        return []
    return [f"retrievals is {entry.retrievals}, the log has {counted} counted retrievals"]


def _shown(value: Any) -> str:
    return repr(format_time(value) if isinstance(value, datetime) else value)
