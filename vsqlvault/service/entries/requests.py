"""The requests that callers make of entries, and their results."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from datetime import datetime

from vsqlvault.errors import PreconditionFailed
from vsqlvault.model.entry import Entry, EntryState, EntryVersion, ValueEncoding


@dataclass(frozen=True, slots=True)
class Preconditions:
    """The conditions of ``If-Match`` and ``If-None-Match: *``.

    ``any_match`` is ``If-Match: *``. An empty ``match`` never holds.
    """

    none_exists: bool = False
    any_match: bool = False
    match: frozenset[EntryVersion] | None = None

    def check(self, present: Entry | None) -> None:
        """Raise PreconditionFailed unless the conditions hold for the live entry; None where there is none."""
        if self.none_exists and present is not None:
            raise PreconditionFailed("the entry exists")
        if self.any_match and present is None:
            raise PreconditionFailed("the entry does not exist")
        if self.match is not None and (present is None or present.stamp not in self.match):
            raise PreconditionFailed("the entry has changed, or does not exist")


NO_PRECONDITIONS = Preconditions()


@dataclass(frozen=True, slots=True)
class StoreRequest:
    """An entry to store. ``metadata`` is RFC 8785 text; ``expires_at`` None: the retention policy's default applies."""

    value: bytes
    encoding: ValueEncoding
    algorithm_hint: str | None
    key_ref: str | None
    metadata: str
    expires_at: datetime | None
    access_policy: str
    preconditions: Preconditions = NO_PRECONDITIONS
    value_sha256: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "value_sha256", hashlib.sha256(self.value).hexdigest())


@dataclass(frozen=True, slots=True)
class EntryView:
    """An entry as its caller may see it. ``value`` is set only after a retrieval."""

    entry: Entry
    effective_expires_at: datetime
    value: bytes | None = None


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
