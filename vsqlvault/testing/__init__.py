"""What plugin authors test with: samples of every value, a storage that fails on command, and conformance classes.

``StorageConformance`` needs pytest; the rest needs nothing that the vault does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vsqlvault.testing.faults import Fault, FaultyStorage
from vsqlvault.testing.samples import (
    T0,
    a_call,
    a_principal,
    a_purge_record,
    a_retention_policy,
    a_sweep,
    a_write,
    an_access_policy,
    an_access_record,
    an_entry,
    an_id,
    storing,
)

if TYPE_CHECKING:
    from vsqlvault.testing.storage_conformance import StorageConformance

__all__ = [
    "T0",
    "Fault",
    "FaultyStorage",
    "StorageConformance",
    "a_call",
    "a_principal",
    "a_purge_record",
    "a_retention_policy",
    "a_sweep",
    "a_write",
    "an_access_policy",
    "an_access_record",
    "an_entry",
    "an_id",
    "storing",
]

_ASSERTING = (
    "vsqlvault.testing.driving",
    "vsqlvault.testing.storage_census",
    "vsqlvault.testing.storage_commits",
    "vsqlvault.testing.storage_entries",
    "vsqlvault.testing.storage_logs",
    "vsqlvault.testing.storage_places",
    "vsqlvault.testing.storage_reads",
    "vsqlvault.testing.storage_rulebook",
)


def __getattr__(name: str) -> Any:
    """Load the conformance classes, and pytest with them, only for whoever asks."""
    if name != "StorageConformance":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import pytest  # noqa: PLC0415

    pytest.register_assert_rewrite(*_ASSERTING)
    from vsqlvault.testing.storage_conformance import StorageConformance  # noqa: PLC0415

    return StorageConformance
