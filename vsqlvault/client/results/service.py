"""API keys, keys in use, and sweeps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class ApiKey:
    """What an API key grants. ``purposes`` is ``["*"]`` for all."""

    key_id: str
    app: str
    identity: str | None
    purposes: tuple[str, ...]
    roles: tuple[str, ...]
    description: str | None
    created_at: datetime
    created_by: str
    expires_at: datetime | None
    state: str
    last_used_at: datetime | None
    revoked_at: datetime | None = None
    revoked_by: str | None = None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CreatedApiKey(ApiKey):
    """An API key that was just made. ``key`` is its only copy: the vault keeps the SHA-256."""

    key: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class KeyRefUse:
    """How many entries of a purpose name a key. ``key_ref`` None stands for entries that name none."""

    purpose: str
    key_ref: str | None
    entries: int
    active: int
    expired_pending_purge: int
    first_used_at: datetime
    last_used_at: datetime


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What a sweep did. In a dry run ``purged`` counts what a sweep would purge."""

    id: str | None
    dry_run: bool
    started_at: datetime
    finished_at: datetime | None
    purged: int
    failed: int
    held: int
    completed: bool
    by_purpose: Mapping[str, int]
    scrub: Mapping[str, Any] | None = None
