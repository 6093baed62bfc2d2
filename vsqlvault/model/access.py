"""Access requests and decisions."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum

from vsqlvault.model.entry import Entry, EntryKey
from vsqlvault.model.principal import Principal
from vsqlvault.quick_dataclass import dataclass

_REASON = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.ASCII)


class Action(StrEnum):
    """The actions that an access policy decides. ``STORE`` covers creating and replacing."""

    STORE = "store"
    RETRIEVE = "retrieve"
    INSPECT = "inspect"
    PURGE = "purge"


@dataclass(frozen=True, slots=True)
class AccessRequest:
    """The request that an evaluator decides.

    ``entry`` is the stored entry without its value, or None if it is about to be created. ``at`` is the time of the
    storage's clock.
    """

    principal: Principal
    action: Action
    key: EntryKey
    entry: Entry | None
    at: datetime

    @property
    def owner_app(self) -> str:
        """The app that owns the entry, or that is about to create it."""
        return self.entry.owner_app if self.entry else self.principal.app


@dataclass(frozen=True, slots=True)
class Allow:
    """Allows the request. ``max_retrievals`` is an obligation: the maximum number of retrievals of this entry."""

    max_retrievals: int | None = None


@dataclass(frozen=True, slots=True)
class Deny:
    """Denies the request. ``reason`` is lower-case words joined by hyphens, as on the audit row."""

    reason: str


Decision = Allow | Deny


@dataclass(frozen=True, slots=True)
class AuthorizationResult:
    """A decision and the policy it came from; ``failed`` where its evaluator gave none."""

    decision: Decision
    policy: str | None = None
    version: int | None = None
    failed: bool = False

    @property
    def reason(self) -> str | None:
        """Why not, where not: the evaluator's word, if it is one."""
        if not isinstance(self.decision, Deny):
            return None
        reason = self.decision.reason
        return reason if isinstance(reason, str) and _REASON.fullmatch(reason) else "denied"
