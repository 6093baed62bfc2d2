"""The requests that callers make of entries, and their results."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import field
from datetime import datetime, timedelta

from vsqlvault.errors import PreconditionFailed
from vsqlvault.model.entry import Entry, EntryState, EntryVersion, ValueEncoding
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The conditions of ``If-Match`` and ``If-None-Match``.

    ``any_match`` is ``If-Match: *``, ``none_exists`` is ``If-None-Match: *``. An empty ``match`` never holds.
    """

    none_exists: bool = False
    any_match: bool = False
    match: frozenset[EntryVersion] | None = None
    none_match: frozenset[EntryVersion] | None = None

    def check(self, present: Entry | None) -> None:
        """Raise PreconditionFailed unless the conditions hold for the live entry; None where there is none."""
        self.check_match(present)
        if present is not None and self.is_current(present):
            raise PreconditionFailed("the entry exists" if self.none_exists else "the entry has not changed")

    def is_current(self, present: Entry) -> bool:
        """Whether ``If-None-Match`` names the version present, so that a reader has it already (RFC 9110, 13.1.2)."""
        return self.none_exists or (self.none_match is not None and present.stamp in self.none_match)

    def check_match(self, present: Entry | None) -> None:
        """Raise PreconditionFailed unless ``If-Match`` holds for the live entry; None where there is none."""
        if self.any_match and present is None:
            raise PreconditionFailed("the entry does not exist")
        if self.match is not None and (present is None or present.stamp not in self.match):
            raise PreconditionFailed("the entry has changed, or does not exist")


NO_PRECONDITIONS = Preconditions()


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """An entry to store. ``metadata`` is RFC 8785 text.

    It expires at ``expires_at``, or ``ttl`` after it is stored. Without both, the retention policy's default applies.
    """

    value: bytes
    encoding: ValueEncoding
    algorithm_hint: str | None
    key_ref: str | None
    metadata: str
    expires_at: datetime | None
    access_policy: str
    preconditions: Preconditions = NO_PRECONDITIONS
    ttl: timedelta | None = None
    value_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_sha256", hashlib.sha256(self.value).hexdigest())


@dataclass(frozen=True, slots=True, kw_only=True)
class UpdateRequest:
    """Changes of an entry whose value stays.

    ``metadata`` makes the new metadata from the present one, both RFC 8785 text. ``access_policy`` None keeps the policy.
    With ``changes_expiry`` the entry expires at ``expires_at``, or after ``ttl``. Without both, the retention policy's
    default applies.
    """

    metadata: Callable[[str], str] | None = None
    access_policy: str | None = None
    changes_expiry: bool = False
    expires_at: datetime | None = None
    ttl: timedelta | None = None
    preconditions: Preconditions = NO_PRECONDITIONS


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry as its caller may see it. ``value`` is set only after a retrieval.

    ``unmodified``: the caller has this version already, as ``If-None-Match`` says.
    """

    entry: Entry
    effective_expires_at: datetime
    value: bytes | None = None
    unmodified: bool = False


@dataclass(frozen=True, slots=True)
class StoreResult:
    """The result of a store. ``unchanged``: the entry was identical before."""

    viewed: EntryView
    created: bool
    unchanged: bool
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ListRequest:
    """Filters for the entries of a purpose, the external_id to start after, and the maximum number."""

    limit: int
    after: str | None = None
    key_ref: str | None = None
    owner_app: str | None = None
    access_policy: str | None = None
    expires_before: datetime | None = None
    state: EntryState = EntryState.ACTIVE


@dataclass(frozen=True, slots=True)
class EntryPage:
    """A page of entries, and the external_id to continue after; None on the last page."""

    entries: tuple[EntryView, ...]
    after: str | None
