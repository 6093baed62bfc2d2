"""Attestations: that retention was looked at, by whom, when, and what was found (PCI DSS 4.0.1, 3.2.1)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Attestation:
    """One run. ``number`` counts them from 1.

    ``document`` is JSON in the form of RFC 8785 (docs/evidence.md). ``note`` is the signed note over its hash; None
    where nobody signs. ``is_clean``: nothing was overdue, and every proof of the sample holds.
    """

    number: int
    at: datetime
    is_clean: bool
    document: str
    note: str | None
