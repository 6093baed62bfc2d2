"""Attestations of retention: requester, time and result (PCI DSS 4.0.1, 3.2.1)."""

from __future__ import annotations

from datetime import datetime

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Attestation:
    """One attestation. ``number`` counts attestations from 1.

    ``document`` is RFC 8785 JSON (docs/evidence.md). ``note`` is the signed note over its hash, or None without a
    signing key. ``is_clean``: nothing was overdue, and every proof of the sample verified.
    """

    number: int
    at: datetime
    is_clean: bool
    document: str
    note: str | None
