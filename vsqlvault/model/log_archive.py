"""Records of the archives of the log: which leaves have their rows outside the vault."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class ArchivedRows:
    """The rows that were dropped from the vault: leaves below ``end``, in archives at ``places``.

    ``newest_row_at``: every row that is newer is in the vault. ``absent_rows`` is the number of dropped rows, of drops that
    ended. ``min_days`` is the period of the newest drop, ``min_days_from`` whether it was the ``default`` or from the
    ``settings``, ``enforced_at`` its time, and ``enforced_by`` who ran it.
    """

    archives: int
    end: int
    newest_row_at: datetime
    places: Sequence[str]
    absent_rows: int
    min_days: int
    min_days_from: str
    enforced_at: datetime
    enforced_by: str
