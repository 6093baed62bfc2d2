"""Access reviews by people (PCI DSS 4.0.1, 7.2.4 and 7.2.5.1), and the lists that they review."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class AccessReview:
    """One review. ``number`` counts reviews from 1. ``purpose`` is None for a review of all purposes.

    ``document`` is RFC 8785 JSON (docs/evidence.md). ``note`` is the signed note over its hash, or None without a
    signing key. The next review of the same is due at ``due_at``.
    """

    number: int
    at: datetime
    purpose: str | None
    due_at: datetime
    document: str
    note: str | None


@dataclass(frozen=True, slots=True)
class AccessList:
    """Who may do what, and who did what, in one purpose or with a role. Each item is a list of words.

    ``is_complete`` is False if not every policy could be evaluated in time.
    """

    may: Sequence[tuple[str, ...]] = ()
    did: Sequence[tuple[str, ...]] = ()
    is_complete: bool = True
