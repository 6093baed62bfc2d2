"""Policies and legal holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Who may do one operation. ``allowed_apps`` None: any app that has the purpose; ``@owner`` and ``@admin`` may be in it."""

    allowed_apps: Sequence[str] | None = None
    require_identity: bool = False
    max_retrievals: int | None = None
    any_purpose: bool = False


@dataclass(frozen=True, kw_only=True)
class AccessPolicy:
    """One version of an access policy. An operation without a rule is denied."""

    name: str
    version: int
    description: str | None
    evaluator: str
    rules: Mapping[str, Mapping[str, Any]]
    parameters: Mapping[str, Any]
    built_in: bool
    created_by: str | None
    created_at: datetime | None
    dropped: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def etag(self) -> str:
        """The entity tag of this version, for ``if_match``."""
        return f'"{self.version}"'


@dataclass(frozen=True, kw_only=True)
class RetentionEffect:
    """What a changed maximum does to entries already stored."""

    expired_at_once: int
    oldest_created_at: datetime | None
    revived: int
    effective_expiry_changed: int


@dataclass(frozen=True, kw_only=True)
class RetentionPolicy:
    """One version of the retention policy of a purpose. ``effect`` is set on what a change answers, where it was counted."""

    purpose: str
    version: int
    max_retention_days: int
    default_ttl_days: int | None
    purge_method: str
    description: str | None
    justification: str | None
    legal_basis: str | None
    data_class: str | None
    allowed_access_policies: tuple[str, ...] | None = None
    max_value_bytes: int | None = None
    required_metadata: tuple[str, ...] = ()
    inactivity_days: int | None = None
    created_by: str | None
    created_at: datetime | None
    effect: RetentionEffect | None = None
    warnings: tuple[str, ...] = ()

    @property
    def etag(self) -> str:
        """The entity tag of this version, for ``if_match``."""
        return f'"{self.version}"'


@dataclass(frozen=True, kw_only=True)
class Hold:
    """One version of a legal hold. ``entries_held`` is set on the result of a change: how many entries match now."""

    name: str
    version: int
    state: str
    case_reference: str
    reason: str
    selector: Mapping[str, Any]
    held_since: datetime | None
    created_by: str | None
    created_at: datetime | None
    released_by: str | None
    released_at: datetime | None
    entries_held: int | None = None
    entries_held_is_complete: bool = False
    warnings: tuple[str, ...] = ()

    @property
    def etag(self) -> str:
        """The entity tag of this version, for ``if_match``."""
        return f'"{self.version}"'


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """What a request would be answered. ``document`` has everything the vault says about it."""

    decision: str
    policy: str | None
    version: int | None
    reason: str | None
    document: Mapping[str, Any] = field(repr=False)
