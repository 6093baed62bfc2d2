"""An entry: a stored value and its metadata."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from vsqlvault.quick_dataclass import dataclass

PURPOSE = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}", re.ASCII)
EXTERNAL_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@~-]{0,255}", re.ASCII)


class EntryKey(NamedTuple):
    """The key of an entry: its purpose and the id that the app chose."""

    purpose: str
    external_id: str


class EntryVersion(NamedTuple):
    """One version of one entry. A new entry under an old id has a new ``entry_id``, so it never equals an old version."""

    entry_id: str
    version: int


class ValueEncoding(StrEnum):
    """The encoding of the value in JSON. In the storage it is always bytes."""

    UTF_8 = "utf-8"
    BASE64 = "base64"


class EntryState(StrEnum):
    """The state of an entry for a caller."""

    ACTIVE = "active"
    EXPIRED = "expired"
    PURGED = "purged"


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry without its value.

    Times are aware UTC to the microsecond. ``entry_id`` is 32 hex digits, new for each created entry. ``version``
    counts its replacements from 1. ``metadata`` is RFC 8785 canonical JSON text of an object. ``value_sha256`` is 64
    hex digits over the stored bytes, and ``value_size`` their number. ``retrievals`` counts only under a policy with a
    limit.
    """

    purpose: str
    external_id: str
    entry_id: str
    version: int
    encoding: ValueEncoding
    value_sha256: str
    value_size: int
    algorithm_hint: str | None
    key_ref: str | None
    metadata: str
    owner_app: str
    owner_identity: str | None
    access_policy: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    retrievals: int = 0
    purged_at: datetime | None = None
    purge_method: str | None = None

    @property
    def key(self) -> EntryKey:
        """The key of the entry."""
        return EntryKey(self.purpose, self.external_id)

    @property
    def stamp(self) -> EntryVersion:
        """The version of the entry."""
        return EntryVersion(self.entry_id, self.version)

    def effective_expires_at(self, max_retention_days: int | None) -> datetime:
        """Return the earlier of ``expires_at`` and the limit of the retention policy in force now (None: no limit)."""
        if max_retention_days is None:
            return self.expires_at
        return min(self.expires_at, self.created_at + timedelta(days=max_retention_days))

    def state(self, now: datetime, max_retention_days: int | None) -> EntryState:
        """Return the state of the entry at ``now``. At the time of its expiry an entry is expired."""
        if self.purged_at is not None:
            return EntryState.PURGED
        return EntryState.EXPIRED if now >= self.effective_expires_at(max_retention_days) else EntryState.ACTIVE
