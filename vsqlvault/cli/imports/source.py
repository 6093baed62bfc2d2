"""What a source of an import yields: entries, and the records that are none."""

from __future__ import annotations

from vsqlvault.errors import FieldError
from vsqlvault.quick_dataclass import dataclass
from vsqlvault.service.entries.imports import ImportedEntry


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a source. ``place`` names it: ``line 17``. ``entry`` is None where ``faults`` says why.

    ``line`` is the record as it was read, for the file of rejects; None where it is too long, or no line.
    """

    place: str
    entry: ImportedEntry | None
    faults: tuple[FieldError, ...] = ()
    line: bytes | None = None
