"""Entries as a caller sees them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Entry:
    """An entry without its value.

    ``effective_expires_at`` is the earlier of ``expires_at`` and the limit of the retention policy in force.
    ``purged_at`` and ``purge_method`` are set on an entry whose id is retired. ``retrievals`` is None if none was counted:
    only an access policy with ``max_retrievals`` counts them.
    """

    purpose: str
    external_id: str
    entry_id: str
    version: int
    state: str
    encoding: str
    value_sha256: str
    value_size: int
    algorithm_hint: str | None
    key_ref: str | None
    owner_app: str
    owner_identity: str | None
    access_policy: str
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    effective_expires_at: datetime
    retrievals: int | None
    metadata: Mapping[str, Any]
    purged_at: datetime | None = None
    purge_method: str | None = None

    @property
    def etag(self) -> str:
        """The entity tag of this version, for ``if_match``."""
        return f'"{self.entry_id}.{self.version}"'


@dataclass(frozen=True, kw_only=True)
class StoredEntry(Entry):
    """An entry that was just stored. ``created`` is False where it replaced one, or was already exactly so."""

    created: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RetrievedEntry(Entry):
    """An entry with its value, the bytes that were stored."""

    value: bytes = field(repr=False)

    @property
    def text(self) -> str:
        """The value as text. Raises UnicodeDecodeError: it is not UTF-8."""
        return self.value.decode("utf-8")


@dataclass(frozen=True, kw_only=True)
class EntryHead:
    """What HEAD answers: the entity tag, times and access policy of an entry. ``expires_at`` is the effective expiry."""

    etag: str
    created_at: datetime
    expires_at: datetime
    access_policy: str
