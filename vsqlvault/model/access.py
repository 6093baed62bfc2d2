"""The question whether a principal may do something to an entry, and the answers to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.principal import Principal


class Action(StrEnum):
    """What can be asked of an access policy. Storing is creating and replacing."""

    STORE = "store"
    RETRIEVE = "retrieve"
    INSPECT = "inspect"
    PURGE = "purge"


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """The question an evaluator answers.

    ``entry`` is the entry as it is stored, without its value; None where it is about to be created. ``at`` is the
    storage's clock.
    """

    principal: Principal
    action: Action
    key: EntryKey
    entry: Entry | None
    at: datetime

    @property
    def owner_app(self) -> str:
        """The app the entry belongs to: whoever is about to create it, if nobody has."""
        return self.entry.owner_app if self.entry else self.principal.app


@dataclass(frozen=True, slots=True)
class Allow:
    """Yes. ``max_retrievals`` is an obligation: of this entry, no more than so many retrievals ever."""

    max_retrievals: int | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """No, and why: a short lower-case word or two with hyphens, as the audit row will show it."""

    reason: str


Decision = Allow | Deny
