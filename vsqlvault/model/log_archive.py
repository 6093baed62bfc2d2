"""Records of the archives of the log: which leaves have their rows outside the vault."""

from __future__ import annotations

from datetime import datetime

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class LogArchive:
    """The leaves from ``first`` up to, but not including, ``end`` are in an archive that was verified.

    Archives follow each other without a gap: ``number`` counts from 1, and ``first`` is ``end`` of the one before.
    ``access_through`` and ``purge_through`` are the highest positions in the logs of all archived rows. ``document`` is the
    ``new_value`` of its row ``archive-log``, with the same members and more (``vsqlvault.proof.archive_record``).
    """

    number: int
    first: int
    end: int
    access_through: int
    purge_through: int
    at: datetime
    document: str
