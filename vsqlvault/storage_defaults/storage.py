"""The base class for storages of third parties."""

from __future__ import annotations

from vsqlvault.storage_defaults.evidence import EvidenceDefaults
from vsqlvault.storage_defaults.records import RecordDefaults
from vsqlvault.storage_defaults.rules import RuleDefaults
from vsqlvault.storage_defaults.tree import TreeDefaults


class StorageDefaults(RuleDefaults, RecordDefaults, TreeDefaults, EvidenceDefaults):
    """A whole ``Storage``, of which a subclass implements the twelve methods of ``RequiredStorage``.

    Every other method may be overridden with a faster one. The derived counts page over entries and rows of the logs, so
    their time grows with both, and other commits may happen between two pages.
    """
