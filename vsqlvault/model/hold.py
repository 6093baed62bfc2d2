"""Legal holds: rules that prevent the destruction of entries."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import field
from datetime import datetime

from vsqlvault.model.entry import Entry
from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class HoldSelector:
    """The entries under a hold: those that match every given member. At least one member is given.

    ``metadata`` is RFC 8785 canonical JSON text of an object with at least one member. An entry matches if its metadata
    has each of these members with exactly that value.
    """

    purpose: str | None = None
    external_id: str | None = None
    owner_app: str | None = None
    metadata: str | None = None
    _members: tuple[tuple[str, str], ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if all(given is None for given in (self.purpose, self.external_id, self.owner_app, self.metadata)):
            raise ValueError("a selector needs at least one member")
        object.__setattr__(self, "_members", tuple(_members(self.metadata).items()) if self.metadata else ())

    def fits(self, entry: Entry) -> bool:
        """Return whether the entry matches."""
        return (
            self.purpose in {None, entry.purpose}
            and self.external_id in {None, entry.external_id}
            and self.owner_app in {None, entry.owner_app}
            and (not self._members or self._fits_metadata(entry.metadata))
        )

    def _fits_metadata(self, metadata: str) -> bool:
        found = _members(metadata)
        return all(found.get(name) == value for name, value in self._members)


def _members(text: str) -> dict[str, str]:
    """Return the members of an object, each value as JSON text: in Python ``True`` equals 1, in JSON it does not."""
    return {name: json.dumps(value, sort_keys=True) for name, value in json.loads(text).items()}


@dataclass(frozen=True, slots=True)
class LegalHold:
    """One version of a hold. While the hold is not released, no matching entry is destroyed.

    ``held_since`` is when the hold was placed; later changes keep it. ``created_by`` and ``created_at`` describe the
    last change. A release is also a version, the last one, with author and time.
    """

    name: str
    version: int
    case_reference: str
    reason: str
    selector: HoldSelector
    held_since: datetime | None = None
    created_by: str | None = None
    created_at: datetime | None = None
    released_by: str | None = None
    released_at: datetime | None = None

    @property
    def is_released(self) -> bool:
        """Whether the hold is released."""
        return self.released_at is not None

    @property
    def reference(self) -> str:
        """The reference to this version on audit rows: ``case-17 v2``."""
        return f"{self.name} v{self.version}"


class HoldIndex:
    """The holds in force. Holds by id are indexed, so that thousands of them do not slow down other entries."""

    def __init__(self, holds: Iterable[LegalHold]) -> None:
        self._of_one_id: dict[str, list[LegalHold]] = {}
        self._of_many: list[LegalHold] = []
        for hold in sorted(holds, key=lambda hold: hold.name):
            if hold.is_released:
                continue
            external_id = hold.selector.external_id
            if external_id is None:
                self._of_many.append(hold)
            else:
                self._of_one_id.setdefault(external_id, []).append(hold)

    def on(self, entry: Entry) -> tuple[LegalHold, ...]:
        """Return the holds that keep the entry: those with its id first, then by name."""
        if not self._of_many and not self._of_one_id:
            return ()
        near = (*self._of_one_id.get(entry.external_id, ()), *self._of_many)
        return tuple(hold for hold in near if hold.selector.fits(entry))
