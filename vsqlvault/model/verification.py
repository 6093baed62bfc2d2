"""The recorded result of a verification of the log and the tables."""

from __future__ import annotations

from datetime import datetime

from vsqlvault.quick_dataclass import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedVerification:
    """What a verification examined and found.

    ``leaves`` are the rows under the newest checkpoint at its start, ``waiting`` the newer rows that it did not verify.
    ``entries`` and ``values`` were compared with what the leaves say. ``findings`` counts the differences, and
    ``listed`` describes the first of them.
    """

    started_at: datetime
    finished_at: datetime
    leaves: int
    checkpoints: int
    waiting: int
    entries: int
    values: int
    findings: int
    listed: tuple[str, ...] = ()
    archived: int = 0
    """The number of ``leaves`` whose rows are in archives: their hashes were verified."""

    @property
    def is_good(self) -> bool:
        """Whether nothing differs."""
        return self.findings == 0
