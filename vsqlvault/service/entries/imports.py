"""The entries that an import is given, and the rules by which it takes them."""

from __future__ import annotations

import hashlib
from dataclasses import field
from datetime import datetime, timedelta
from enum import StrEnum

from vsqlvault.errors import FieldError
from vsqlvault.model.entry import Entry, EntryKey, ValueEncoding
from vsqlvault.model.policy import RetentionPolicy
from vsqlvault.model.times import format_time
from vsqlvault.proof.canonical import read_canonical
from vsqlvault.quick_dataclass import dataclass


class Existing(StrEnum):
    """What happens to an entry of the import whose id has another entry in the vault."""

    REJECT = "reject"
    KEEP = "keep"
    NEWER = "newer"


class Result(StrEnum):
    """What became of one entry of the import. ``purged``: the source has purged it, or this vault has."""

    CREATED = "created"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    KEPT = "kept"
    PURGED = "purged"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportRules:
    """The choices of an operator for one import.

    ``existing`` applies where the id has another entry. ``takes_expired``: also expired entries are stored, so that the next
    sweep purges them with proof. ``shortens``: an expiry beyond the maximum of the purpose becomes the maximum.
    """

    existing: Existing = Existing.REJECT
    takes_expired: bool = False
    shortens: bool = False


DEFAULT_RULES = ImportRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportedEntry:
    """An entry to import, with its owner and its times. ``metadata`` is RFC 8785 text.

    Without ``expires_at`` and ``ttl``, the retention policy's default applies from the time of the import.
    ``last_used_at`` counts only in a purpose with ``inactivity_days``. ``is_purged``: the source has purged it.
    """

    key: EntryKey
    value: bytes
    encoding: ValueEncoding
    algorithm_hint: str | None
    key_ref: str | None
    metadata: str
    access_policy: str
    owner_app: str
    owner_identity: str | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime | None = None
    ttl: timedelta | None = None
    last_used_at: datetime | None = None
    is_purged: bool = False
    value_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_sha256", hashlib.sha256(self.value).hexdigest())

    def equals(self, present: Entry) -> bool:
        """Whether the vault has this entry already. An import that names no expiry asks for no other one."""
        return (
            present.value_sha256 == self.value_sha256
            and present.value_size == len(self.value)
            and (present.owner_app, present.owner_identity) == (self.owner_app, self.owner_identity)
            and (present.created_at, present.updated_at) == (self.created_at, self.updated_at)
            and (present.encoding, present.metadata) == (self.encoding, self.metadata)
            and (present.algorithm_hint, present.key_ref) == (self.algorithm_hint, self.key_ref)
            and present.access_policy == self.access_policy
            and self.expires_at in {None, present.expires_at}
        )


def check_times(entry: ImportedEntry, now: datetime) -> list[FieldError]:
    """Return what is wrong with the times of an entry: their order, and times in the future."""
    faults = []
    if entry.created_at > now:
        faults.append(FieldError("created_at", f"a time that is not in the future, at {format_time(now)}"))
    if entry.updated_at < entry.created_at:
        faults.append(FieldError("updated_at", "a time that is not before created_at"))
    if entry.updated_at > now:
        faults.append(FieldError("updated_at", f"a time that is not in the future, at {format_time(now)}"))
    if entry.expires_at is not None and entry.expires_at <= entry.created_at:
        faults.append(FieldError("expires_at", "a time after created_at"))
    if entry.last_used_at is not None and not entry.created_at <= entry.last_used_at <= now:
        faults.append(FieldError("last_used_at", "a time from created_at to now"))
    return faults


def check_limits(entry: ImportedEntry, retention: RetentionPolicy) -> list[FieldError]:
    """Return the limits of the purpose that an entry exceeds."""
    faults = []
    limit = retention.max_value_bytes
    if limit is not None and len(entry.value) > limit:
        faults.append(FieldError("encrypted_value", f"at most {limit} bytes in this purpose"))
    allowed = retention.allowed_access_policies
    if allowed is not None and entry.access_policy not in allowed:
        faults.append(FieldError("access_policy", f"one of {', '.join(allowed)} in this purpose"))
    if retention.required_metadata:
        members = read_canonical(entry.metadata)
        missing = [name for name in retention.required_metadata if name not in members]
        faults += [FieldError(f"metadata.{name}", "required in this purpose") for name in missing]
    return faults


def expiry_of(
    entry: ImportedEntry, retention: RetentionPolicy, now: datetime, rules: ImportRules
) -> datetime | FieldError:
    """Return when the entry expires in this vault, or what is wrong with its expiry."""
    days = retention.max_retention_days
    ends_at = entry.created_at + timedelta(days=days)
    expires_at = _asked_expiry(entry, retention, now)
    if isinstance(expires_at, FieldError):
        return expires_at
    if expires_at is None:
        expires_at = min(now + timedelta(days=retention.default_ttl_days or days), ends_at)
    if expires_at > ends_at:
        if not rules.shortens:
            return FieldError("expires_at", f"at most {days} days after created_at, the maximum of this purpose")
        expires_at = ends_at
    if expires_at <= now and not rules.takes_expired:
        if expires_at == ends_at:
            return FieldError("created_at", f"a time within the last {days} days, the maximum of this purpose")
        return FieldError("expires_at", f"a time in the future, at {format_time(now)}")
    return expires_at


def _asked_expiry(entry: ImportedEntry, retention: RetentionPolicy, now: datetime) -> datetime | FieldError | None:
    """Return the expiry that the entry names, or None. It is not compared with the maximum."""
    idle_days = retention.inactivity_days
    if idle_days is None:
        return now + entry.ttl if entry.ttl is not None else entry.expires_at
    if entry.expires_at is not None or entry.ttl is not None:
        name = "expires_at" if entry.ttl is None else "ttl"
        return FieldError(
            name, f"no expiry: entries of this purpose expire {idle_days} days after their last retrieval"
        )
    used_at = entry.last_used_at or entry.updated_at
    return min(used_at + timedelta(days=idle_days), entry.created_at + timedelta(days=retention.max_retention_days))
