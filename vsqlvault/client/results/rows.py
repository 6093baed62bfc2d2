"""Rows of the access log and of the purge log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class AccessRow:
    """One operation, granted or denied. ``count`` is above 1 where refusals of one source were coalesced."""

    at: datetime
    request_id: str
    operation: str
    outcome: str
    status: int
    purpose: str | None
    external_id: str | None
    entry_id: str | None
    entry_version: int | None
    app: str | None
    identity: str | None
    method: str | None
    credential_id: str | None
    client_address: str | None
    reason: str | None
    policy: str | None
    policy_version: int | None
    count: int
    detail: str | None
    old_value: str | None
    new_value: str | None
    untrusted_forwarding: bool = False
    role: str | None = None


@dataclass(frozen=True, kw_only=True)
class PurgeRow:
    """One purge: what was destroyed, when, why, by whom, and the proof hash.

    ``scrubbed_at`` is None until a scrub has removed the bytes from the data files. ``expired_at`` is the planned expiry
    of the version: it is after ``purged_at`` if the version was deleted or replaced earlier.
    """

    id: str
    purged_at: datetime
    purpose: str
    external_id: str
    entry_id: str
    entry_version: int
    method: str
    reason: str
    policy_reference: str | None
    proof_hash: str
    value_size: int
    key_ref: str | None
    owner_app: str
    expired_at: datetime
    app: str
    identity: str | None
    request_id: str
    scrubbed_at: datetime | None


@dataclass(frozen=True, kw_only=True)
class Purge(PurgeRow):
    """What a delete answers. ``receipt`` is set where one was asked for and was ready in time."""

    receipt: Mapping[str, Any] | None = field(default=None, repr=False)
